"""Locks between processes, held by a session: they end with its connection, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

import psycopg
from psycopg import Connection


@contextmanager
def locked(conn: Connection, name: str) -> Iterator[bool]:
    """Hold the advisory lock of this name for the block, if it was free: yield whether it was.

    Given back at the end, not with the connection: the server notices that one was closed some
    time after its client, who may ask for the lock again at once.

    :param conn: in autocommit.
    """
    number = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
    row = conn.execute("SELECT pg_try_advisory_lock(%s)", [number]).fetchone()
    free = bool(row and row[0])
    try:
        yield free
    finally:
        if free:
            with suppress(psycopg.Error):  # the connection is lost, and with it the lock
                conn.execute("SELECT pg_advisory_unlock(%s)", [number])
