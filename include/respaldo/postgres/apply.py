"""Applying the net effect of a query log to a restored database, a table at a time, in sets.

Each statement must touch exactly as many rows as the log says: anything else means that log and
database do not fit together, and nothing more is applied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import psycopg
from psycopg import sql

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import (
    KeyedStretch,
    MovesStretch,
    RowsStretch,
    SchemaReplay,
    TableReplay,
)
from include.respaldo.ports import Progress
from include.respaldo.postgres.apply_keyed import apply_keyed, apply_moves
from include.respaldo.postgres.apply_rows import apply_rows
from include.respaldo.postgres.connect import SETTINGS, Session
from include.respaldo.postgres.epoch import Epoch
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.quiet import replaying, unattended, without_old_domain_checks
from include.respaldo.postgres.replay_target import Target, find_target

#: SQLSTATE classes that say: these values do not fit into this table
_MISFITS = ("22", "23", "44")
#: for plans of few, big statements; the row limits of a customer's settings do not count here
_PLANS = {
    "jit": "off",
    "work_mem": "64MB",
    "statement_timeout": "0",
    "row_security": "off",
    # the figures of what is staged: whether its values differ shows in few
    "default_statistics_target": "10",
}


@dataclass(frozen=True)
class TableApplied:
    """What was done to one table, in rows; a truncate counts none."""

    truncated: bool
    deleted: int
    updated: int
    inserted: int

    def __add__(self, before: TableApplied | None) -> TableApplied:
        """Return what was done in this epoch and in those before it."""
        if before is None:
            return self
        return TableApplied(
            self.truncated or before.truncated,
            self.deleted + before.deleted,
            self.updated + before.updated,
            self.inserted + before.inserted,
        )


@dataclass(frozen=True)
class Applied:
    """What a replay did, by (schema, table)."""

    tables: dict[tuple[str, str], TableApplied] = field(default_factory=dict)


def apply_replay(
    conn: Session,
    items: Iterable[TableReplay | SchemaReplay],
    progress: Progress | None = None,
    *,
    change: Callable[[SchemaReplay], None] | None = None,
    beside: Session | None = None,
) -> Applied:
    """Apply the last state of every row, and the schema changes between them, in order.

    What stands between two schema changes is applied all in one transaction, or not at all: in
    autocommit one of its own, else a part of the caller's. That is committed before a schema
    change; the caller commits the last.

    :param change: carries out one schema change; no transaction is open when it is called.
    :param beside: a second session in autocommit, as `conn` then is: it takes the next table while
        `conn` is at work, in a transaction of its own, so that a failure may leave its half.
    :raises LogDiverged: the log does not fit the database; names the table.
    """
    work = _Application(progress)
    pending = iter(items)
    item = next(pending, None)
    while item is not None:
        if isinstance(item, SchemaReplay):
            if change is None:
                raise LogDiverged(
                    f"expected changes of rows only, found {item.command.what}",
                    hint="choose a moment before it, or after the next full backup",
                )
            if not conn.autocommit:
                conn.execute("SET LOCAL synchronous_commit TO off")
                conn.commit()
            change(item)
            item = next(pending, None)
            continue
        epoch = Epoch(item, pending)
        if beside is None or conn.execute(query("firing_event_triggers")).fetchall():
            # whose switching off no second session would see
            _share(conn, epoch, work)
        else:
            with ThreadPoolExecutor(1, "beside") as pool:
                other = pool.submit(_share, beside, epoch, work)
                _share(conn, epoch, work)
                other.result()
        item = epoch.after
    return Applied(work.tables)


def _share(conn: Session, epoch: Epoch, work: _Application) -> None:
    """Apply tables of the epoch until there are no more, in one transaction."""
    item = epoch.take()
    if item is None:
        return
    try:
        with replaying(conn), without_old_domain_checks(conn):
            _set_up(conn)
            while item is not None:
                work.apply(conn, item)
                item = epoch.take()
    except BaseException:
        epoch.stop()
        raise


def _set_up(conn: Session) -> None:
    wanted = SETTINGS | _PLANS
    if conn.autocommit:
        # what a crash takes is restored anew: no wait for the disk between two schema changes
        wanted |= {"synchronous_commit": "off"}
    settings = [
        sql.SQL("set_config({}, {}, true)").format(name, value) for name, value in wanted.items()
    ]
    # pg_catalog by name: whatever the caller's search_path is
    statement = sql.SQL(", pg_catalog.").join(settings)
    conn.execute(sql.SQL("SELECT pg_catalog.") + statement)
    conn.execute("SET CONSTRAINTS ALL DEFERRED")


class _Application:
    """Tables applied so far, by one session or two."""

    def __init__(self, progress: Progress | None) -> None:
        self.tables: dict[tuple[str, str], TableApplied] = {}
        self._progress = progress
        self._changed = 0
        self._lock = Lock()

    def apply(self, conn: Session, replay: TableReplay) -> None:
        """Apply all that happens to one table, which is looked up as it is now."""
        target = find_target(conn, replay.relation)
        with self._lock:
            if self._progress:
                self._progress.step(f"replaying {target}")
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
        name = (target.schema, target.name)
        with self._lock:
            self.tables[name] = found + self.tables.get(name)
            self._changed += found.deleted + found.updated + found.inserted
            if self._progress:
                self._progress.advance(self._changed, None, "rows")


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
