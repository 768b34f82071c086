"""How many rows tables have, exactly."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from include.respaldo.postgres.connect import Session


def count_rows(conn: Session, tables: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return the number of rows of each (schema, table), without those of its children."""
    found: dict[tuple[str, str], int] = {}
    for schema, table in tables:
        statement = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, table))
        row = conn.execute(statement).fetchone()
        found[schema, table] = row[0] if row else 0
    return found
