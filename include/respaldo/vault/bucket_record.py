"""What is known of the objects whose files are here: which version of each was brought."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_TABLE = """\
CREATE TABLE IF NOT EXISTS objects (
    path TEXT PRIMARY KEY, etag TEXT, size INTEGER, modified_ns INTEGER, run INTEGER
) WITHOUT ROWID
"""
#: the size of a folder
_FOLDER = -1


class Version(NamedTuple):
    """What a service says of an object's bytes."""

    etag: str
    size: int
    modified_ns: int


class BucketRecord:
    """A small database beside the files; lost or damaged, all is brought again."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> Self:
        try:
            self._open()
        except sqlite3.DatabaseError:
            self._file.unlink(missing_ok=True)
            self._open()
        return self

    def _open(self) -> None:
        self._db = sqlite3.connect(self._file)
        try:
            self._db.execute(_TABLE)
            (last,) = self._db.execute("SELECT coalesce(max(run), 0) FROM objects").fetchone()
        except BaseException:
            self._db.close()
            raise
        self._run = last + 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # what was brought is here, whatever happened later; the first error is the one to tell
        with closing(self._db), suppress(*([] if error is None else [sqlite3.Error])):
            self._db.commit()

    def has(self, path: str, version: Version, file: Path) -> bool:
        """Return whether that version was brought, and its file is as it was left."""
        row = self._db.execute(
            "SELECT etag, size, modified_ns FROM objects WHERE path = ?", (path,)
        ).fetchone()
        if row is None or Version(*row) != version:
            return False
        try:
            found = file.lstat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (version.size, version.modified_ns)

    def brought(self, path: str, version: Version) -> None:
        """Record a version whose file is here now."""
        self._db.execute("REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", (path, *version, self._run))

    def keep(self, path: str) -> None:
        """Record that a file belongs here today as it is."""
        self._db.execute("UPDATE objects SET run = ? WHERE path = ?", (self._run, path))

    def expect(self, path: str, *, is_folder: bool = False) -> None:
        """Record that a path belongs here today; of a file, none of its versions is here yet."""
        self.brought(path, Version("", _FOLDER if is_folder else 0, 0))

    def forget(self, path: str) -> None:
        """Record that there is no file of that path."""
        self._db.execute("DELETE FROM objects WHERE path = ?", (path,))

    def is_file(self, path: str) -> bool:
        """Return whether a path is that of one of today's files."""
        query = "SELECT 1 FROM objects WHERE path = ? AND run = ? AND size <> ?"
        return self._db.execute(query, (path, self._run, _FOLDER)).fetchone() is not None

    def belongs(self, path: str) -> bool:
        """Return whether a path was brought or kept today."""
        query = "SELECT 1 FROM objects WHERE path = ? AND run = ?"
        return self._db.execute(query, (path, self._run)).fetchone() is not None

    def forget_others(self) -> None:
        """Forget what does not belong here any more."""
        self._db.execute("DELETE FROM objects WHERE run <> ?", (self._run,))
