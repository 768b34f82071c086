"""Segments side by side in DuckDB: each commit once, in log order, overlaps or not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from include.respaldo.model.segment import RelationDefinition
from include.respaldo.querylog.footer import read_footer, read_segment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """Return microseconds since 1970 in UTC, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def moment(us: int) -> datetime:
    """Return the time that `microseconds` was given."""
    return _EPOCH + us * _MICROSECOND


def literal(text: str) -> str:
    """Return the text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def connect(
    *,
    memory_limit: str = "512MB",
    threads: int = 2,
    spill_to: Path | None = None,
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB that reaches for nothing but the files it is given."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads,
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "temp_directory": str(spill_to) if spill_to else "",
    }
    db = duckdb.connect(":memory:", config=config)
    db.execute("SET enable_progress_bar = false")
    db.execute("SET parquet_metadata_cache = true")  # each table reads the same segments
    # joins stay as written: large rows stream past on the left, small tables are held on the right
    db.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
    return db


def room_for(row_group: int, memory_limit: str, threads: int) -> tuple[str, int]:
    """Return the memory limit and threads to read row groups of that many bytes with.

    A thread needs about eight times the row group it reads (measured); one that holds a single
    huge row cannot be read with less, whatever was asked for.

    :raises ValueError: the limit is not a number with a unit, as in ``512MB``.
    """
    match = re.fullmatch(r"\s*(\d+)\s*([KMG]?)B\s*", memory_limit)
    if match is None:
        raise ValueError(f"expected a memory limit like 512MB, found {memory_limit!r}")
    limit = int(match[1]) * 1000 ** " KMG".index(match[2] or " ")
    threads = max(1, min(threads, limit // max(1, 8 * row_group)))
    return f"{max(limit, 8 * row_group) // 1000}KB", threads


@dataclass(frozen=True)
class LogFiles:
    """The segments in log order, and where each one's own part begins.

    Segments overlap after a crash, and then hold the same transactions where they do: of each one
    only that part counts which lies past the end of those before it.
    """

    paths: tuple[Path, ...]
    own_part: tuple[int, ...]
    #: relation key -> definition
    relations: dict[str, RelationDefinition]
    #: some segments hold transactions that others hold too
    overlap: bool
    #: those of versions that did not tell the positions of changes, by their indices
    lacking_lsn: frozenset[int]
    #: bytes, uncompressed, of the largest row group
    largest_row_group: int
    #: bytes of a change, uncompressed, on the average of the row group where it is largest
    largest_change: int

    @classmethod
    def read(cls, segments: Sequence[Path]) -> LogFiles:
        """:raises ValueError: a segment is damaged."""
        ranges = [(read_segment(path, sha256=""), path) for path in segments]
        ranges.sort(key=lambda item: (item[0].start, -item[0].end))
        paths, own_part, reach, overlap = [], [], 0, False
        for segment, path in ranges:
            if segment.end > reach:
                paths.append(path)
                own_part.append(reach)
                overlap = overlap or segment.start < reach
                reach = segment.end
        relations: dict[str, RelationDefinition] = {}
        for path in paths:
            relations |= read_footer(path).relations
        groups = [group for path in paths for group in _row_groups(path)]
        return cls(
            tuple(paths),
            tuple(own_part),
            relations,
            overlap,
            frozenset(i for i, p in enumerate(paths) if "lsn" not in pq.read_schema(p).names),
            largest_row_group=max((size for size, _ in groups), default=0),
            largest_change=max((size // max(1, rows) for size, rows in groups), default=0),
        )

    def create_view(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create the view ``log``: the columns of the segments, and two more.

        ``pos`` orders all changes of the log; ``commit_us`` is the commit's time in microseconds.
        """
        db.execute(f"CREATE TEMP VIEW log AS {self.select(range(len(self.paths)))}")

    def select(self, indices: Iterable[int], within: tuple[int, int] | None = None) -> str:
        """Return the query that reads only some of the segments (``pos >> 40`` is the index).

        :param within: first and last row of each that has to be read.
        """
        chosen = sorted(indices)
        paths = ", ".join(literal(str(self.paths[i])) for i in chosen)
        own_part = ", ".join(f"{int(self.own_part[i])}::UBIGINT" for i in chosen)
        numbers = ", ".join(f"{i}::BIGINT" for i in chosen)
        is_all = chosen == list(range(len(self.paths)))
        number = "file_index::BIGINT" if is_all else f"([{numbers}])[file_index::BIGINT + 1]"
        conditions = ["true"]
        if self.overlap:
            conditions.append(f"commit_lsn >= ([{own_part}])[file_index::BIGINT + 1]")
        if within:
            conditions.append(f"seq BETWEEN {within[0]} AND {within[1]}")
        lacking = self.lacking_lsn.intersection(chosen)
        lsn = "lsn" if len(lacking) < len(chosen) else "NULL::UBIGINT AS lsn"
        by_name = ", union_by_name = true" if lacking and len(lacking) < len(chosen) else ""
        return f"""
            SELECT commit_lsn, epoch_us(commit_at) AS commit_us, xid,
                   ({number} << 40) | seq AS pos,
                   kind, relation, "schema", "table", old, new, old_is_key, unchanged,
                   content, prefix, {lsn}
            FROM read_parquet([{paths}]{by_name})
            WHERE {" AND ".join(conditions)}
        """  # noqa: S608 - paths are quoted, the rest are numbers


def _row_groups(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the bytes, uncompressed, and the rows of each row group."""
    metadata = pq.read_metadata(path)
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        yield group.total_byte_size, group.num_rows
