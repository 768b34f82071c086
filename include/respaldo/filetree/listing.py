"""The list of a tree as it is now, with digests; what did not change is not read again."""

from __future__ import annotations

import gc
import os
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from include.respaldo.filetree.columns import LISTED, ROWS, Sorted, column, entries_of, pc
from include.respaldo.filetree.digests import DigestCache
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.reading import Read, Readers, results
from include.respaldo.filetree.walk import Row, walk
from include.respaldo.model.file_tree import Entry, Kind
from include.respaldo.ports import Progress

#: a file touched more recently than that may change again without a trace
_SETTLED_AFTER = 2_000_000_000


class ListedTree:
    """A tree as it was listed; its rows lie in an unnamed temporary file, not in memory.

    Leaving the block, or forgetting it, removes them.
    """

    def __init__(self, scratch: Path | None = None) -> None:
        descriptor, name = tempfile.mkstemp(prefix="respaldo-list-", dir=scratch)
        Path(name).unlink()
        self._path = f"/proc/self/fd/{descriptor}"
        self._close = weakref.finalize(self, os.close, descriptor)
        self.rows = 0
        #: files whose content was read, and their bytes
        self.files_read = 0
        self.bytes_read = 0

    def __len__(self) -> int:
        return self.rows

    def __enter__(self) -> ListedTree:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def entries(self) -> ListedTree:
        """The entries in the order of their paths' bytes; can be gone through again and again."""
        return self

    def __iter__(self) -> Iterator[Entry]:
        for batch in self.batches():
            yield from entries_of(batch)

    @property
    def digests(self) -> DigestCache:
        """What the next listing need not read again."""
        return DigestCache(self._path, self)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as columns (`LISTED`)."""
        return self.digests.batches()


def list_tree(
    root: Path,
    patterns: Patterns,
    *,
    one_file_system: bool,
    known: DigestCache | None,
    progress: Progress,
    scratch: Path | None = None,
) -> ListedTree:
    """Return every entry that is taken, with the digests of all files.

    Unreadable entries, and files that change or vanish while they are read, are listed with their
    problem. Memory stays the same however many there are.

    :param known: the digests of an earlier listing: reused where size, times and inode are equal.
    :param scratch: folder for the temporary file of the rows; None: the system's.
    :raises SourceError: the root cannot be read.
    """
    progress.step("listing")
    listed = ListedTree(scratch)
    try:
        with (
            _without_collection(),
            Readers(os.fsencode(root).rstrip(b"/")) as readers,
            pa.OSFile(listed._path, "wb") as file,
            pa.ipc.new_stream(
                file, LISTED, options=pa.ipc.IpcWriteOptions(compression="lz4")
            ) as writer,
        ):
            reading = _Reading(listed, known, readers, writer)
            # while one batch is matched with what is known, and its files are read, the next one
            # is looked for
            with ThreadPoolExecutor(1, "match") as beside:
                matching: Future[None] | None = None
                for rows in _batches(walk(root, patterns, one_file_system=one_file_system)):
                    seen = _columns(rows)
                    if matching:
                        matching.result()
                        progress.advance(listed.rows, None, "entries")
                    matching = beside.submit(reading.take, rows, seen)
                if matching:
                    matching.result()
            reading.end()
            progress.advance(listed.rows, None, "entries")
    except BaseException:
        listed._close()
        raise
    return listed


@contextmanager
def _without_collection() -> Iterator[None]:
    """Collect no cycles: rows hold none, and to look for some among so many takes a sixth."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _batches(pieces: Iterable[list[Row]]) -> Iterator[list[Row]]:
    rows: list[Row] = []
    for piece in pieces:
        rows += piece
        if len(rows) >= ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


class _Begun(NamedTuple):
    """A batch of rows of which some are being read."""

    rows: list[Row]
    #: nanoseconds since 1970
    began: int
    seen: dict[str, Any]
    known: pa.RecordBatch
    #: which rows are not known
    at: list[int]
    reading: list[Future[list[Read]]]


class _Reading:
    """What is carried from one batch of rows to the next."""

    def __init__(
        self,
        listed: ListedTree,
        known: DigestCache | None,
        readers: Readers,
        writer: pa.ipc.RecordBatchStreamWriter,
    ) -> None:
        self._listed = listed
        self._known = Sorted(known.batches() if known else (), LISTED)
        self._readers = readers
        self._writer = writer
        self._begun: _Begun | None = None
        #: (device, inode) -> number of a file with several names, and how it was read
        self._links: dict[tuple[int, int], tuple[int, Read | None]] = {}

    def take(self, rows: list[Row], seen: dict[str, Any]) -> None:
        """Begin with the next rows, and end those before.

        :param seen: the same as columns.
        """
        self.end()
        self._begun = self._begin(rows, seen)

    def end(self) -> None:
        """Write the rows that were begun, if any, once all of them are read."""
        if self._begun:
            self._writer.write_batch(self._finish(self._begun))
            self._listed.rows += len(self._begun.rows)
            self._begun = None

    def _begin(self, rows: list[Row], seen: dict[str, Any]) -> _Begun:
        """Find what is known of the rows, and begin to read the others."""
        began = time.time_ns()
        known = self._match(seen)
        at = pc.indices_nonzero(pc.invert(column(known, "found"))).to_pylist()
        return _Begun(
            rows=rows,
            began=began,
            seen=seen,
            known=known,
            at=at,
            reading=self._readers.begin([r for r in (rows[i] for i in at) if not _is_linked(r)]),
        )

    def _finish(self, begun: _Begun) -> pa.RecordBatch:
        """Return the rows as columns, with their digests."""
        rows, began, seen, known, at, reading = begun
        unknown = pc.invert(column(known, "found"))
        read = self._read([rows[i] for i in at], results(reading))
        if self._corrected(rows, at, read):
            seen = _columns(rows)
        settled = [
            not (r.problem or row.kind is not Kind.FILE)
            and max(row.mtime_ns, row.ctime_ns) < began - _SETTLED_AFTER
            for row, r in zip([rows[i] for i in at], read, strict=True)
        ]

        def merged(name: str, values: list[Any]) -> Any:
            own = pa.array(values, LISTED.field(name).type)
            return pc.replace_with_mask(column(known, name), unknown, own)

        columns = {
            **seen,
            "sha256": merged("sha256", [r.sha256 for r in read]),
            "xattrs": merged("xattrs", [r.xattrs for r in read]),
            "incompressible": merged("incompressible", [r.incompressible for r in read]),
            "settled": merged("settled", settled),
            "reused": column(known, "found"),
            "again": column(known, "again"),
            "target": _scattered("target", at, [r.target for r in read], len(rows), b""),
            "problem": _scattered("problem", at, [r.problem for r in read], len(rows), None),
            "hard_link": self._numbers(rows),
        }
        return pa.RecordBatch.from_arrays([columns[n] for n in LISTED.names], schema=LISTED)

    def _match(self, seen: dict[str, Any]) -> pa.RecordBatch:
        """Return what is known of each row, and whether it is still true (``found``)."""
        paths = seen["path"]
        table = self._known.through(paths[-1].as_py())
        at = pc.index_in(paths, value_set=column(table, "path"))
        same = pc.equal(seen["kind"], Kind.FILE.value)
        for name in ("size", "mtime_ns", "ctime_ns", "inode"):
            same = pc.and_(same, pc.equal(seen[name], column(table, name).take(at)))
        # what was touched just before it was read may have changed again without a trace
        found = pc.and_(same, column(table, "settled").take(at)).fill_null(False)
        again = pc.and_not(same.fill_null(False), found)
        columns = {"found": found, "settled": found, "again": again}
        for name, default in (("sha256", ""), ("xattrs", ""), ("incompressible", False)):
            columns[name] = column(table, name).take(at).fill_null(default)
        return pa.RecordBatch.from_pydict(columns)

    def _read(self, rows: list[Row], reading: Iterator[Read]) -> list[Read]:
        """Return how the rows were read; a file with several names is read once."""
        found = []
        for row in rows:
            if not _is_linked(row):
                read = next(reading)
            else:
                number, earlier = self._linked(row)
                read = earlier or self._readers.one(row)
                self._links[row.device, row.inode] = (number, read)
            found.append(read)
            if row.kind is Kind.FILE:
                self._listed.files_read += 1
                self._listed.bytes_read += row.size
        return found

    def _corrected(self, rows: list[Row], at: list[int], read: list[Read]) -> bool:
        """Put what a file was when it was read into its row; return whether any differed."""
        any_differed = False
        for i, found in zip(at, read, strict=True):
            if found.now is not None:
                rows[i] = found.now
                any_differed = True
        return any_differed

    def _linked(self, row: Row) -> tuple[int, Read | None]:
        return self._links.setdefault((row.device, row.inode), (len(self._links) + 1, None))

    def _numbers(self, rows: list[Row]) -> Any:
        at = [i for i, row in enumerate(rows) if row[10] > 1 and _is_linked(row)]
        numbers = [self._linked(rows[i])[0] for i in at]
        return _scattered("hard_link", at, numbers, len(rows), 0)


def _is_linked(row: Row) -> bool:
    return row.links > 1 and row.kind is Kind.FILE


_SEEN = {
    "path": 0,
    "kind": 1,
    "size": 2,
    "mode": 3,
    "uid": 4,
    "gid": 5,
    "mtime_ns": 6,
    "ctime_ns": 7,
    "inode": 8,
}


def _columns(rows: list[Row]) -> dict[str, Any]:
    across = list(zip(*rows, strict=True))
    return {name: pa.array(across[at], LISTED.field(name).type) for name, at in _SEEN.items()}


def _scattered(name: str, at: list[int], values: list[Any], rows: int, default: Any) -> Any:
    if all(value == default for value in values):
        return pa.array([default], LISTED.field(name).type).take(pa.array([0] * rows))
    whole = [default] * rows
    for i, value in zip(at, values, strict=True):
        whole[i] = value
    return pa.array(whole, LISTED.field(name).type)
