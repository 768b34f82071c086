"""Cheap looks at a running server, again and again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from include.respaldo.connections import Connection
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.postgres.connect import Session, connect

_PAGE = 8192
_PAGE_HEADERS = (24, 40)


@dataclass(frozen=True)
class Moment:
    """One look at a server's clock and log."""

    at: datetime
    #: where the log ended just after
    inserted: Lsn
    #: how much of it is on disk, and so can be streamed
    flushed: Lsn


def look(conn: Session) -> Moment:
    """Return the server's clock and, read after it, the ends of its log."""
    row = conn.execute(
        "SELECT clock_timestamp(), pg_catalog.pg_current_wal_insert_lsn()::text,"
        " pg_catalog.pg_current_wal_flush_lsn()::text"
    ).fetchone()
    assert row is not None
    return Moment(row[0], before_page_header(Lsn.parse(row[1])), Lsn.parse(row[2]))


def flush(conn: Session) -> None:
    """Have the log written to disk up to its end.

    On a quiet server a last piece that is no commit (a pruned page, say) may otherwise wait in
    memory for minutes, and nobody could tell that nothing was committed in it.
    """
    with conn.transaction():
        conn.execute("SET LOCAL synchronous_commit TO local")
        conn.execute("SELECT pg_catalog.pg_logical_emit_message(true, 'flush for respaldo', '')")


def before_page_header(position: Lsn) -> Lsn:
    """Return the end of the page before, if `position` is just behind a page's header.

    An insert position at the start of a page counts the header that is yet to be written there; the
    walsender's position does not (PostgreSQL source, xlog.c: XLogBytePosToRecPtr).
    """
    offset = position % _PAGE
    return Lsn(position - offset) if offset in _PAGE_HEADERS else position


def wait_until_ended(connection: Connection, xids: Iterable[int], limit: timedelta) -> bool:
    """Wait until none of these transactions (64-bit ids) is in progress; return whether so."""
    waited_for = tuple(xids)
    deadline = time.monotonic() + limit.total_seconds()
    with connect(connection) as conn:
        while waited_for:
            row = conn.execute("SELECT pg_catalog.pg_current_snapshot()::text").fetchone()
            assert row is not None
            snapshot = Snapshot.parse(row[0])
            waited_for = tuple(x for x in waited_for if not snapshot.sees(x))
            if waited_for and time.monotonic() > deadline:
                return False
            if waited_for:
                time.sleep(0.1)
    return True
