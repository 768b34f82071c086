"""Replay on tables without a key: multisets of whole rows."""

from __future__ import annotations

from psycopg import sql

from include.respaldo.model.replay import RowsStretch
from include.respaldo.postgres.apply_keyed import expect
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.replay_target import Target
from include.respaldo.postgres.staging import (
    NUMBER,
    STAGING,
    copy_rows,
    staged,
    staging,
)


def apply_rows(conn: Session, target: Target, stretch: RowsStretch) -> None:
    """Remove copies of rows, then add copies.

    Rows are the same when the text of all their values is, as the types' output functions write
    it: types without equality (point, json, xml) compare too, and 1.0 is not 1.00.

    :raises LogDiverged: there are fewer copies of a row than must go.
    """
    if stretch.lessened:
        with staging(conn, target, stretch.lessened, own=(NUMBER, "copies bigint")):
            found = conn.execute(
                sql.SQL(
                    "WITH picked AS ("
                    " SELECT t.ctid AS place, s.copies,"
                    " row_number() OVER (PARTITION BY s.number) AS copy"
                    " FROM ONLY {table} t JOIN {staging} s ON {live} = {staged})"
                    " DELETE FROM ONLY {table} t USING picked p"
                    " WHERE t.ctid = p.place AND p.copy <= p.copies"
                ).format(
                    table=target.table,
                    staging=STAGING,
                    live=_image([
                        sql.SQL("t.{}").format(target.column(i)) for i in range(len(target.columns))
                    ]),
                    staged=_image([staged(i) for i in range(len(target.columns))]),
                )
            ).rowcount
            expect(target, "removes", stretch.removed, found)
    if stretch.added:
        expect(target, "adds", stretch.added, _add(conn, target, stretch))


def _add(conn: Session, target: Target, stretch: RowsStretch) -> int:
    if stretch.inserted:
        return copy_rows(conn, target, stretch.inserted)
    # a row without columns has no CSV form
    return conn.execute(
        sql.SQL("INSERT INTO {} SELECT FROM generate_series(1, {})").format(
            target.table, sql.Literal(stretch.added)
        )
    ).rowcount


def _image(values: list[sql.Composable]) -> sql.Composable:
    """Return a row's values as an array of texts; a row without columns is an empty one.

    format() uses the output function, where a cast of a boolean would not; "C" since columns of
    different collations could not be compared together.
    """
    texts = [
        sql.SQL(
            "CASE WHEN {0} IS NOT DISTINCT FROM NULL THEN NULL ELSE format('%s', {0}) END"
        ).format(value)
        for value in values
    ]
    return sql.SQL('(ARRAY[{}] :: text[] COLLATE "C")').format(sql.SQL(", ").join(texts))
