"""Locks between processes, held by a session: they end with its connection, whatever happens."""

from __future__ import annotations

from hashlib import sha256

from psycopg import Connection


def try_lock(conn: Connection, name: str) -> bool:
    """Take the advisory lock of this name for the session; return whether it was free."""
    number = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
    row = conn.execute("SELECT pg_try_advisory_lock(%s)", [number]).fetchone()
    return bool(row and row[0])
