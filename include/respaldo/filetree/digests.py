"""The digests of the last listing, kept beside the tree: what did not change is not read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from include.respaldo.filetree.columns import LISTED, ROWS

_COLUMNS = ["path", "size", "mtime_ns", "ctime_ns", "inode", "sha256", "xattrs", "incompressible"]
SCHEMA = pa.schema([LISTED.field(name) for name in _COLUMNS])
_FORMAT = {b"format": b"respaldo-digests/1"}


class DigestCache:
    """What files were when they were read: path, size, times, inode, and their digests.

    A hint, never a truth: without it everything is read again. Files that were touched within two
    seconds before they were read are not in it: they may change again without a trace.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch] = ()) -> None:
        self._batches = batches

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the cache that was written there; an empty one where there is none, or damaged."""
        with suppress(OSError, pa.ArrowException), pq.ParquetFile(path) as file:
            if (file.schema_arrow.metadata or {}).get(b"format") == _FORMAT[b"format"]:
                return cls(_Stored(path))
        return cls()

    def write(self, path: Path) -> None:
        """Replace the cache there, at once or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        with pq.ParquetWriter(
            draft,
            SCHEMA.with_metadata(_FORMAT),
            compression="lz4",
            use_dictionary=False,
            write_statistics=False,
        ) as writer:
            for batch in self.batches():
                writer.write_batch(batch.replace_schema_metadata(_FORMAT))
        draft.replace(path)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield what is known, in the order of the paths; ends where the file is damaged."""
        with suppress(OSError, pa.ArrowException):
            for batch in self._batches:
                known = batch
                if "settled" in batch.schema.names:
                    known = batch.filter(batch.column("settled"))
                yield known.select(_COLUMNS).replace_schema_metadata(None)


class _Stored:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(ROWS, columns=_COLUMNS):
                yield batch.cast(SCHEMA)
