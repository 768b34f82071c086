"""A restored tree held against the list of its backup, entry by entry."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from include.respaldo.filetree.hashing import attributes_digest, hash_file
from include.respaldo.filetree.walk import row_of
from include.respaldo.model.file_tree import Entry, Kind, Problem, shown

_PORTION = 512
_WORKERS = min(4, os.cpu_count() or 1)


def differences(
    entries: Iterable[Entry], root: Path, *, owners: bool = True, limit: int = 1000
) -> list[str]:
    """Return how a tree differs from a list, in words for people; empty: it does not.

    Compared are content, size, mode, owner, times, what links say, hard links, extended
    attributes and ACLs. Entries that could not be read or had vanished are not expected.

    :param root: what the path "" of the list is.
    :param owners: False where it was restored without the right to give files away.
    :param limit: ends there.
    """
    found: list[str] = []
    links: dict[int, tuple[str, int]] = {}
    inodes: dict[int, int] = {}
    rows = iter(entries)
    with ThreadPoolExecutor(_WORKERS, "verify") as pool:
        while (piece := list(islice(rows, _PORTION))) and len(found) < limit:
            for entry, told in zip(
                piece, pool.map(lambda e: list(_entry(e, root, owners)), piece), strict=True
            ):
                found += told
                if entry.hard_link and not told:
                    found += _hard_link(entry, root, links, inodes)
    if len(found) > limit:
        found[limit:] = ["… and more"]
    return found


def _entry(entry: Entry, root: Path, owners: bool) -> Iterator[str]:
    if entry.problem in {Problem.UNREADABLE, Problem.VANISHED}:
        return
    name = shown(entry.path) or "the root"
    path = os.fsencode(root / entry.path)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        yield f"{name}: is missing"
        return
    except OSError as e:
        yield f"{name}: cannot be read ({e.strerror})"
        return
    row = row_of(b"", status)
    if row.kind is not entry.kind:
        yield f"{name}: expected a {entry.kind.value}, found a {row.kind.value}"
        return
    if entry.kind is Kind.FILE:
        if row.size != entry.size:
            yield f"{name}: expected {entry.size} bytes, found {row.size}"
        elif entry.sha256 and (digest := hash_file(path).sha256) != entry.sha256:
            yield f"{name}: its content differs ({digest[:12]}…, not {entry.sha256[:12]}…)"
    if entry.kind is Kind.LINK:
        target = os.fsdecode(os.readlink(path))  # noqa: PTH115 (bytes)
        if target != entry.target:
            yield f"{name}: expected a link to {shown(entry.target)}, found {shown(target)}"
    elif row.mode != entry.mode:
        yield f"{name}: expected mode {entry.mode:04o}, found {row.mode:04o}"
    if owners and (row.uid, row.gid) != (entry.uid, entry.gid):
        yield f"{name}: expected owner {entry.uid}:{entry.gid}, found {row.uid}:{row.gid}"
    if row.mtime_ns != entry.mtime_ns:
        yield f"{name}: expected the time {entry.mtime_ns}, found {row.mtime_ns}"
    try:
        if attributes_digest(path) != entry.xattrs:
            yield f"{name}: its extended attributes or ACLs differ"
    except OSError as e:
        yield f"{name}: its extended attributes cannot be read ({e.strerror})"


def _hard_link(
    entry: Entry, root: Path, links: dict[int, tuple[str, int]], inodes: dict[int, int]
) -> Iterator[str]:
    status = os.lstat(os.fsencode(root / entry.path))
    if not stat.S_ISREG(status.st_mode):
        return
    first, inode = links.setdefault(entry.hard_link, (entry.path, status.st_ino))
    if inode != status.st_ino:
        yield f"{shown(entry.path)}: expected to be one file with {shown(first)}"
    elif inodes.setdefault(inode, entry.hard_link) != entry.hard_link:
        yield f"{shown(entry.path)}: is one file with another that it was not"
