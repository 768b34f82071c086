"""A tree may change between its list and its snapshot: the list is made to say what was stored.

Two looks at a tree that agree, one before and one after the snapshot was made, prove what is in it.
For the entries in which they differ, and for those only, the snapshot itself is asked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from include.respaldo.filetree.columns import LIST, Sorted, column, entries_of
from include.respaldo.filetree.file_list import read_batches
from include.respaldo.filetree.listing import ListedTree, list_tree
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.model.file_tree import Entry, Kind, Problem
from include.respaldo.ports import Progress

_COMPARED = ("kind", "size", "mode", "uid", "gid", "mtime_ns", "sha256", "target", "xattrs")
_GONE = frozenset({Problem.UNREADABLE, Problem.VANISHED})
_TYPES = {"file": Kind.FILE, "dir": Kind.FOLDER, "symlink": Kind.LINK}
_NANOSECONDS = re.compile(r"\.(\d+)")
#: Go's bits of a mode that Unix has elsewhere
_GO_MODES = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))


class Stored(Protocol):
    """What is asked of a repository."""

    def list_to(self, snapshot: str, to: Any) -> None: ...

    def restore(
        self, snapshot: str, root: str, paths: Any, to: Path, progress: Progress
    ) -> None: ...


@dataclass(frozen=True)
class Moved:
    """An entry that two looks saw differently; None: not there."""

    before: Entry | None
    after: Entry | None

    @property
    def path(self) -> str:
        found = self.before or self.after
        assert found is not None
        return found.path


def moved(before: Path, after: ListedTree) -> list[Moved]:
    """Return the entries of a list that a later look saw differently, or saw change."""
    earlier = Sorted(read_batches(before), LIST)
    found: list[Moved] = []
    for batch in after.batches():
        if batch.num_rows:
            now = batch.select(LIST.names).replace_schema_metadata(None)
            found += _moved(earlier.through(column(now, "path")[-1].as_py()), now)
    found += [Moved(entry, None) for batch in earlier.rest() for entry in entries_of(batch)]
    # what could not be brought here, or read, was known before
    return [m for m in found if m.after or (m.before and m.before.problem not in _GONE)]


def _moved(then: pa.Table, now: pa.RecordBatch) -> Iterator[Moved]:
    at = pc.index_in(column(now, "path"), value_set=column(then, "path"))
    same = pc.is_valid(at)
    for name in _COMPARED:
        same = pc.and_(same, pc.equal(column(now, name), column(then, name).take(at)))
    problems = [column(now, "problem"), column(then, "problem").take(at)]
    for problem in problems:
        changing = pc.equal(problem.fill_null(""), pa.scalar(Problem.CHANGED.value))
        same = pc.and_not(same.fill_null(False), changing)
    other = pc.invert(same.fill_null(False))
    places = at.filter(other)
    were = then.take(pc.fill_null(places, 0)).to_batches() if then.num_rows else []
    befores = [entry for batch in were for entry in entries_of(batch)]
    for i, (after, place) in enumerate(
        zip(entries_of(now.filter(other)), places.to_pylist(), strict=True)
    ):
        yield Moved(None if place is None else befores[i], after)
    gone = pc.invert(pc.is_in(column(then, "path"), value_set=column(now, "path")))
    for batch in then.filter(gone).to_batches():
        yield from (Moved(entry, None) for entry in entries_of(batch))


def disagreements(
    repository: Stored, snapshot: str, root: str, listed: Path, scratch: Path
) -> list[Moved]:
    """Return where a list and a snapshot name different entries, whatever the looks said.

    Reads all of both: for where the numbers differ, or nobody knows how the snapshot was made.
    """
    top = _as_json(root.rstrip("/"))
    below = f"{top}/"
    stored: set[str] = set()
    with tempfile.TemporaryFile(dir=scratch) as lines:
        repository.list_to(snapshot, lines)
        lines.seek(0)
        for line in lines:
            path = str(json.loads(line).get("path", ""))
            if path == (top or "/"):
                stored.add("")
            elif path.startswith(below):
                stored.add(path.removeprefix(below))
    found: list[Moved] = []
    for batch in read_batches(listed):
        for entry in entries_of(batch):
            name = _as_json(entry.path)
            if name in stored:
                stored.discard(name)
            elif entry.problem not in _GONE:
                found.append(Moved(entry, replace(entry, problem=Problem.UNREADABLE)))
    found += (Moved(None, _unlisted(name)) for name in sorted(stored) if "\ufffd" not in name)
    return found


def _unlisted(path: str) -> Entry:
    return Entry(path, Kind.FILE, size=0, mode=0, uid=0, gid=0, mtime_ns=0)


def as_stored(
    repository: Stored,
    snapshot: str,
    root: str,
    changed: Iterable[Moved],
    scratch: Path,
    progress: Progress,
) -> dict[str, Entry | None]:
    """Return what the list says of the entries that moved, as the snapshot holds them.

    Their files are brought back from it, to be read; so this costs what changed meanwhile.

    :returns: for `amended_list.amended`.
    """
    waiting = list(changed)
    if not waiting:
        return {}
    progress.step(f"{len(waiting)} entries changed meanwhile: asking the snapshot")
    nodes = _nodes(repository, snapshot, root, {m.path for m in waiting}, scratch)
    wanted = [path for path, node in nodes.items() if node.kind is not Kind.FOLDER]
    read = _read_back(repository, snapshot, root, wanted, scratch, progress)
    return {m.path: _entry(m, nodes.get(m.path), read.get(m.path)) for m in waiting}


@dataclass(frozen=True)
class _Node:
    """What a listing of the snapshot says."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int


def _entry(moved: Moved, node: _Node | None, read: Entry | None) -> Entry | None:
    seen = moved.after or moved.before
    assert seen is not None
    if node is None:
        if moved.before is None:
            return None  # it came after the snapshot
        readable = moved.after is None or moved.after.problem is not Problem.UNREADABLE
        problem = Problem.VANISHED if readable else Problem.UNREADABLE
        return replace(moved.before, sha256="", problem=problem)
    link = (moved.before or seen).hard_link
    if read is not None:
        found = replace(read, path=seen.path, hard_link=link)
    else:
        found = replace(
            seen,
            kind=node.kind,
            mode=node.mode,
            uid=node.uid,
            gid=node.gid,
            mtime_ns=node.mtime_ns,
            problem=None,
        )
    # a folder whose time is another one, because of what came and went in it, is no problem
    same = moved.before is not None and replace(moved.before, problem=None) == found
    expected = found.kind is Kind.FOLDER or same
    return found if expected else replace(found, problem=Problem.CHANGED)


def _nodes(
    repository: Stored, snapshot: str, root: str, paths: set[str], scratch: Path
) -> dict[str, _Node]:
    """Return what the snapshot's listing says of these paths."""
    top = _as_json(root.rstrip("/"))
    wanted = {f"{top}/{_as_json(path)}" if path else top or "/": path for path in paths}
    found: dict[str, _Node] = {}
    with tempfile.TemporaryFile(dir=scratch) as lines:
        repository.list_to(snapshot, lines)
        lines.seek(0)
        for line in lines:
            node = json.loads(line)
            path = wanted.get(node.get("path", ""))
            if path is not None and node.get("struct_type") == "node":
                found[path] = _Node(
                    _TYPES.get(node["type"], Kind.OTHER),
                    _unix_mode(node["mode"]),
                    node["uid"],
                    node["gid"],
                    _nanoseconds(node["mtime"]),
                )
    return found


def _read_back(
    repository: Stored,
    snapshot: str,
    root: str,
    paths: list[str],
    scratch: Path,
    progress: Progress,
) -> dict[str, Entry]:
    """Return what the snapshot holds under these paths; none of them is a folder."""
    if not paths:
        return {}
    folder = Path(tempfile.mkdtemp(prefix="as-stored-", dir=scratch))
    try:
        repository.restore(snapshot, root, paths, folder, progress)
        wanted = set(paths)
        with list_tree(
            folder, Patterns(), one_file_system=False, known=None, progress=progress
        ) as listed:
            return {entry.path: entry for entry in listed if entry.path in wanted}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_json(path: str) -> str:
    """Return a path as restic's JSON shows it: a byte that is no UTF-8 cannot be told."""
    return "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in os.fsdecode(path))


def _unix_mode(mode: int) -> int:
    return (mode & 0o777) | sum(unix for go, unix in _GO_MODES if mode & go)


def _nanoseconds(text: str) -> int:
    match = _NANOSECONDS.search(text)
    whole = datetime.fromisoformat(_NANOSECONDS.sub("", text))
    return int(whole.timestamp()) * 10**9 + (int(match[1].ljust(9, "0")[:9]) if match else 0)
