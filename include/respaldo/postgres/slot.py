"""Replication slots: where PostgreSQL keeps the log that has not been archived yet."""

from __future__ import annotations

import time
from dataclasses import dataclass

from psycopg import errors as pg
from psycopg.rows import class_row

from include.respaldo.errors import Busy
from include.respaldo.model.lsn import Lsn
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query

#: ours, whoever looks at the server's list of slots
SLOT_PREFIX = "respaldo_"


def slot_name(database_oid: int) -> str:
    """Return the slot's name: by oid, because names of databases change and hold anything."""
    return f"{SLOT_PREFIX}{database_oid}"


@dataclass(frozen=True)
class Slot:
    """A logical replication slot, as pg_replication_slots shows it."""

    name: str
    database: str
    plugin: str
    active: bool
    active_pid: int | None
    restart_lsn: Lsn | None
    confirmed_flush_lsn: Lsn | None
    #: reserved, extended, unreserved or lost
    wal_status: str | None
    #: bytes of log that can still be written before the slot is lost; None: no limit is set
    safe_wal_size: int | None
    #: bytes of log that the server keeps for it
    retained_bytes: int | None

    @property
    def is_lost(self) -> bool:
        return self.wal_status == "lost"


@dataclass
class _Row:
    name: str
    database: str
    plugin: str
    active: bool
    active_pid: int | None
    restart_lsn: str | None
    confirmed_flush_lsn: str | None
    wal_status: str | None
    safe_wal_size: int | None
    retained_bytes: int | None


def list_slots(conn: Session) -> dict[str, Slot]:
    """Return all logical slots of the server by their names."""
    with conn.cursor(row_factory=class_row(_Row)) as cursor:
        rows = cursor.execute(query("list_slots")).fetchall()
    return {
        row.name: Slot(
            **vars(row)
            | {
                "restart_lsn": Lsn.parse(row.restart_lsn) if row.restart_lsn else None,
                "confirmed_flush_lsn": Lsn.parse(row.confirmed_flush_lsn)
                if row.confirmed_flush_lsn
                else None,
            }
        )
        for row in rows
    }


def create_slot(conn: Session, name: str, *, timeout: float) -> Lsn:
    """Make a slot of the session's database; return its consistent point.

    PostgreSQL waits for every write transaction that runs now, in any database of the server.
    Stopped by the time limit, it leaves no slot behind: trying again begins afresh.

    :param timeout: seconds.
    :raises Busy: transactions went on for longer; the message names them.
    """
    try:
        with conn.transaction():
            conn.execute(
                "select set_config('statement_timeout', %s, true)", (str(int(timeout * 1000)),)
            )
            row = conn.execute(query("create_slot"), {"name": name}).fetchone()
    except pg.QueryCanceled:
        raise Busy(
            f"slot {name!r} was not ready within {timeout:g} s: write transactions still run: "
            f"{_writers(conn)}",
            hint="end them, or try again later: nothing is left half-made",
        ) from None
    except pg.ConfigurationLimitExceeded as e:
        raise Busy(
            f"no free replication slot for {name!r}: {e.diag.message_primary}",
            hint="raise max_replication_slots (takes a restart), or drop slots nobody uses",
        ) from None
    assert row is not None
    return Lsn.parse(row[0])


def _writers(conn: Session) -> str:
    rows = conn.execute(query("write_transactions")).fetchall()
    return ", ".join(row[0] for row in rows) or "none any more"


def drop_slot(conn: Session, name: str, *, terminate: bool = False, timeout: float = 10) -> bool:
    """Drop a slot; return whether there was one.

    :param terminate: end the session that reads it, if that is one of Respaldo's.
    :param timeout: seconds to wait until nobody reads it.
    :raises Busy: somebody still reads it.
    """
    deadline = time.monotonic() + timeout
    while True:
        slot = list_slots(conn).get(name)
        if slot is None:
            return False
        if slot.active_pid is not None and terminate:
            conn.execute(query("terminate_own_walsender"), {"pid": slot.active_pid})
        if slot.active_pid is None:
            try:
                conn.execute("select pg_drop_replication_slot(%s)", (name,))
            except pg.ObjectInUse:
                pass  # somebody began to read it meanwhile
            except pg.UndefinedObject:
                return False
            else:
                return True
        if not terminate or time.monotonic() > deadline:
            raise Busy(
                f"slot {name!r} is being read by process {slot.active_pid}",
                hint="another archiver runs; let it end first",
            )
        time.sleep(0.05)


def current_position(conn: Session) -> Lsn:
    """Return the end of the server's write-ahead log."""
    row = conn.execute("select pg_current_wal_insert_lsn() :: text").fetchone()
    assert row is not None
    return Lsn.parse(row[0])
