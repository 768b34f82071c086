"""Make a bare Debian host the lost one, or one more like it; say what differs in the end, and why.

`plan` looks and changes nothing, `rebuild` acts, `compare` looks again. Each looks at the target as
it is then: whatever was interrupted goes on, and a second rebuild finds nothing to do.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from include.respaldo.debian.asking import run, survey
from include.respaldo.debian.carry_out import Builder, files_to_bring
from include.respaldo.debian.comparison import summary
from include.respaldo.debian.description import DESCRIPTION, FILES, Description, Target
from include.respaldo.debian.plan_rebuild import compare_rebuilt, plan_rebuild
from include.respaldo.debian.rebuild import (
    Action,
    Phase,
    RebuildPlan,
    Verb,
    Wish,
)
from include.respaldo.errors import Busy, ConfigurationError, CorruptObject, RestoreRefused
from include.respaldo.jobs.describe_host import taken_by
from include.respaldo.jobs.rebuild_report import PlannedRebuild, RebuildRequest, Rebuilt, Report
from include.respaldo.jobs.stored_hosts import (
    fetch_host,
    find_backup,
    newest_description,
    read_backup,
    read_description,
)
from include.respaldo.model import keys
from include.respaldo.model.backup import Manifest
from include.respaldo.ssh.host import SshHost

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: times that a phase is planned anew: what one round brings, the next one can finish
_ROUNDS = 4
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
#: larger files are not searched for the old name
_SEARCHED = 2**20


def plan(deployment: Deployment, request: RebuildRequest) -> PlannedRebuild:
    """Return what would be done; changes nothing.

    :raises RestoreRefused: there is no such backup; the target is another kind of system, is alive
        and backed up itself, or has accounts in the way: names them all.
    :raises HostUnreachable: the target does not answer.
    """
    manifest, request = _choose(deployment, request)
    lost = read_description(deployment, manifest)
    with _target(deployment, request) as ssh:
        target = survey(ssh, lost, taken_by(lost.exclude))
    planned = _planned(deployment, request, lost, target)
    return PlannedRebuild(request, summary(lost), planned)


def rebuild(deployment: Deployment, request: RebuildRequest) -> Rebuilt:
    """Carry out what `plan` says, phase by phase, each planned on what the target is by then.

    :raises RestoreRefused: as `plan`; nothing was done.
    :raises CorruptObject: the backup is not what its list says; nothing was done.
    :raises Busy: another rebuild of that target is under way.
    :raises HostUnreachable: the connection was lost; a rebuild again goes on.
    """
    begun = time.monotonic()
    manifest, request = _choose(deployment, request)
    done: dict[str, int] = {}
    with (
        _alone(deployment, request.target),
        _scratch(deployment) as scratch,
        _target(deployment, request) as ssh,
    ):
        tree = fetch_host(deployment, manifest, scratch)
        lost = _description(tree, manifest)
        taken = taken_by(lost.exclude)
        target = survey(ssh, lost, taken)
        planned = _planned(deployment, request, lost, target)
        if not planned.actions and target.before is None:
            return Rebuilt(request, done, (), time.monotonic() - begun)
        say = deployment.progress.step
        say(f"{request.target}: {planned.counts}")
        builder = Builder(ssh, lost, tree / FILES, scratch, say)
        builder.begin(target)
        named = _naming(lost, planned, tree / FILES)
        for phase in Phase:
            tried: tuple[Action, ...] = ()
            for number in range(_ROUNDS):
                target = (
                    survey(ssh, lost, taken) if tried or phase is Phase.REPOSITORIES else target
                )
                planned = plan_rebuild(lost, target, planned.wish)
                actions = planned.of(phase)
                if number:  # they have been read
                    actions = tuple(a for a in actions if a.verb is not Verb.UPDATE)
                if not actions or actions == tried:
                    break
                say(f"{phase.value}: {len(actions)}")
                builder.carry_out(actions, target.now)
                done[phase.value] = done.get(phase.value, 0) + len(actions)
                tried = actions
        builder.afterwards(target.now)
        if not planned.actions:
            builder.end()
    problems = (*builder.problems, *named)
    return Rebuilt(request, done, problems, round(time.monotonic() - begun, 3))


def compare(deployment: Deployment, request: RebuildRequest) -> Report:
    """Return in what the target differs from the lost host now; changes nothing."""
    manifest, request = _choose(deployment, request)
    lost = read_description(deployment, manifest)
    with _target(deployment, request) as ssh:
        target = survey(ssh, lost, taken_by(lost.exclude))
    planned = plan_rebuild(lost, target, _wish(request, lost))
    return Report(
        request,
        summary(target.now),
        compare_rebuilt(lost, target, planned),
        is_complete=not planned.actions,
    )


def _choose(deployment: Deployment, request: RebuildRequest) -> tuple[Manifest, RebuildRequest]:
    name = request.new_name
    if name and _HOST_NAME.fullmatch(name) is None:
        raise RestoreRefused(
            f"{name!r} cannot be a host's name", hint="letters, digits, hyphens: web2"
        )
    if request.backup_id:
        return read_backup(deployment, request.host, request.backup_id), request
    manifest = find_backup(deployment, request.host, request.before)
    return manifest, replace(request, backup_id=manifest.backup_id)


def _description(tree: Path, manifest: Manifest) -> Description:
    try:
        return Description.from_bytes((tree / DESCRIPTION).read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptObject(
            f"the description in backup {manifest.backup_id} cannot be read: {error}"
        ) from None


def _wish(request: RebuildRequest, lost: Description) -> Wish:
    as_itself = request.new_name in {"", lost.name}
    return Wish(request.new_name or lost.name, as_itself)


def _planned(
    deployment: Deployment, request: RebuildRequest, lost: Description, target: Target
) -> RebuildPlan:
    """:raises RestoreRefused: it must not be done; says everything that stands against it."""
    planned = plan_rebuild(lost, target, _wish(request, lost))
    if planned.refusals:
        raise RestoreRefused(
            f"{request.target} cannot become {request.host}: " + "; ".join(planned.refusals),
            hint="take a fresh host of the same release, or change these on the target",
        )
    alive = _alive(deployment, request, lost, target.now)
    if alive and request.confirmed != request.target:
        raise RestoreRefused(
            f"{request.target} is not to be rebuilt: {alive}",
            hint="choose another target; or, to change it nevertheless, confirm with its name: "
            f"{request.target}",
        )
    return planned


def _alive(
    deployment: Deployment, request: RebuildRequest, lost: Description, now: Description
) -> str:
    """Return why the target is a host that is in use; "": it is not, as far as can be known."""
    if now.machine_id and now.machine_id == lost.machine_id:
        return f"it is {request.host} itself, alive (its machine-id is the same)"
    config = deployment.config
    if any(source.host == request.target for source in config.server_configuration):
        if request.target == request.host:
            return ""  # installed anew: it has another machine-id
        described, _ = newest_description(deployment, request.target)
        if described is None or described.machine_id == now.machine_id:
            return "it is backed up itself, and alive"
    elif any(tree.host == request.target for tree in (*config.files, *config.applications)):
        return "files of it are backed up"
    return ""


def _naming(lost: Description, planned: RebuildPlan, files: Path) -> list[str]:
    """Return which files that are brought speak of the lost host's name, where that is another."""
    if planned.wish.as_itself:
        return []
    word = re.compile(rb"(?<![\w-])" + re.escape(lost.name.encode()) + rb"(?![\w-])")
    found = []
    for file in files_to_bring(lost, planned.actions):
        path = files / file.path.removeprefix("/")
        if file.size <= _SEARCHED and path.is_file() and word.search(path.read_bytes()):
            found.append(file.path)
    return [f"still speak of {lost.name}: {', '.join(found)}"] if found else []


@contextmanager
def _target(deployment: Deployment, request: RebuildRequest) -> Iterator[SshHost]:
    """Enter the target.

    :raises ConfigurationError: not as root.
    """
    connection = deployment.connections(deployment.config.host(request.target).connection)
    with SshHost.of(connection) as ssh:
        deployment.progress.step(f"looking at {ssh.name}")
        if run(ssh, ["id", "-u"]).text.strip() != "0":
            raise ConfigurationError(
                f"a rebuild needs root on {ssh.name}, it is entered as {ssh.login!r}",
                hint=f"set the login of connection {connection.conn_id!r} to root",
            )
        yield ssh


@contextmanager
def _alone(deployment: Deployment, target: str) -> Iterator[None]:
    """Let one rebuild at a time work on a target."""
    place = deployment.landing_zone.path("rebuilds", f"{keys.encode_name(target)}.lock")
    descriptor = os.open(place, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"another rebuild of {target} is under way", hint="wait until it has ended"
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _scratch(deployment: Deployment) -> Iterator[Path]:
    folder = Path(mkdtemp(prefix="rebuild-", dir=deployment.scratch()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
