"""Trees of hosts: brought here, and sent there, so that only what changed travels."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import stat
from pathlib import Path

from include.respaldo.errors import RespaldoError, SourceError, ToolFailed
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.rsync import Ended, disk_is_full, run_rsync
from include.respaldo.model.file_tree import Problem, ReadProblem, shown
from include.respaldo.ports import Progress
from include.respaldo.ssh.host import ALIAS, SshHost

_EXAMINE = """\
command -v rsync >/dev/null 2>&1 || exit 67
[ -e "$1" ] || exit 64
[ -d "$1" ] || exit 65
[ -r "$1" ] && [ -x "$1" ] || exit 66
"""
_NO_RSYNC = 67


def examine_tree(host: SshHost, path: str | Path) -> RespaldoError | None:
    """Return why the tree at a path of the host cannot be brought; None where it can.

    :raises HostUnreachable: no connection; and whatever else `SshHost.run` raises.
    """
    root = str(path)
    status = host.run(["sh", "-c", _EXAMINE, "sh", root]).returncode
    what = f"{shown(root)} on {host.name}"
    if status == 0:
        return None
    if status == _NO_RSYNC:
        return SourceError(
            f"rsync is not installed on {host.name}", hint="apt-get install rsync on that host"
        )
    if status == 64:
        return SourceError(
            f"there is no {what}",
            hint="see that what is mounted there is mounted, and that the path in the "
            "configuration is right; nothing of the last days' backups has changed",
        )
    if status == 65:
        return SourceError(f"{what} is no folder", hint="name the folder that it is in")
    if status == 66:
        return SourceError(
            f"{what} cannot be read by {host.login!r}",
            hint="let that account read it (setfacl), or use a login that may",
        )
    return ToolFailed(f"{what} could not be looked at: sh ended with {status}")


def fetch_tree(
    host: SshHost,
    path: str | Path,
    to: Path,
    patterns: Patterns,
    *,
    one_file_system: bool = True,
    progress: Progress,
) -> tuple[ReadProblem, ...]:
    """Make `to` equal to the tree at a path of the host; what is there already does not travel.

    Entries that cannot be read, or vanish meanwhile, are left out and returned: also a copy of
    them from an earlier day goes. Where this is cut short, the next run goes on.

    :raises SourceError: there is no such folder on the host; or the disk here is full.
    :raises HostUnreachable: no connection, or it was lost.
    :raises ToolFailed: rsync failed for another reason.
    """
    error = examine_tree(host, path)
    if error is not None:
        raise error
    root = posixpath.normpath(str(path))
    partial = to.with_name(to.name + ".partial")
    for folder in (to, partial):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    progress.step(f"bringing {shown(root)} from {host.name}")
    ended = run_rsync(
        host,
        [
            # not for the root: `examine_tree` has seen it, and without it rsync deletes nothing
            *("--delete", "--delete-excluded", "--ignore-errors", f"--partial-dir={partial}"),
            *(["--one-file-system"] if one_file_system else []),
            *(f"--filter={rule}" for rule in patterns.rsync_filters()),
            f"{ALIAS}:{root.rstrip('/')}/",
            f"{to}/",
        ],
        roots=(root, str(to)),
        progress=progress,
    )
    if ended.disk_full:
        raise disk_is_full(to, ended)
    if ended.root:
        raise SourceError(
            f"{shown(root)} on {host.name} went away while it was read: {ended.root}",
            hint="see that what is mounted there stays mounted",
        )
    shutil.rmtree(partial, ignore_errors=True)
    problems = _told(ended)
    for problem in problems:
        if problem.problem is not Problem.CHANGED and problem.path:
            _remove_stale(to, problem.path)
    return problems


def send_tree(
    host: SshHost,
    source: Path,
    to: str | Path,
    *,
    patterns: Patterns | None = None,
    delete: bool = False,
    progress: Progress,
) -> None:
    """Bring the tree at `source` to a path of the host, whose folders are made where missing.

    Owners arrive where the host's login is root; else everything belongs to the login.

    :param delete: remove there what is not here.
    :raises ToolFailed: something of it did not arrive; names it. A run again sends only that.
    :raises HostUnreachable: no connection, or it was lost.
    """
    root = posixpath.normpath(str(to))
    host.check(["mkdir", "-p", "--", root])
    progress.step(f"sending to {shown(root)} on {host.name}")
    ended = run_rsync(
        host,
        [
            *(["--delete"] if delete else []),
            *(f"--filter={rule}" for rule in (patterns.rsync_filters() if patterns else ())),
            f"{source}/",
            f"{ALIAS}:{root.rstrip('/')}/",
        ],
        roots=(str(source), root),
        progress=progress,
    )
    if ended.disk_full:
        raise SourceError(
            f"the disk of {shown(root)} on {host.name} is full",
            hint="make room there; the next run goes on with what is there",
        )
    if ended.status:
        named = "".join(f"\n  {shown(p.path)}: {p.reason}" for p in ended.problems[:20])
        raise ToolFailed(
            f"not everything arrived at {shown(root)} on {host.name}:{named}",
            hint="see what the host says of these; the next run sends only what is missing",
        )


def _told(ended: Ended) -> tuple[ReadProblem, ...]:
    """Return one problem an entry; a run that says it is partial has at least one."""
    found = {(p.path, p.reason if not p.path else ""): p for p in ended.problems}
    if ended.status and not found:
        last = ended.last[-1] if ended.last else f"rsync ended with {ended.status}"
        return (ReadProblem("", Problem.UNREADABLE, last),)
    return tuple(found.values())


def _remove_stale(root: Path, relative: str) -> None:
    """Remove an earlier copy; what the host names cannot lead out of the root, nor through links.

    A folder stays: rsync has emptied it.
    """
    *folders, name = relative.split("/")
    if not name or {"", ".", ".."} & {*folders, name}:
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    with contextlib.ExitStack() as stack, contextlib.suppress(FileNotFoundError):
        try:
            at = os.open(root, flags)
            stack.callback(os.close, at)
            for folder in folders:
                at = os.open(folder, flags, dir_fd=at)
                stack.callback(os.close, at)
        except OSError:  # a link, or no folder: whatever lies beyond is not ours
            return
        if not stat.S_ISDIR(os.lstat(name, dir_fd=at).st_mode):
            os.unlink(name, dir_fd=at)
