"""The list of a backup's files, as Parquet: written, read in pieces, compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from include.respaldo.errors import CorruptObject
from include.respaldo.filetree.columns import LIST, ROWS, Sorted, batch_of, column, entries_of, pc
from include.respaldo.filetree.listing import ListedTree
from include.respaldo.model.backup import StoredFile
from include.respaldo.model.file_tree import (
    PROBLEMS_SHOWN,
    Changes,
    Entry,
    Kind,
    Problem,
    shown,
)
from include.respaldo.model.keys import FILE_LIST

_METADATA = {b"format": b"respaldo-files/1"}
_SCHEMA = LIST.with_metadata(_METADATA)
#: values that repeat
_DICTIONARY: Any = ["kind", "mode", "uid", "gid", "xattrs", "problem"]
_COMPARED = ["path", "kind", "size", "mtime_ns", "sha256", "incompressible", "problem"]


@dataclass(frozen=True)
class ListSummary:
    """What a manifest says of a list."""

    files: int = 0
    folders: int = 0
    links: int = 0
    others: int = 0
    #: content of all files, in bytes
    size: int = 0
    #: (path for people, what is wrong); at most `PROBLEMS_SHOWN`
    problems: tuple[tuple[str, str], ...] = ()
    #: `Problem` -> how many entries
    problem_counts: dict[str, int] = field(default_factory=dict)


def write_list(entries: Iterable[Entry] | ListedTree, to: Path) -> StoredFile:
    """Write a list, sorted as it is given: by the bytes of the paths."""
    batches = entries.batches() if isinstance(entries, ListedTree) else _batches(entries)
    return write_batches(batches, to)


def write_batches(batches: Iterable[pa.RecordBatch], to: Path) -> StoredFile:
    """Write the columns of a list; return what the manifest says of the file."""
    raw_size = 0
    with pq.ParquetWriter(
        to,
        _SCHEMA,
        compression="zstd",
        compression_level=1,
        use_dictionary=_DICTIONARY,
        sorting_columns=[pq.SortingColumn(0)],
    ) as writer:
        for batch in batches:
            rows = batch.select(LIST.names).replace_schema_metadata(_METADATA)
            raw_size += rows.nbytes
            writer.write_batch(rows)
    with to.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return StoredFile(name=FILE_LIST, size=to.stat().st_size, sha256=sha256, raw_size=raw_size)


def read_list(path: Path, *, below: str = "") -> Iterator[Entry]:
    """Yield a list's entries; `below` a path only: that entry, and all that it holds.

    :raises CorruptObject: it is no list of files, or damaged.
    """
    for batch in read_batches(path, below=below):
        yield from entries_of(batch)


def read_batches(
    path: Path, *, columns: list[str] | None = None, below: str = ""
) -> Iterator[pa.RecordBatch]:
    """Yield a list's columns (`columns.LIST`), in the order of the paths.

    :raises CorruptObject: it is no list of files, or damaged.
    """
    wanted = below.encode("utf-8", "surrogateescape")
    try:
        with pq.ParquetFile(path) as file:
            found = (file.schema_arrow.metadata or {}).get(b"format")
            if found != _METADATA[b"format"]:
                raise _damaged(path, f"its format is {found!r}")
            groups = _groups(file, wanted) if wanted else None
            for batch in file.iter_batches(ROWS, columns=columns or LIST.names, row_groups=groups):
                if not wanted:
                    yield batch.replace_schema_metadata(None)
                    continue
                paths = batch.column("path")
                within = pc.or_(
                    pc.equal(paths, pa.scalar(wanted, pa.binary())),
                    pc.starts_with(paths, wanted + b"/"),
                )
                yield batch.filter(within).replace_schema_metadata(None)
    except pa.ArrowException as e:
        raise _damaged(path, str(e)) from None


def summary(path: Path) -> ListSummary:
    """Return what a manifest says of a list."""
    kinds: dict[str, int] = dict.fromkeys(Kind, 0)
    counts: dict[str, int] = {}
    shown_first: list[tuple[str, str]] = []
    size = 0
    for batch in read_batches(path, columns=["path", "kind", "size", "problem"]):
        size += pc.sum(batch.column("size")).as_py() or 0
        for kind in pc.value_counts(batch.column("kind")).to_pylist():
            kinds[kind["values"]] += kind["counts"]
        troubled = batch.filter(pc.is_valid(batch.column("problem")))
        names: list[Any] = troubled.column("problem").to_pylist()
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        left = PROBLEMS_SHOWN - len(shown_first)
        paths: list[Any] = troubled.column("path").slice(0, left).to_pylist()
        shown_first += [
            (shown(p.decode("utf-8", "surrogateescape")), name)
            for p, name in zip(paths, names, strict=False)
        ]
    return ListSummary(
        files=kinds[Kind.FILE],
        folders=kinds[Kind.FOLDER],
        links=kinds[Kind.LINK],
        others=kinds[Kind.OTHER],
        size=size,
        problems=tuple(shown_first),
        problem_counts=counts,
    )


def compare(before: Path | None, after: Path, since: str) -> Changes:
    """Return how the files of one list differ from those of the list before it.

    A file is modified where its content is; where a digest is not known, where size or time are.
    Files that had vanished are none.

    :param since: id of the backup before it.
    """
    if before is None:
        return Changes()
    earlier = Sorted(_files(before), pa.schema([LIST.field(name) for name in _COMPARED]))
    counts = dict.fromkeys(
        ("added", "modified", "removed", "unchanged", "became_incompressible", "size"), 0
    )
    for now in _files(after):
        if not now.num_rows:
            continue
        then = earlier.through(now.column("path")[-1].as_py())
        at = pc.index_in(now.column("path"), value_set=column(then, "path"))

        def was(name: str, then: pa.Table = then, at: Any = at) -> Any:
            return column(then, name).take(at)

        was_there = pc.is_valid(at)
        both_known = pc.and_(_is_known(now.column("sha256")), _is_known(was("sha256")))
        same = pc.if_else(
            both_known,
            pc.equal(now.column("sha256"), was("sha256")),
            pc.and_(
                pc.equal(now.column("size"), was("size")),
                pc.equal(now.column("mtime_ns"), was("mtime_ns")),
            ),
        ).fill_null(False)
        modified = pc.and_(was_there, pc.invert(same))
        became = pc.and_(modified, pc.and_not(now.column("incompressible"), was("incompressible")))
        there = _count(was_there)
        counts["added"] += now.num_rows - there
        counts["removed"] += then.num_rows - there
        counts["modified"] += _count(modified)
        counts["unchanged"] += there - _count(modified)
        counts["became_incompressible"] += _count(became)
        changed = now.column("size").filter(pc.or_(modified, pc.invert(was_there)))
        counts["size"] += pc.sum(changed).as_py() or 0
    counts["removed"] += sum(batch.num_rows for batch in earlier.rest())
    return Changes(since=since, **counts)


def _files(path: Path) -> Iterator[pa.RecordBatch]:
    for batch in read_batches(path, columns=_COMPARED):
        is_there = pc.not_equal(batch.column("problem").fill_null(""), Problem.VANISHED.value)
        is_file = pc.equal(batch.column("kind"), Kind.FILE.value)
        yield batch.filter(pc.and_(is_file, is_there))


def _is_known(digests: Any) -> Any:
    return pc.not_equal(digests.fill_null(""), "")


def _count(flags: Any) -> int:
    return int(pc.sum(flags).as_py() or 0)


def _batches(entries: Iterable[Entry]) -> Iterator[pa.RecordBatch]:
    rows = iter(entries)
    while piece := list(islice(rows, ROWS)):
        yield batch_of(piece)


def _groups(file: pq.ParquetFile, wanted: bytes) -> list[int]:
    """Return the row groups that may hold a path, or what is below it."""
    found = []
    for number in range(file.num_row_groups):
        bounds = file.metadata.row_group(number).column(0).statistics
        if bounds is None or not bounds.has_min_max:
            found.append(number)
        elif (
            cast("bytes", bounds.min) <= wanted + b"0" and cast("bytes", bounds.max) >= wanted
        ):  # "0" follows "/"
            found.append(number)
    return found


def _damaged(path: Path, why: str) -> CorruptObject:
    return CorruptObject(
        f"{path.name} cannot be read as a list of files: {why}",
        hint="fetch it again; if it is the same then, take it from the other region",
    )
