"""What the last listing saw, kept beside the tree: what did not change is not read again."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa

from include.respaldo.filetree.columns import LISTED

_DIGEST = hashlib.sha256().digest_size
_BLOCK = 1024 * 1024


class DigestCache:
    """The rows of an earlier listing with what tells that they are still true, ctime and inode.

    A hint, never a truth: without it everything is read again. The file is a stream in Arrow's IPC
    format, then the SHA-256 of that; a damaged one counts as none.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, owner: object = None) -> None:
        self._path = None if path is None else os.fspath(path)
        self._owner = owner  # the file lives as long

    def __bool__(self) -> bool:
        """Whether it knows anything."""
        return self._path is not None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the cache that was written there; an empty one where there is none, or damaged."""
        try:
            if not _is_whole(path):
                return cls()
            with pa.OSFile(os.fspath(path), "rb") as file, pa.ipc.open_stream(file) as reader:
                # another version's rows are of no use
                return cls(path) if reader.schema == LISTED else cls()
        except (OSError, pa.ArrowException):
            return cls()

    def write(self, path: Path) -> None:
        """Replace the cache there, at once or not at all."""
        if self._path is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        with Path(self._path).open("rb") as source, draft.open("w+b") as file:
            shutil.copyfileobj(source, file, _BLOCK)
            file.seek(0)
            file.write(hashlib.file_digest(file, "sha256").digest())
        draft.replace(path)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows (`columns.LISTED`), in the order of the paths."""
        if self._path is not None:
            with pa.OSFile(self._path, "rb") as file, pa.ipc.open_stream(file) as reader:
                yield from reader


def _is_whole(path: Path) -> bool:
    left = path.stat().st_size - _DIGEST
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
        return left == 0 and file.read() == digest.digest()
