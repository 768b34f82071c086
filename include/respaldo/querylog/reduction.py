"""From a log and a target to the least that has to be done to each table.

Set-based, in DuckDB: no Python code sees a row. What is in memory is bounded; the rest goes to
files in `scratch`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import Replayed, TableReplay
from include.respaldo.model.segment import RelationDefinition
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import Target
from include.respaldo.querylog.log_files import LogFiles, connect, literal, room_for
from include.respaldo.querylog.reduction_keyed import KeyedTables
from include.respaldo.querylog.reduction_rows import RowTables
from include.respaldo.querylog.segment import DDL_PREFIX
from include.respaldo.querylog.stop import Stop


def reduce_log(
    segments: Sequence[Path],
    *,
    snapshot: Snapshot,
    target: Target,
    scratch: Path,
    memory_limit: str = "512MB",
    threads: int = 2,
) -> tuple[Replayed, Iterator[TableReplay]]:
    """Reduce the changes up to `target` that `snapshot` does not see to their net effect.

    :param segments: Parquet files of one chain; order and overlaps do not matter.
    :param scratch: an existing folder for CSV files and for what does not fit in memory; the
        caller removes it, and may remove each CSV file once it was used.
    :param memory_limit: like ``512MB``; more is used where a row needs it (`room_for`).
    :return: how far the replay goes, and the tables, each made ready when it is asked for.
    :raises LogDiverged: the changes cannot have happened one after the other to one schema.
    :raises ValueError: a segment is damaged.
    """
    if not segments:
        return Replayed(0, 0, None, None), iter(())
    files = LogFiles.read(segments)
    work = scratch / "reduction"
    work.mkdir(exist_ok=True)
    memory_limit, threads = room_for(files.largest_row_group, memory_limit, threads)
    db = connect(memory_limit=memory_limit, threads=threads, spill_to=work / "spill")
    try:
        files.create_view(db)
        replayed = Stop.find(db, target).create_view(db, snapshot)
        _refuse_schema_changes(db)
        tables = _touched_tables(db, files.relations)
        _create_relations(db, tables)
        keyed, rows = KeyedTables(db, files, work), RowTables(db, files, work)
        if any(table.is_keyed for table in tables):
            keyed.reduce()
        if not all(table.is_keyed for table in tables):
            rows.reduce()
    except BaseException:
        db.close()
        raise
    return replayed, _hand_out(db, tables, keyed, rows)


@dataclass(frozen=True)
class _Touched:
    """A table that the replayed changes touch."""

    key: str
    definition: RelationDefinition
    #: position of its last truncate; -1: there is none
    truncated_at: int

    @property
    def is_keyed(self) -> bool:
        d = self.definition
        return d.replica_identity in {"d", "i"} and bool(d.key_positions)


def _hand_out(
    db: duckdb.DuckDBPyConnection,
    tables: Sequence[_Touched],
    keyed: KeyedTables,
    rows: RowTables,
) -> Iterator[TableReplay]:
    try:
        for table in tables:
            reduction = keyed if table.is_keyed else rows
            stretches = reduction.stretches(table.definition)
            truncate = table.truncated_at >= 0
            if stretches or truncate:
                yield TableReplay(table.definition, truncate, stretches)
    finally:
        db.close()


def _refuse_schema_changes(db: duckdb.DuckDBPyConnection) -> None:
    found = db.execute(
        f"SELECT content FROM replayed WHERE prefix = {literal(DDL_PREFIX)} LIMIT 1"  # noqa: S608
    ).fetchone()
    if found is not None:
        raise LogDiverged(
            "expected changes of rows only, found a schema change among those to replay",
            hint="choose a moment before it, or after the next full backup",
        )


def _touched_tables(
    db: duckdb.DuckDBPyConnection, relations: dict[str, RelationDefinition]
) -> list[_Touched]:
    """Return the tables in the order of their names.

    :raises LogDiverged: one of them has not the same definition all along.
    """
    found = db.execute("""
        SELECT relation, coalesce(max(pos) FILTER (kind = 'truncate'), -1)
        FROM replayed WHERE relation IS NOT NULL GROUP BY relation
    """).fetchall()
    tables = [_Touched(key, relations[key], truncated_at) for key, truncated_at in found]
    by_oid, by_name = defaultdict(list), defaultdict(list)
    for table in tables:
        by_oid[table.definition.oid].append(table)
        by_name[table.definition.schema, table.definition.name].append(table)
    for same in (*by_oid.values(), *by_name.values()):
        if len(same) > 1:
            definition = same[0].definition
            raise LogDiverged(
                f"expected one definition of {definition.schema}.{definition.name} in the changes "
                f"to replay, found {len(same)}: the schema changed",
                hint="choose a moment before the change, or after the next full backup",
            )
    return sorted(tables, key=lambda t: (t.definition.schema, t.definition.name))


def _create_relations(db: duckdb.DuckDBPyConnection, tables: Sequence[_Touched]) -> None:
    """Create the table ``relations``; key positions count from 1, as DuckDB's lists do."""
    db.execute("""
        CREATE TEMP TABLE relations (relation VARCHAR, oid UINTEGER, is_keyed BOOLEAN,
                                     key_positions INTEGER[], columns INTEGER, truncated_at BIGINT)
    """)
    for table in tables:
        definition = table.definition
        db.execute(
            "INSERT INTO relations VALUES (?, ?, ?, ?, ?, ?)",
            [
                table.key,
                definition.oid,
                table.is_keyed,
                [p + 1 for p in definition.key_positions],
                len(definition.columns),
                table.truncated_at,
            ],
        )
