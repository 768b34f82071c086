"""Segments side by side in DuckDB: each commit once, in log order, overlaps or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

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
    return duckdb.connect(":memory:", config=config)


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

    @classmethod
    def read(cls, segments: Sequence[Path]) -> LogFiles:
        """:raises ValueError: a segment is damaged."""
        ranges = [(read_segment(path, sha256=""), path) for path in segments]
        ranges.sort(key=lambda item: (item[0].start, -item[0].end))
        paths, own_part, reach = [], [], 0
        for segment, path in ranges:
            if segment.end > reach:
                paths.append(path)
                own_part.append(reach)
                reach = segment.end
        relations: dict[str, RelationDefinition] = {}
        for path in paths:
            relations |= read_footer(path).relations
        return cls(tuple(paths), tuple(own_part), relations)

    def create_view(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create the view ``log``: the columns of the segments, and two more.

        ``pos`` orders all changes of the log; ``commit_us`` is the commit's time in microseconds.
        """
        paths = ", ".join(literal(str(path)) for path in self.paths)
        own_part = ", ".join(f"{int(lsn)}::UBIGINT" for lsn in self.own_part)
        db.execute(f"""
            CREATE TEMP VIEW log AS
            SELECT commit_lsn, epoch_us(commit_at) AS commit_us, xid,
                   (file_index::BIGINT << 40) | seq AS pos,
                   kind, relation, "schema", "table", old, new, old_is_key, unchanged,
                   content, prefix
            FROM read_parquet([{paths}])
            WHERE commit_lsn >= ([{own_part}])[file_index::BIGINT + 1]
        """)  # noqa: S608 - paths are quoted, the rest are numbers
