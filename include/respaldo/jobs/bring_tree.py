"""Bring a tree to where it can be read: a path of this machine stays, all else gets a mirror.

A mirror is kept from day to day in the landing zone, so that only what changed travels::

    mirrors/<category>/<server>/<name>/tree              what was brought
    mirrors/<category>/<server>/<name>/digests.parquet   of the files as they were read last
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo.config.trees import HostSource, TreeConfig
from include.respaldo.errors import Busy, RespaldoError, SourceError
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.remote import fetch_tree
from include.respaldo.jobs.application_version import announced_version
from include.respaldo.jobs.describe_host import describe_host
from include.respaldo.jobs.discover_trees import configured_tree
from include.respaldo.model import keys
from include.respaldo.model.file_tree import ReadProblem
from include.respaldo.vault.bucket_tree import fetch_prefix

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.model.backup import Source
    from include.respaldo.ssh.host import SshHost

DIGESTS = "digests.parquet"


@dataclass(frozen=True)
class Tree:
    """Where a source's tree is read, and what of it is taken."""

    root: Path
    patterns: Patterns
    one_file_system: bool


@dataclass(frozen=True)
class Brought:
    """What came of bringing a tree."""

    problems: tuple[ReadProblem, ...] = ()
    #: what the application says that it is
    version: str = ""
    #: why it does not say it, for people
    no_version: str = ""


def tree_of(deployment: Deployment, source: Source) -> Tree:
    """Return where a source's tree is read.

    :raises ConfigurationError: it is not configured, or a pattern cannot be read.
    """
    config = configured_tree(deployment.config, source)
    if isinstance(config, HostSource):
        return Tree(mirror_folder(deployment, source) / "tree", Patterns(), False)
    patterns = Patterns(config.include, config.exclude)
    if config.path is not None and config.host is None:
        return Tree(config.path.resolve(), patterns, config.one_file_system)
    return Tree(mirror_folder(deployment, source) / "tree", patterns, False)


def mirror_folder(deployment: Deployment, source: Source) -> Path:
    """Return where a source's mirror is kept, and what is known of its files; made if missing."""
    folder = deployment.landing_zone.path(
        "mirrors",
        source.category.value,
        keys.encode_name(source.server),
        keys.encode_name(source.name),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def bring_tree(deployment: Deployment, source: Source) -> Brought:
    """Make the tree readable at `tree_of`, and ask an application for its version.

    :raises SourceError: it is not there, or may not be read; or the disk here is full.
    :raises Busy: another run is bringing it.
    :raises HostUnreachable: and whatever else a host or a bucket has to say.
    """
    config = configured_tree(deployment.config, source)
    tree = tree_of(deployment, source)
    with ExitStack() as stack:
        if isinstance(config, HostSource):
            stack.enter_context(_alone(deployment, source))
            return Brought(describe_host(deployment, config, tree.root))
        if config.bucket is not None:
            stack.enter_context(_alone(deployment, source))
            connection = deployment.connections(str(config.connection))
            found = fetch_prefix(
                config.bucket, connection, tree.root, tree.patterns, progress=deployment.progress
            )
            return _with_version(found, config, tree.root, None)
        if config.host is None:
            _examine(tree.root)
            return _with_version((), config, tree.root, None)
        stack.enter_context(_alone(deployment, source))
        host = stack.enter_context(deployment.host(config.host))
        assert config.path is not None
        found = fetch_tree(
            host,
            config.path,
            tree.root,
            tree.patterns,
            one_file_system=config.one_file_system,
            progress=deployment.progress,
        )
        return _with_version(found, config, config.path, host)


def _with_version(
    problems: tuple[ReadProblem, ...], config: TreeConfig, root: Path, host: SshHost | None
) -> Brought:
    try:
        return Brought(problems, announced_version(config, root, host))
    except RespaldoError as error:  # without its version it is no less of a backup
        return Brought(problems, no_version=error.message)


def _examine(root: Path) -> None:
    if not root.is_dir():
        raise SourceError(
            f"there is no folder {root}",
            hint="see that what is mounted there is mounted on every worker, and that the path in "
            "the configuration is right; earlier backups stay",
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise SourceError(
            f"{root} cannot be read", hint="let the account that this runs as read it (setfacl)"
        )


@contextmanager
def _alone(deployment: Deployment, source: Source) -> Iterator[None]:
    """Let one process at a time bring a mirror up to date."""
    descriptor = os.open(mirror_folder(deployment, source) / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"another run is bringing {source} here", hint="it is tried again later"
            ) from None
        yield
    finally:
        os.close(descriptor)
