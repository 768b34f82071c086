"""From a log and a target to the least that has to be done to each table.

Set-based, in DuckDB: Python code sees rows only of tables with few of them. What is in memory is
bounded; the rest goes to files in `scratch`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import overload

import duckdb

from include.respaldo.model.replay import (
    KeyedStretch,
    MovesStretch,
    Replayed,
    RowsStretch,
    SchemaReplay,
    TableReplay,
)
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import Target
from include.respaldo.querylog.ahead import one_ahead
from include.respaldo.querylog.epochs import Commands, Epochs
from include.respaldo.querylog.log_files import LogFiles, connect, room_for
from include.respaldo.querylog.reduction_keyed import KeyedTables
from include.respaldo.querylog.reduction_rows import RowTables
from include.respaldo.querylog.reduction_small import SmallTables
from include.respaldo.querylog.stop import Stop
from include.respaldo.querylog.touched import Touched, create_relations, touched_tables

__all__ = ["Commands", "reduce_log"]


@overload
def reduce_log(
    segments: Sequence[Path],
    *,
    snapshot: Snapshot,
    target: Target,
    scratch: Path,
    memory_limit: str = ...,
    threads: int = ...,
) -> tuple[Replayed, Iterator[TableReplay]]: ...
@overload
def reduce_log(
    segments: Sequence[Path],
    *,
    snapshot: Snapshot,
    target: Target,
    scratch: Path,
    memory_limit: str = ...,
    threads: int = ...,
    commands: Commands,
) -> tuple[Replayed, Iterator[TableReplay | SchemaReplay]]: ...
def reduce_log(
    segments: Sequence[Path],
    *,
    snapshot: Snapshot,
    target: Target,
    scratch: Path,
    memory_limit: str = "512MB",
    threads: int = 2,
    commands: Commands | None = None,
) -> tuple[Replayed, Iterator[TableReplay] | Iterator[TableReplay | SchemaReplay]]:
    """Reduce the changes up to `target` that `snapshot` does not see to their net effect.

    :param segments: Parquet files of one chain; order and overlaps do not matter.
    :param scratch: an existing folder for CSV files and for what does not fit in memory; the
        caller removes it, and may remove each CSV file once it was used.
    :param memory_limit: like ``512MB``; more is used where a row needs it (`room_for`).
    :param commands: turns the contents of all schema change messages of one transaction, in log
        order, into the commands to replay: a sequence for each message, empty where there is
        nothing to do. A command's place is its message's. None: schema changes are refused.
    :return: how far the replay goes, and what to do, in order: tables and schema changes. Each
        item is made ready while the one before it is used.
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
        stop = Stop.find(db, target)
        replayed = stop.create_view(db, snapshot)
        epochs = Epochs.find(db, commands, files.relations)
        epochs.create_view(db)
        tables = touched_tables(db, files.relations)
        create_relations(db, tables)
        keyed = KeyedTables(db, files, work, tables)
        rows = RowTables(db, files, work, tables, stop.condition(snapshot))
        keyed.reduce(any(table.is_keyed for table in tables))
        rows.reduce(not all(table.is_keyed or table.is_plain for table in tables))
        small = SmallTables(db, files, work, tables, keyed, rows)
    except BaseException:
        db.close()
        raise
    return replayed, one_ahead(_hand_out(db, epochs, tables, keyed, rows, small))


def _hand_out(
    db: duckdb.DuckDBPyConnection,
    epochs: Epochs,
    tables: Sequence[Touched],
    keyed: KeyedTables,
    rows: RowTables,
    small: SmallTables,
) -> Generator[TableReplay | SchemaReplay]:
    done = 0
    try:
        for table in tables:
            yield from epochs.before(table.epoch, done)
            done = (table.epoch + 1) // 2
            stretches: Sequence[KeyedStretch | MovesStretch | RowsStretch]
            if small.has(table):
                stretches = small.stretches(table)
            elif table.is_keyed:
                stretches = keyed.stretches(table)
            else:
                stretches = rows.stretches(table)
            truncate = table.truncated_at >= 0
            if stretches or truncate:
                yield TableReplay(table.definition, truncate, tuple(stretches))
        yield from epochs.before(2 * len(epochs.positions), done)
    finally:
        db.close()
