"""Cheap looks at a running server, again and again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection as Session

from include.respaldo.connections import Connection
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.postgres.connect import connect


def clock_and_position(conn: Session[Any]) -> tuple[datetime, Lsn]:
    """Return the server's clock, and where its log ended just after."""
    row = conn.execute(
        "SELECT clock_timestamp(), pg_catalog.pg_current_wal_insert_lsn()::text"
    ).fetchone()
    assert row is not None
    return row[0], Lsn.parse(row[1])


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
