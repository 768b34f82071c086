"""Entries as columns, in the order of their paths' bytes: a million of them cost no objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute

from include.respaldo.model.file_tree import Entry, Kind, Problem

#: its stubs know neither plain values beside arrays nor arrays of any type
pc: Any = pyarrow.compute

#: rows that are held and written at a time
ROWS = 32_768

#: the list of a tree: docs/FORMAT.md
_FIELDS: list[Any] = [
    pa.field("path", pa.binary(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("size", pa.int64(), nullable=False),
    pa.field("mode", pa.int32(), nullable=False),
    pa.field("uid", pa.int64(), nullable=False),
    pa.field("gid", pa.int64(), nullable=False),
    pa.field("mtime_ns", pa.int64(), nullable=False),
    pa.field("sha256", pa.string(), nullable=False),
    pa.field("target", pa.binary(), nullable=False),
    pa.field("hard_link", pa.int64(), nullable=False),
    pa.field("xattrs", pa.string(), nullable=False),
    pa.field("incompressible", pa.bool_(), nullable=False),
    pa.field("problem", pa.string()),
]
LIST = pa.schema(_FIELDS)
#: what tells that an entry is still the same: never leaves the machine
IDENTITY: list[Any] = [
    pa.field("ctime_ns", pa.int64(), nullable=False),
    pa.field("inode", pa.uint64(), nullable=False),
    #: its digest may be taken over by the next listing
    pa.field("settled", pa.bool_(), nullable=False),
    #: its digest was taken over from the listing before
    pa.field("reused", pa.bool_(), nullable=False),
    #: it was read again, though it looked as the listing before had seen it
    pa.field("again", pa.bool_(), nullable=False),
]
LISTED = pa.schema([*LIST, *IDENTITY])


def batch_of(entries: Sequence[Entry]) -> pa.RecordBatch:
    """Return entries as columns."""
    return pa.RecordBatch.from_arrays(
        [pa.array([_ENCODE[f.name](e) for e in entries], f.type) for f in LIST],
        schema=LIST,
    )


_ENCODE: dict[str, Any] = {
    **{name: (lambda e, n=name: getattr(e, n)) for name in LIST.names},
    "path": lambda e: _encoded(e.path),
    "target": lambda e: _encoded(e.target),
    "kind": lambda e: e.kind.value,
    "problem": lambda e: e.problem and e.problem.value,
}


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def entries_of(batch: pa.RecordBatch) -> Iterator[Entry]:
    """Yield the entries of a batch."""
    columns = [batch.column(name).to_pylist() for name in LIST.names]
    for row in zip(*columns, strict=True):
        path, kind, size, mode, uid, gid, mtime, sha256, target, link, xattrs, packed, problem = row
        yield Entry(
            path=path.decode("utf-8", "surrogateescape"),
            kind=Kind(kind),
            size=size,
            mode=mode,
            uid=uid,
            gid=gid,
            mtime_ns=mtime,
            sha256=sha256,
            target=target.decode("utf-8", "surrogateescape"),
            hard_link=link,
            xattrs=xattrs,
            incompressible=packed,
            problem=Problem(problem) if problem else None,
        )


class Sorted:
    """Batches in the order of their paths, taken piece by piece beside another such stream."""

    def __init__(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        self._batches = iter(batches)
        self._schema = schema
        self._held: pa.RecordBatch | None = None

    def through(self, last: bytes) -> pa.Table:
        """Return what was not yet returned, up to a path, that included."""
        pieces = []
        while (batch := self._next()) is not None:
            within = pc.sum(pc.less_equal(batch.column("path"), pa.scalar(last, pa.binary())))
            count = within.as_py() or 0
            pieces.append(batch.slice(0, count))
            if count < batch.num_rows:
                self._held = batch.slice(count)
                break
            self._held = None
        return pa.Table.from_batches(pieces, schema=self._schema).combine_chunks()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """Yield all that was not yet returned."""
        while (batch := self._next()) is not None:
            self._held = None
            yield batch

    def _next(self) -> pa.RecordBatch | None:
        if self._held is None or not self._held.num_rows:
            self._held = next((b for b in self._batches if b.num_rows), None)
        return self._held


def column(table: pa.Table | pa.RecordBatch, name: str) -> Any:
    """Return a column as one array."""
    found = table.column(name)
    if isinstance(found, pa.ChunkedArray):
        return found.combine_chunks() if found.num_chunks != 1 else found.chunk(0)
    return found
