"""Which entries of a backup's list people mean by a path or a pattern."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from include.respaldo.errors import ConfigurationError, RestoreRefused
from include.respaldo.filetree.columns import column, entries_of, pc
from include.respaldo.filetree.file_list import read_batches
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.model.file_tree import Entry, Kind, Problem, shown
from include.respaldo.model.tree_restore_plan import Contents

_GLOB = re.compile(r"[*?\[]")
_GONE = pa.array([Problem.UNREADABLE.value, Problem.VANISHED.value])
_SUGGESTED = 5


@dataclass(frozen=True)
class Item:
    """The top of what is wanted: a file, or a folder with all below it."""

    path: str
    kind: Kind


class Selection:
    """The entries of one list that are wanted.

    :ivar items: their tops, in the list's order; none where everything is wanted.
    :ivar contents: how much they are.
    :ivar unknown: what was asked for, and is not there; as it was written.
    """

    def __init__(self, listed: Path, wanted: Sequence[str], roots: Sequence[str] = ()) -> None:
        """Look for what is wanted.

        :param wanted: paths and patterns, as people write them, with or without a slash at their
            beginning; an exact path goes before a pattern. None: everything.
        :param roots: what the tree's root is called elsewhere: whole paths are understood, too.
        :raises RestoreRefused: a pattern cannot be read.
        """
        self._listed = listed
        self._paths: list[bytes] = []
        self._patterns: Patterns | None = None
        readings = [_readings(text, roots) for text in wanted]
        self.is_everything = not wanted or any({"", "."} & set(r) for r in readings)
        self.unknown: tuple[str, ...] = ()
        if not self.is_everything:
            self._resolve(readings, wanted)
        self.items: tuple[Item, ...] = ()
        self.contents = Contents()
        self._count()

    def entries(self) -> Iterator[Entry]:
        """Yield what is wanted, in the list's order."""
        for batch in self._batches():
            yield from entries_of(batch)

    def folders_above(self) -> dict[str, Entry]:
        """Return the folders that lead to the items, the root ("") included."""
        above = {""}
        for item in self.items:
            above |= set(_above(item.path))
        names = pa.array(sorted(map(os.fsencode, above)), pa.binary())
        return {
            entry.path: entry
            for batch in read_batches(self._listed)
            for entry in entries_of(batch.filter(pc.is_in(column(batch, "path"), value_set=names)))
        }

    # -- inside -------------------------------------------------------------------------------

    def _resolve(self, readings: list[list[str]], wanted: Sequence[str]) -> None:
        candidates = {os.fsencode(r.strip("/")) for reading in readings for r in reading}
        odd = {r.strip("/") for reading in readings for r in reading if "\\" in r}
        there = self._there(candidates, odd)
        patterns: list[str] = []
        unknown: list[str] = []
        for reading, text in zip(readings, wanted, strict=True):
            exact = [there[name] for r in reading if (name := r.strip("/")) in there]
            if exact:
                self._paths.append(exact[0])
            elif _GLOB.search(text):
                patterns.append(reading[-1])
                if not self._fits_any(reading[-1]):
                    unknown.append(text)
            else:
                unknown.append(text)
        self._patterns = _patterns(patterns) if patterns else None
        self._paths = [p for p in self._paths if not set(_above_bytes(p)) & set(self._paths)]
        self.unknown = tuple(unknown)

    def _there(self, candidates: set[bytes], odd: set[str]) -> dict[str, bytes]:
        """Return which of these paths are in the list; odd ones also as people are shown them."""
        names = pa.array(sorted(candidates), pa.binary())
        found: dict[str, bytes] = {}
        for batch in read_batches(self._listed, columns=["path"]):
            paths = column(batch, "path")
            for path in paths.filter(pc.is_in(paths, value_set=names)).to_pylist():
                found[os.fsdecode(path)] = path
            if odd:
                for path in paths.to_pylist():
                    if (name := shown(os.fsdecode(path))) in odd:
                        found.setdefault(name, path)
        return found

    def _fits_any(self, pattern: str) -> bool:
        patterns = _patterns([pattern])
        return any(
            path and patterns.fits(os.fsdecode(path))
            for batch in read_batches(self._listed, columns=["path"])
            for path in column(batch, "path").to_pylist()
        )

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for batch in read_batches(self._listed):
            if self.is_everything:
                yield batch
                continue
            paths = column(batch, "path")
            mask = pa.array([False] * batch.num_rows, pa.bool_())
            for path in self._paths:
                mask = pc.or_(mask, pc.equal(paths, pa.scalar(path, pa.binary())))
                mask = pc.or_(mask, pc.starts_with(paths, path + b"/"))
            if self._patterns is not None:
                fits = self._patterns.fits
                told = [bool(p) and fits(os.fsdecode(p)) for p in paths.to_pylist()]
                mask = pc.or_(mask, pa.array(told, pa.bool_()))
            yield batch.filter(mask)

    def _count(self) -> None:
        counts: dict[str, int] = dict.fromkeys(Kind, 0)
        size = missing = 0
        items: list[Item] = []
        tops = _Tops(self._paths, self._patterns)
        for batch in self._batches():
            gone = pc.is_in(column(batch, "problem"), value_set=_GONE)
            missing += pc.sum(gone).as_py() or 0
            there = batch.filter(pc.invert(gone))
            size += pc.sum(column(there, "size")).as_py() or 0
            for kind in pc.value_counts(column(there, "kind")).to_pylist():
                counts[kind["values"]] += kind["counts"]
            if not self.is_everything:
                pairs = zip(
                    column(there, "path").to_pylist(),
                    column(there, "kind").to_pylist(),
                    strict=True,
                )
                items += [
                    Item(os.fsdecode(path), Kind(kind)) for path, kind in pairs if path in tops
                ]
        self.items = tuple(items)
        self.contents = Contents(
            files=counts[Kind.FILE],
            folders=counts[Kind.FOLDER],
            links=counts[Kind.LINK],
            others=counts[Kind.OTHER],
            size=size,
            missing=missing,
        )


class _Tops:
    """Which of the entries that are wanted have no folder above them that is."""

    def __init__(self, paths: Sequence[bytes], patterns: Patterns | None) -> None:
        self._paths = set(paths)
        self._fits = patterns.fits if patterns else None
        self._wanted: dict[bytes, bool] = {b"": False}

    def __contains__(self, path: bytes) -> bool:
        return not self._is_wanted(path.rpartition(b"/")[0])

    def _is_wanted(self, folder: bytes) -> bool:
        found = self._wanted.get(folder)
        if found is None:
            found = folder in self._paths or self._is_wanted(folder.rpartition(b"/")[0])
            found = found or (self._fits is not None and self._fits(os.fsdecode(folder)))
            self._wanted[folder] = found
        return found


def suggestions(listed: Path, text: str) -> list[str]:
    """Return paths that may be meant by one that is not there, as people are shown them."""
    name = text.rstrip("/").rpartition("/")[2].casefold()
    if not name:
        return []
    same: list[str] = []
    holding: list[str] = []
    names: dict[str, str] = {}
    for batch in read_batches(listed, columns=["path"]):
        for raw in column(batch, "path").to_pylist():
            path = shown(os.fsdecode(raw))
            last = path.rpartition("/")[2].casefold()
            if last == name:
                same.append(path)
            elif name in last and len(holding) < _SUGGESTED:
                holding.append(path)
            elif len(names) < 100_000:
                names.setdefault(last, path)
            if len(same) == _SUGGESTED:
                return same
    close = [names[n] for n in difflib.get_close_matches(name, names, _SUGGESTED, 0.75)]
    return (same + holding + close)[:_SUGGESTED]


def _readings(text: str, roots: Sequence[str]) -> list[str]:
    """Return how a text may be read, the likeliest first; the last one is that of a pattern."""
    plain = re.sub(r"^(\./)+", "", text).rstrip("/")
    for root in roots:
        top = root.rstrip("/")
        if plain == top or plain.startswith(f"{top}/"):
            return [plain, plain.removeprefix(top)]
    return [plain]


def _patterns(texts: list[str]) -> Patterns:
    try:
        return Patterns(include=texts)
    except ConfigurationError as error:
        raise RestoreRefused(error.message, hint=error.hint) from None


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _above_bytes(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path
