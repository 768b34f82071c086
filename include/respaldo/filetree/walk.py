"""The entries of a tree in the order of their paths' bytes, without holding more than a path's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, cast

from include.respaldo.errors import SourceError
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.model.file_tree import Kind, shown


class Row(NamedTuple):
    """An entry as a look at it found it; sorts by its path."""

    #: relative to the root, without a slash at its end; the root itself is b""
    path: bytes
    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    links: int
    #: a folder that could not be listed, or what could not be looked at
    unreadable: bool = False


def walk(root: Path, patterns: Patterns, *, one_file_system: bool) -> Iterator[list[Row]]:
    """Yield the entries that are taken, a folder's at a time, all in the order of their paths.

    What vanishes before it was looked at was not there. A mount point is an empty folder where
    only one file system is taken.

    :raises SourceError: the root cannot be read.
    """
    walker = _Walk(root, patterns, one_file_system)
    if not patterns.include:
        yield from walker.pieces()
        return
    # a folder is taken only where it leads to something: known once all has been seen
    leading: set[bytes] = {b""}
    for piece in walker.pieces():
        for row in piece:
            if patterns.fits(os.fsdecode(row.path)):
                folder = row.path.rpartition(b"/")[0]
                while folder not in leading:
                    leading.add(folder)
                    folder = folder.rpartition(b"/")[0]
    for piece in walker.pieces():
        yield [
            row
            for row in piece
            if row.kind is not Kind.FOLDER
            or row.path in leading
            or patterns.fits(os.fsdecode(row.path))
        ]


class _Walk:
    """What has been seen of each folder above, and where it goes on."""

    def __init__(self, root: Path, patterns: Patterns, one_file_system: bool) -> None:
        self._root = os.fsencode(root)
        self._takes = patterns.takes if patterns else None
        self._one_file_system = one_file_system
        self._device = 0

    def pieces(self) -> Iterator[list[Row]]:
        try:
            status = os.stat(self._root)  # noqa: PTH116 (bytes)
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._device = status.st_dev
            open_folders = [self._scan(b"")]
        except OSError as e:
            raise SourceError(
                f"{shown(os.fsdecode(self._root))} cannot be read: {e.strerror}",
                hint="it must be a folder that this process may read; mount it if it is a volume",
            ) from None
        yield [row_of(b"", status)]
        while open_folders:
            rows = open_folders[-1]
            piece: list[Row] = []
            below = None
            while rows and below is None:
                item = rows.pop()
                if len(item) == 2:  # here what is below a folder has its place
                    below = item[1]
                elif item[1] is Kind.FOLDER:
                    piece += self._enter(cast("Row", item), rows)
                else:
                    piece.append(cast("Row", item))
            if piece:
                yield piece
            if below is not None:
                open_folders.append(below)
            elif not rows:
                open_folders.pop()

    def _enter(self, row: Row, rows: list[_Item]) -> list[Row]:
        """Look into a folder, and put what is below it where it belongs among its siblings."""
        if self._one_file_system and row.device != self._device:
            return [row]
        try:
            below = self._scan(row.path + b"/")
        except FileNotFoundError:
            return []
        except OSError:
            return [row._replace(unreadable=True)]
        if below:
            # the siblings between "a" and "a/" are few: "a b", "a-b", "a.b"
            at = len(rows)
            place = row.path + b"/"
            while at and rows[at - 1][0] < place:
                at -= 1
            rows.insert(at, (place, below))
        return [row]

    def _scan(self, prefix: bytes) -> list[_Item]:
        """Return what a folder holds, the last one first."""
        found: list[_Item] = []
        takes = self._takes
        device = self._device if self._one_file_system else None
        # opened without following a link that has taken its place; its entries are looked at from
        # there, which is quicker than by their whole paths
        path = self._root + b"/" + prefix if prefix else self._root
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if prefix else 0)
        folder = os.open(path.rstrip(b"/") or b"/", flags)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = prefix + entry.name.encode("utf-8", "surrogateescape")
                    try:
                        row = row_of(path, entry.stat(follow_symlinks=False))
                    except FileNotFoundError:
                        continue
                    except OSError:
                        row = Row(path, Kind.OTHER, 0, 0, 0, 0, 0, 0, 0, 0, 0, True)
                    if takes and not takes(os.fsdecode(path), row[1] is Kind.FOLDER):
                        continue
                    if device is not None and row[9] != device and row[1] is not Kind.FOLDER:
                        continue
                    found.append(row)
        finally:
            os.close(folder)
        found.sort(key=_path, reverse=True)
        return found


#: a row, or the path below which further ones belong
_Item = tuple[Any, ...]
_path = itemgetter(0)
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK}


def row_of(path: bytes, status: os.stat_result) -> Row:
    """Return what a look at an entry says."""
    mode = status.st_mode
    kind = _KINDS.get(mode & 0o170000, Kind.OTHER)
    # a row is made for each of millions: as a tuple it costs half
    return _new_row(
        Row,
        (
            path,
            kind,
            status.st_size if kind is Kind.FILE else 0,
            mode & 0o7777,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            status.st_dev,
            status.st_nlink,
            False,
        ),
    )


_new_row = tuple.__new__
