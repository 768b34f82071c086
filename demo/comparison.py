"""Whether two databases hold the same: every row of every table, and every sequence."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from psycopg import sql

from demo.erp.application import Session, enter
from include.respaldo.connections import Connection

_TABLES = """
SELECT n.nspname, c.relname, c.relkind = 'S'
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'S')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'respaldo')
 ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Contents:
    """What a database holds: relation -> (rows, their digest)."""

    relations: dict[str, tuple[int, str]]

    @property
    def tables(self) -> int:
        return len(self.relations)  # and sequences, of one row each

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.relations.values())

    def differences(self, other: Contents) -> list[str]:
        """Return the names of what differs."""
        names = sorted(self.relations.keys() | other.relations.keys())
        return [n for n in names if self.relations.get(n) != other.relations.get(n)]


def contents(connection: Connection, database: str) -> Contents:
    """Read a database, all of it."""
    with enter(connection, database) as session:
        session.execute("SET extra_float_digits = 3")
        session.execute("SET timezone = 'UTC'")
        found = session.execute(_TABLES).fetchall()
        return Contents({
            f"{schema}.{name}": _read(session, sql.Identifier(schema, name), is_sequence)
            for schema, name, is_sequence in found
        })


def _read(session: Session, name: sql.Identifier, is_sequence: bool) -> tuple[int, str]:
    # format() writes each row through the output functions of its types
    query = (
        sql.SQL("SELECT format('%s %s', last_value, is_called) FROM {}")
        if is_sequence
        else sql.SQL("SELECT format('%s', t) FROM ONLY {} t")
    )
    rows = sorted(row[0] for row in session.execute(query.format(name)))
    return len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()
