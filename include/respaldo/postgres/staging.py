"""Temporary tables that take the rows of a replay, with the target's own types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.replay_target import Target

CHUNK = 1 << 20
#: its columns are named by position (c0, c1 …), so no column of a customer collides with ours
STAGING = sql.Identifier("pg_temp", "respaldo_staging")

#: the place of a row in the file
NUMBER = "number bigint GENERATED ALWAYS AS IDENTITY"


def staged(position: int, prefix: str = "c") -> sql.Composable:
    """Return a staged column of the row ``s``."""
    return sql.SQL("s.{}").format(sql.Identifier(f"{prefix}{position}"))


@contextmanager
def staging(
    conn: Session, target: Target, own: Sequence[str], prefixes: Sequence[str], csv: Path
) -> Iterator[None]:
    """Stage a CSV file for the block.

    :param own: definitions of the columns before the target's, ``operation text`` …
    :param prefixes: one for each time that the file holds all of the target's columns.
    """
    columns = [(prefix, i, c) for prefix in prefixes for i, c in enumerate(target.columns)]
    definitions: list[sql.Composable] = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
        for name, kind in (d.split(" ", 1) for d in own)
    ]
    definitions += [
        # the type's name comes from format_type(), which quotes
        sql.SQL("{} {}").format(sql.Identifier(f"{prefix}{i}"), sql.SQL(c.staged_as))
        for prefix, i, c in columns
    ]
    conn.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
            sql.Identifier("respaldo_staging"), sql.SQL(", ").join(definitions)
        )
    )
    loaded = [sql.Identifier(d.split(" ", 1)[0]) for d in own if d != NUMBER]
    loaded += [sql.Identifier(f"{prefix}{i}") for prefix, i, _ in columns]
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(
        STAGING, sql.SQL(", ").join(loaded)
    )
    with csv.open("rb") as source, conn.cursor() as cursor, cursor.copy(statement) as copy:
        while chunk := source.read(CHUNK):
            copy.write(chunk)
    # without figures the planner takes staged rows for few
    conn.execute(sql.SQL("ANALYZE {}").format(STAGING))
    yield
    conn.execute(sql.SQL("DROP TABLE {}").format(STAGING))
