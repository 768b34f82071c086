"""Check what applications, files and server configuration need: programs, hosts, trees, buckets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from include.respaldo.config.trees import TreeConfig
from include.respaldo.errors import ConfigurationError, RespaldoError
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.remote import examine_tree
from include.respaldo.jobs.finding import Finding
from include.respaldo.model.backup import Category
from include.respaldo.ssh.host import SshHost
from include.respaldo.vault.bucket_tree import holds_objects

if TYPE_CHECKING:
    from include.respaldo.config import Config
    from include.respaldo.config.trees import HostConfig
    from include.respaldo.jobs.deployment import Deployment

#: a source and what messages call it
_Named = tuple[str, TreeConfig]

_WHO = """\
PRETTY_NAME= ID= ID_LIKE=
[ -r /etc/os-release ] && . /etc/os-release
printf '%s\\n' "$(id -u)" "${PRETTY_NAME:-$(uname -s)}" "$ID $ID_LIKE"
if command -v rsync >/dev/null 2>&1; then echo rsync; fi
"""


def check_trees(deployment: Deployment) -> Iterator[Finding]:
    """Yield what was found of every host and every tree; nothing where none is configured."""
    config = deployment.config
    trees: list[_Named] = [
        *((f"{Category.FILES} {t.server}/{t.name}", t) for t in config.files),
        *((f"{Category.APPLICATIONS} {t.server}/{t.name}", t) for t in config.applications),
    ]
    yield from _programs(config)
    if trees or config.server_configuration:
        yield _repository(deployment)
    for host in config.hosts:
        yield from _host(deployment, host, [t for t in trees if t[1].host == host.name])
    for subject, tree in trees:
        if tree.host is None:
            yield _patterns(subject, tree) or _near(deployment, subject, tree)


def _programs(config: Config) -> Iterator[Finding]:
    wanted = []
    if config.files or config.applications or config.server_configuration:
        wanted.append(("restic", "restic"))
    if config.hosts:
        wanted += [("ssh", "openssh-client"), ("rsync", "rsync")]
    for program, package in wanted:
        if shutil.which(program) is None:
            yield Finding(
                "programs", f"{program} is not installed", False, f"apt-get install {package}"
            )


def _repository(deployment: Deployment) -> Finding:
    subject = "repository"
    repository = deployment.config.repository
    assert repository is not None  # the configuration is refused without it
    try:
        connection = deployment.connections(repository.connection)
    except RespaldoError as error:
        return Finding.of(subject, error)
    if not connection.password:
        return Finding(
            subject,
            f"connection {repository.connection!r} has no password: nothing can be encrypted",
            False,
            "give it a long random one (openssl rand -base64 30), and keep it in a safe place, "
            "too: without it nothing can be restored",
        )
    return Finding(subject, "its password is known; keep it somewhere else, too")


def _host(deployment: Deployment, config: HostConfig, trees: list[_Named]) -> Iterator[Finding]:
    subject = f"host {config.name}"
    try:
        with SshHost.of(deployment.connections(config.connection)) as host:
            yield from _entered(deployment, config, host)
            for name, tree in trees:
                yield _patterns(name, tree) or _far(name, tree, host)
    except RespaldoError as error:
        yield Finding.of(subject, error)


def _entered(deployment: Deployment, config: HostConfig, host: SshHost) -> Iterator[Finding]:
    subject = f"host {config.name}"
    lines = [*host.check(["sh", "-c", _WHO]).text.splitlines(), "", "", "", ""]
    uid, system, family, rsync = lines[:4]
    yield Finding(subject, f"{system}, entered as {host.login!r}")
    if not rsync:
        yield Finding(
            subject, "rsync is not installed on it", False, "apt-get install rsync on that host"
        )
    if not any(source.host == config.name for source in deployment.config.server_configuration):
        return
    if not {"debian", "ubuntu"} & set(family.split()):
        yield Finding(
            subject,
            f"its configuration cannot be kept: it is {system}, neither Debian nor Ubuntu",
            False,
            "take it out of server_configuration; keep its folders under files",
        )
    elif uid != "0":
        yield Finding(
            subject,
            f"its configuration cannot be read whole by {host.login!r}",
            False,
            "let the connection's login be root (PermitRootLogin prohibit-password, and a key)",
        )


def _far(subject: str, tree: TreeConfig, host: SshHost) -> Finding:
    error = examine_tree(host, str(tree.path))
    return Finding.of(subject, error) if error else Finding(subject, f"{tree.path} can be read")


def _near(deployment: Deployment, subject: str, tree: TreeConfig) -> Finding:
    try:
        if tree.bucket is not None:
            found = holds_objects(tree.bucket, deployment.connections(str(tree.connection)))
            what = "can be listed" if found else "holds nothing yet"
            return Finding(subject, f"{tree.bucket} {what}")
    except RespaldoError as error:
        return Finding.of(subject, error)
    path = tree.path
    assert path is not None
    if not path.is_dir():
        return Finding(
            subject,
            f"{path} is {'no folder' if os.path.lexists(path) else 'not there'}",
            False,
            "see that it is mounted on every worker, and that the path is right",
        )
    if not os.access(path, os.R_OK | os.X_OK):
        return Finding(
            subject, f"{path} cannot be read", False, "let the account that Airflow runs as read it"
        )
    return Finding(subject, f"{path} can be read")


def _patterns(subject: str, tree: TreeConfig) -> Finding | None:
    try:
        Patterns(tree.include, tree.exclude)
    except ConfigurationError as error:
        return Finding.of(subject, error)
    return None
