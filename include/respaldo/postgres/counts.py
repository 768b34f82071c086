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


def table_oid(conn: Session, table: tuple[str, str]) -> int | None:
    """Return the oid of the table (schema, name), or None where there is none."""
    row = conn.execute(
        "SELECT c.oid FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
        table,
    ).fetchone()
    return row[0] if row else None


def table_names(conn: Session, oids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Return (schema, name) of those of the tables that are there, and logged."""
    rows = conn.execute(
        "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = ANY (%s::oid[]) AND c.relpersistence <> 'u'",
        [list(oids)],
    )
    return {oid: (schema, name) for oid, schema, name in rows}
