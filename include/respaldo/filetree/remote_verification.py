"""A tree on a host held against the list of its backup, entry by entry, with its own programs."""

from __future__ import annotations

import os
from collections.abc import Iterable

from include.respaldo.model.file_tree import Entry, Kind, Problem, shown
from include.respaldo.ssh.host import SshHost

_FACTS = r"%P\0%y\0%s\0%m\0%U\0%G\0%T@\0%l\0"
_FIELDS = 8
_KINDS = {b"f": Kind.FILE, b"d": Kind.FOLDER, b"l": Kind.LINK}
_DIGESTS = """\
if [ -d "$1" ] && [ ! -L "$1" ]; then
  cd "$1" && find . -type f -print0 | xargs -0 -r sha256sum -z --
elif [ -f "$1" ] && [ ! -L "$1" ]; then
  sha256sum -z <"$1"
fi
"""
#: seconds
_PATIENCE = 6 * 3600


def remote_differences(
    host: SshHost, root: str, entries: Iterable[Entry], *, owners: bool, limit: int = 20
) -> list[str]:
    """Return how a tree of a host differs from a list, in words for people; empty: it does not.

    Compared are content, size, mode, owner, times and what links say; see `differences`.

    :raises HostUnreachable: no connection, or it was lost.
    :raises ToolFailed: the host could not look.
    """
    told = host.check(["find", root, "-printf", _FACTS], timeout=_PATIENCE).stdout.split(b"\0")
    facts = {told[i]: told[i + 1 : i + _FIELDS] for i in range(0, len(told) - 1, _FIELDS)}
    digests = host.check(["sh", "-c", _DIGESTS, "sh", root], timeout=_PATIENCE).stdout
    content = {line[68:]: line[:64].decode() for line in digests.split(b"\0") if line}
    found: list[str] = []
    for entry in entries:
        if len(found) >= limit:
            break
        if entry.problem in {Problem.UNREADABLE, Problem.VANISHED}:
            continue
        raw = os.fsencode(entry.path)
        name = shown(entry.path) or "the root"
        if raw not in facts:
            found.append(f"{name}: is missing")
            continue
        what = _difference(entry, facts[raw], content.get(raw, ""), owners)
        found += [f"{name}: {what}"] if what else []
    return found


def _difference(entry: Entry, facts: list[bytes], sha256: str, owners: bool) -> str:
    letter, size, mode, uid, gid, time, target = facts
    kind = _KINDS.get(letter, Kind.OTHER)
    if kind is not entry.kind:
        return f"expected a {entry.kind.value}, found a {kind.value}"
    if kind is Kind.FILE and int(size) != entry.size:
        return f"expected {entry.size} bytes, found {int(size)}"
    if kind is Kind.FILE and entry.sha256 and sha256 != entry.sha256:
        return "its content differs"
    if kind is Kind.LINK and target != os.fsencode(entry.target):
        return f"expected a link to {shown(entry.target)}"
    if kind is not Kind.LINK and int(mode, 8) != entry.mode:
        return f"expected mode {entry.mode:04o}, found {int(mode, 8):04o}"
    if owners and (int(uid), int(gid)) != (entry.uid, entry.gid):
        return f"expected owner {entry.uid}:{entry.gid}, found {int(uid)}:{int(gid)}"
    seconds, _, fraction = time.partition(b".")
    if int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0")) != entry.mtime_ns:
        return "its time differs"
    return ""
