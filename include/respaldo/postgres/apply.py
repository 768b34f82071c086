"""Applying the net effect of a query log to a restored database, a table at a time, in sets.

Each statement must touch exactly as many rows as the log says: anything else means that log and
database do not fit together, and nothing is applied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import KeyedStretch, MovesStretch, RowsStretch, TableReplay
from include.respaldo.ports import Progress
from include.respaldo.postgres.apply_keyed import apply_keyed, apply_moves
from include.respaldo.postgres.apply_rows import apply_rows
from include.respaldo.postgres.connect import SETTINGS, Session
from include.respaldo.postgres.quiet import replaying, unattended
from include.respaldo.postgres.replay_target import Target, find_target

#: SQLSTATE classes that say: these values do not fit into this table
_MISFITS = ("22", "23", "44")
#: for plans of few, big statements; the row limits of a customer's settings do not count here
_PLANS = {
    "jit": "off",
    "work_mem": "64MB",
    "statement_timeout": "0",
    "row_security": "off",
}


@dataclass(frozen=True)
class TableApplied:
    """What was done to one table, in rows; a truncate counts none."""

    truncated: bool
    deleted: int
    updated: int
    inserted: int


@dataclass(frozen=True)
class Applied:
    """What a replay did, by (schema, table)."""

    tables: dict[tuple[str, str], TableApplied] = field(default_factory=dict)


def apply_replay(
    conn: Session, tables: Iterable[TableReplay], progress: Progress | None = None
) -> Applied:
    """Apply the last state of every row, all in one transaction, or nothing.

    In autocommit it is a transaction of its own; else a part of the caller's, who commits.

    :raises LogDiverged: the log does not fit the database; names the table.
    """
    applied: dict[tuple[str, str], TableApplied] = {}
    changed = 0
    with replaying(conn):
        for name, value in (SETTINGS | _PLANS).items():
            conn.execute(
                sql.SQL("SET LOCAL {} TO {}").format(sql.Identifier(name), sql.Literal(value))
            )
        conn.execute("SET CONSTRAINTS ALL DEFERRED")
        for replay in tables:
            target = find_target(conn, replay.relation)
            if progress:
                progress.step(f"replaying {target}")
            try:
                with unattended(conn, target.relation, target.table):
                    found = _apply_table(conn, target, replay)
            except psycopg.Error as e:
                if (e.sqlstate or "")[:2] not in _MISFITS:
                    raise
                raise LogDiverged(
                    f"{target}: the log does not fit the table: {_without_values(e)}",
                    hint="choose a moment before, or one after the next full backup",
                ) from None
            applied[target.schema, target.name] = found
            if progress:
                changed += found.deleted + found.updated + found.inserted
                progress.advance(changed, None, "rows")
    return Applied(applied)


def _without_values(error: psycopg.Error) -> str:
    """Return the server's message; its detail, and what it quotes of data, are a customer's."""
    message = error.diag.message_primary or ""
    is_of_data = (error.sqlstate or "").startswith("22")
    return re.sub(r'".*"', "…", message, flags=re.DOTALL) if is_of_data else message


def _apply_table(conn: Session, target: Target, replay: TableReplay) -> TableApplied:
    if replay.truncate:
        # TRUNCATE refuses a table that a foreign key refers to, replication or not
        form = "DELETE FROM ONLY {}" if target.is_referenced else "TRUNCATE ONLY {}"
        conn.execute(sql.SQL(form).format(target.table))
    deleted = updated = inserted = 0
    for stretch in replay.stretches:
        match stretch:
            case KeyedStretch():
                apply_keyed(conn, target, stretch)
                deleted += stretch.deletes
                updated += stretch.updates
                inserted += stretch.inserts
            case MovesStretch():
                apply_moves(conn, target, stretch)
                updated += stretch.moves
            case RowsStretch():
                apply_rows(conn, target, stretch)
                deleted += stretch.removed
                inserted += stretch.added
    return TableApplied(replay.truncate, deleted, updated, inserted)
