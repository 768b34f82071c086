"""Exchange the running version of an application and one beside it: an explicit, separate step.

`plan` looks and changes nothing, `switch` acts. It restarts nothing, and removes nothing: the old
one stays beside, and the same command brings it back.
"""

from __future__ import annotations

import fcntl
import os
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from include.respaldo import failpoints
from include.respaldo.errors import Busy, RestoreFailed, RestoreRefused
from include.respaldo.jobs.application_folders import Folders, Seen, folders_of, is_folder
from include.respaldo.jobs.discover_trees import spelled
from include.respaldo.model import keys
from include.respaldo.model.application_names import is_ours, replaced_names
from include.respaldo.model.application_switch import (
    Step,
    Switch,
    Switched,
    SwitchPlan,
    SwitchRequest,
)
from include.respaldo.model.backup import Source
from include.respaldo.model.file_tree import shown

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

_RENAMED = "for an instant nothing had its name: the file system cannot exchange two names at once"


def plan(deployment: Deployment, request: SwitchRequest) -> SwitchPlan:
    """Return what would be exchanged; changes nothing.

    :raises RestoreRefused: what is there is not what a switch expects; the hint is the next step.
    :raises HostUnreachable: its host does not answer.
    """
    with folders_of(deployment, request.application) as folders:
        there, writable = folders.look()
        if folders.above not in there or not folders.base:
            raise RestoreRefused(f"there is no folder {shown(folders.above)} on {folders.name}")
        chosen = _path(folders, request.chosen)
        begun = folders.begun()
        if begun is not None:
            _examine_begun(folders, begun, chosen, there)
        else:
            _examine(folders, request, chosen, there)
        _examine_place(folders, chosen, there, writable)
        switch = begun or Switch(
            running=folders.root,
            chosen=chosen,
            replaced=_free(deployment, folders, there),
            old=there[folders.root].inode if folders.root in there else 0,
            new=there[chosen].inode,
        )
        at = {seen.inode: path for path, seen in there.items() if path != folders.above}
        old = folders.version(switch.running, at[switch.old]) if switch.old else None
        new = folders.version(switch.chosen, at[switch.new])
        concerned = {switch.running, switch.chosen, switch.replaced, folders.above}
        return SwitchPlan(
            request=request,
            switch=switch,
            place=folders.name,
            running=old,
            chosen=new,
            others=tuple(shown(path) for path in sorted(there.keys() - concerned)),
            goes_on=begun is not None,
            marks=_marks(folders, switch),
        )


def switch(deployment: Deployment, plan: SwitchPlan, approved_by: str = "") -> Switched:
    """Exchange them. The same plan again finishes what was cut off, or finds it done.

    :raises RestoreRefused: it is not any more what was planned; nothing was changed.
    :raises RestoreFailed: it could not be done; says how far it got.
    :raises Busy: another switch of this application is under way.
    """
    wanted = plan.switch
    with (
        _alone(deployment, plan.request.application),
        folders_of(deployment, plan.request.application) as folders,
    ):
        begun = folders.begun()
        if begun is None:
            step = folders.next_step(wanted)
            if step is Step.DONE:
                return Switched(plan, ("it was done before",), approved_by)
            if step is not (Step.EXCHANGE if wanted.old else Step.PUT_IN_PLACE):
                raise RestoreRefused(
                    f"what is at {shown(folders.root)} and beside it is not any more what was "
                    "planned",
                    hint="plan it again, and look at what it says",
                )
            folders.begin(wanted)
            failpoints.reach(failpoints.SWITCH_BEGUN)
        elif begun != wanted:
            raise _other_first(folders, begun)
        notes = _carry_out(deployment, folders, wanted)
    return Switched(plan, notes, approved_by)


def _carry_out(deployment: Deployment, folders: Folders, wanted: Switch) -> tuple[str, ...]:
    """Do what is left to do, step by step, each after a look at what is there."""
    notes: list[str] = []
    last = None
    while (step := folders.next_step(wanted)) is not Step.DONE:
        if step is None or step is last:
            raise _tampered(folders, wanted)
        last = step
        deployment.progress.step(f"{folders.name}: {step.value}")
        try:
            if folders.carry_out(step, wanted) == "renamed":
                notes.append(_RENAMED)
        except RestoreFailed as error:
            if folders.next_step(wanted) is Step.EXCHANGE:
                folders.end()
                raise RestoreFailed(
                    f"{error.message}; everything is as it was",
                    hint="see what keeps it from being renamed; then switch again",
                ) from None
            raise RestoreFailed(
                error.message, hint="the switch is not complete: the same again finishes it"
            ) from None
        failpoints.reach(failpoints.VERSIONS_EXCHANGED)
    folders.end()
    return tuple(notes)


# -- what is expected ---------------------------------------------------------------------------


def _path(folders: Folders, chosen: str) -> str:
    """Return the path that a person means.

    :raises RestoreRefused: it is not beside the running one, or no name of ours.
    """
    above, name = posixpath.split(chosen.rstrip("/"))
    if (above and posixpath.normpath(above) != folders.above) or not is_ours(folders.base, name):
        raise RestoreRefused(
            f"{shown(chosen)!r} is no restored version beside {shown(folders.root)}",
            hint=_there_are(folders, folders.look()[0]),
        )
    return posixpath.join(folders.above, name)


def _examine(
    folders: Folders, request: SwitchRequest, chosen: str, there: Mapping[str, Seen]
) -> None:
    """:raises RestoreRefused: what is there is not what a switch begins with."""
    running, root = there.get(folders.root), shown(folders.root)
    if chosen not in there:
        raise RestoreRefused(
            f"there is no {shown(chosen)} on {folders.name}", hint=_there_are(folders, there)
        )
    if running is None and not request.lost:
        raise RestoreRefused(
            f"nothing is at {root} on {folders.name}, and no switch was begun there",
            hint="see where it has gone; if it is lost, say so (--lost): then the chosen one takes "
            "its place, and nothing is replaced",
        )
    if running is not None and request.lost:
        raise RestoreRefused(
            f"{root} on {folders.name} is not lost: there is something",
            hint="switch without saying that it is lost: the old one stays beside",
        )
    for path in (folders.root, chosen):
        if path in there and not is_folder(there[path]):
            raise RestoreRefused(
                f"{shown(path)} on {folders.name} is no folder, but a link or a file",
                hint=f"if it is a link, let it lead to the other version: ln -sfnT … {shown(path)}",
            )


def _examine_begun(folders: Folders, begun: Switch, chosen: str, there: Mapping[str, Seen]) -> None:
    """:raises RestoreRefused: a switch that was cut off is another, or cannot be finished."""
    if begun.running != folders.root:
        raise _tampered(folders, begun)
    if begun.chosen != chosen:
        raise _other_first(folders, begun)
    if begun.next_step({path: seen.inode for path, seen in there.items()}) is None:
        raise _tampered(folders, begun)


def _examine_place(
    folders: Folders, chosen: str, there: Mapping[str, Seen], writable: bool
) -> None:
    """:raises RestoreRefused: names cannot be changed there."""
    above = there[folders.above]
    for path in (folders.root, chosen):
        if path in there and there[path].device != above.device:
            raise RestoreRefused(
                f"{shown(path)} on {folders.name} is on another file system than what is beside it",
                hint="restore it to the same one, or exchange what is mounted",
            )
    mounted = folders.mounts()
    if mounted:
        raise RestoreRefused(
            f"on {folders.name} something is mounted at {', '.join(map(shown, mounted[:5]))}: it "
            "would stay with the old one",
            hint="unmount it, and mount it again once they are exchanged",
        )
    if not writable:
        raise RestoreRefused(
            f"names in {shown(folders.above)} on {folders.name} cannot be changed by this login",
            hint="use a login that may, root for instance",
        )


def _there_are(folders: Folders, there: Mapping[str, Seen]) -> str:
    names = sorted(posixpath.basename(p) for p in there if p.startswith(f"{folders.root}."))
    ours = [shown(name) for name in names if is_ours(folders.base, name)]
    if not ours:
        return "there is none; `restore-application` brings one"
    return f"there are: {', '.join(ours)}"


def _other_first(folders: Folders, begun: Switch) -> RestoreRefused:
    return RestoreRefused(
        f"a switch of {shown(folders.root)} to {shown(begun.chosen)} was begun and cut off",
        hint=f"finish that one first: switch to {shown(posixpath.basename(begun.chosen))}",
    )


def _tampered(folders: Folders, begun: Switch) -> RestoreRefused:
    names = ", ".join(map(shown, (begun.running, begun.chosen, begun.replaced)))
    return RestoreRefused(
        f"on {folders.name} {names} are not what the switch that was begun has left",
        hint=f"put them right by hand, and remove {shown(folders.note)}; nothing was removed",
    )


def _free(deployment: Deployment, folders: Folders, there: Mapping[str, Seen]) -> str:
    now, zone = deployment.clock.now(), deployment.config.time_zone
    paths = (posixpath.join(folders.above, n) for n in replaced_names(folders.base, now, zone))
    return next(path for path in paths if path not in there)


def _marks(folders: Folders, wanted: Switch) -> tuple[str, ...]:
    marks = ["services that run of it go on with the old one until they are restarted"]
    if wanted.old:
        marks.append(
            "whatever was written below it since (settings, uploads, logs) stays with the old one"
        )
    patterns = [*folders.config.exclude, *folders.config.include]
    if patterns and ".restored_" in posixpath.basename(wanted.chosen):
        kind = "leave out" if folders.config.exclude else "hold only"
        marks.append(
            f"backups of it {kind} {', '.join(folders.config.exclude or folders.config.include)}: "
            "what it needs besides has to be brought over"
        )
    return tuple(marks)


@contextmanager
def _alone(deployment: Deployment, application: Source) -> Iterator[None]:
    """Let one switch at a time work on an application."""
    name = f"{keys.encode_name(spelled(application))}.lock"
    descriptor = os.open(
        deployment.landing_zone.path("switches", name), os.O_CREAT | os.O_RDWR, 0o600
    )
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"another switch of {application} is under way", hint="wait until it has ended"
            ) from None
        yield
    finally:
        os.close(descriptor)
