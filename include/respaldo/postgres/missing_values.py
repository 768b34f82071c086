"""The value that a new column has in the rows that were there before it.

``ADD COLUMN … DEFAULT now()`` computes it once and keeps it in the catalog (``attmissingval``): a
replay computes another one. So the source's is carried in the log, and written into the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import dict_row

from include.respaldo.model.schema_change import MissingValue
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.quiet import replaying, unattended

_IDENTITY = {"d": sql.SQL("DEFAULT"), "n": sql.SQL("NOTHING")}


@dataclass(frozen=True)
class TableWidth:
    """A table, and how many columns it has ever had: those that come later are new."""

    oid: int
    width: int


def widths(conn: Session, values: Sequence[MissingValue]) -> dict[tuple[str, str], TableWidth]:
    """Return the tables that these values are in, as they are before the command."""
    if not values:
        return {}
    tables = sorted({(v.schema, v.table) for v in values})
    parameters = {"schemas": [s for s, _ in tables], "names": [n for _, n in tables]}
    found = conn.execute(query("table_widths"), parameters)
    return {(row[0], row[1]): TableWidth(row[2], row[3]) for row in found}


def set_missing_values(
    conn: Session,
    values: Sequence[MissingValue],
    before: dict[tuple[str, str], TableWidth],
) -> int:
    """Write the values into all rows, where the command has added the column.

    Columns that were there before the command are left alone: their rows have changed since.

    :param before: what `widths` returned.
    :return: how many columns had another value.
    """
    now = widths(conn, values)
    changed = 0
    for value in values:
        place = (value.schema, value.table)
        was, found = before.get(place), now.get(place)
        if was is None or found is None or was.oid != found.oid:
            continue  # renamed or moved by the command: it has added nothing
        with conn.cursor(row_factory=dict_row) as cursor:
            column = cursor.execute(
                query("column_missing_value"), {"relation": found.oid, "column": value.column}
            ).fetchone()
        if column is None or column["attnum"] <= was.width:
            continue
        here = column["value"] if column["is_there"] else None
        if here != value.value:
            _write(conn, found.oid, value, column["identity"])
            changed += 1
    return changed


def _write(conn: Session, relation: int, value: MissingValue, identity: str) -> None:
    table = sql.Identifier(value.schema, value.table)
    change = sql.SQL("ALTER TABLE ONLY {} REPLICA IDENTITY {}")
    with replaying(conn), unattended(conn, relation, table):
        if identity in _IDENTITY:  # a table that is published could not be updated without
            conn.execute(change.format(table, sql.SQL("FULL")))
        # the literal has no type of its own: the column's input function reads it; no parameter,
        # as there a percent sign in a name would be taken for another
        conn.execute(
            sql.SQL("UPDATE ONLY {} SET {} = {}").format(
                table, sql.Identifier(value.column), sql.Literal(value.value)
            )
        )
        if identity in _IDENTITY:
            conn.execute(change.format(table, _IDENTITY[identity]))
