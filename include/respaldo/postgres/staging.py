"""Temporary tables that take the rows of a replay, with the target's own types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.replay_target import Target

CHUNK = 1 << 20
#: so many staged rows are worth a look by the planner
_ANALYZED = 1_000
#: its columns are named by position (c0, c1 …), so no column of a customer collides with ours
STAGING = sql.Identifier("pg_temp", "respaldo_staging")

#: the place of a row in the file
NUMBER = "number bigint GENERATED ALWAYS AS IDENTITY"


def staged(position: int, prefix: str = "c") -> sql.Composable:
    """Return a staged column of the row ``s``."""
    return sql.SQL("s.{}").format(sql.Identifier(f"{prefix}{position}"))


@contextmanager
def staging(
    conn: Session,
    target: Target,
    csv: Path,
    *,
    own: Sequence[str] = (),
    prefixes: Sequence[str] = ("c",),
    positions: Sequence[int] | None = None,
) -> Iterator[None]:
    """Stage a CSV file for the block.

    :param own: definitions of the columns before the target's, ``unsent text`` …
    :param prefixes: one for each time that the file holds the target's columns.
    :param positions: which of the target's columns; None: all.
    """
    if positions is None:
        positions = range(len(target.columns))
    columns = [(prefix, i, target.columns[i]) for prefix in prefixes for i in positions]
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
    if _copy(conn, STAGING, loaded, csv) >= _ANALYZED:
        # without figures the planner takes staged rows to have few distinct values
        conn.execute(sql.SQL("ANALYZE {}").format(STAGING))
    yield
    conn.execute(sql.SQL("DROP TABLE {}").format(STAGING))


def copy_rows(conn: Session, target: Target, csv: Path) -> int:
    """Add a CSV file of whole rows to the table itself; return how many there were.

    COPY sets identity columns to what the file holds.
    """
    return _copy(conn, target.table, [sql.Identifier(c.name) for c in target.columns], csv)


def _copy(
    conn: Session, table: sql.Identifier, columns: Sequence[sql.Identifier], csv: Path
) -> int:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(
        table, sql.SQL(", ").join(columns)
    )
    with csv.open("rb") as source, conn.cursor() as cursor:
        with cursor.copy(statement) as copy:
            while chunk := source.read(CHUNK):
                copy.write(chunk)
        return cursor.rowcount
