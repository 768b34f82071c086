"""Replay on tables with a key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import sql

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import KeyedStretch, MovesStretch
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.replay_target import Target
from include.respaldo.postgres.staging import (
    NUMBER,
    STAGING,
    copy_rows,
    staged,
    staging,
)

#: a table is that many times larger than what is changed in it
_FEW = 5


def expect(target: Target, action: str, expected: int, found: int) -> None:
    """:raises LogDiverged: the statement touched more or fewer rows than the log says."""
    if expected != found:
        raise LogDiverged(
            f"{target}: the log {action} {expected:,} rows, the database has {found:,} of them",
            hint="log and full backup do not fit together: the restore is given up; try a moment "
            "after the next full backup, and report this",
        )


def apply_keyed(conn: Session, target: Target, stretch: KeyedStretch) -> None:
    """Delete, update and insert, in this order.

    Where another unique index could be hurt half way (two rows swap their values), updated rows
    are deleted and inserted instead.

    :raises LogDiverged: a row that must be there is not, or the other way round.
    """
    if stretch.deletes + stretch.updates:
        _require_key(target)
    with _near_keys(conn, target, stretch):
        if stretch.deleted:
            with staging(conn, target, stretch.deleted, positions=sorted(target.key)):
                _delete(conn, target, "deletes", stretch.deletes)
        if stretch.updated:
            with staging(conn, target, stretch.updated, own=("unsent text",)):
                if target.can_update:
                    _update(conn, target, stretch)
                else:
                    if stretch.has_unsent:
                        _complete(conn, target)
                    _delete(conn, target, "updates", stretch.updates)
                    _insert(conn, target, stretch.updates)
    if stretch.inserted:
        expect(target, "inserts", stretch.inserts, copy_rows(conn, target, stretch.inserted))


@contextmanager
def _near_keys(conn: Session, target: Target, stretch: KeyedStretch) -> Iterator[None]:
    """Run the block with rows found by the key's index, where that is cheaper than it looks.

    The planner does not know that one key's neighbours were just read for the one before it.
    """
    few = 0 < (stretch.deletes + stretch.updates) * _FEW < target.rows
    if not (stretch.in_key_order and few):
        yield
        return
    conn.execute("SET LOCAL enable_hashjoin TO off; SET LOCAL enable_mergejoin TO off")
    yield
    conn.execute("SET LOCAL enable_hashjoin TO on; SET LOCAL enable_mergejoin TO on")


def apply_moves(conn: Session, target: Target, stretch: MovesStretch) -> None:
    """Change keys, one row after the other; values that were not sent stay.

    :raises LogDiverged: a row that must be there is not.
    """
    _require_key(target)
    with staging(conn, target, stretch.csv, own=(NUMBER, "unsent text"), prefixes="on"):
        rows = conn.execute(
            sql.SQL("SELECT number, coalesce(unsent, '') FROM {} ORDER BY number").format(STAGING)
        ).fetchall()
        expect(target, "moves", stretch.moves, len(rows))
        conn.execute(sql.SQL("CREATE INDEX ON {} (number)").format(STAGING))
        for number, unsent in rows:
            found = conn.execute(_move(target, number, _positions([unsent]))).rowcount
            expect(target, "moves", 1, found)


def _move(target: Target, number: int, unsent: set[int]) -> sql.Composed:
    """Return the statement that moves one staged row."""
    condition = target.same_key([staged(i, "o") for i in range(len(target.columns))])
    positions = range(len(target.columns))
    if not any(c.always_identity for c in target.columns):
        return sql.SQL(
            "UPDATE ONLY {table} t SET {values} FROM {staging} s"
            " WHERE s.number = {number} AND {same_key}"
        ).format(
            table=target.table,
            values=_assignments(target, {i: staged(i, "n") for i in positions if i not in unsent}),
            staging=STAGING,
            number=sql.Literal(number),
            same_key=condition,
        )
    values = [
        sql.SQL("t.{}").format(target.column(i)) if i in unsent else staged(i, "n")
        for i in positions
    ]
    return sql.SQL(
        "WITH moved AS (DELETE FROM ONLY {table} t USING {staging} s"
        " WHERE s.number = {number} AND {same_key} RETURNING {values})"
        " INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT * FROM moved"
    ).format(
        table=target.table,
        staging=STAGING,
        number=sql.Literal(number),
        same_key=condition,
        values=sql.SQL(", ").join(values),
        columns=_columns(target),
    )


def _delete(conn: Session, target: Target, action: str, expected: int) -> None:
    found = conn.execute(
        sql.SQL("DELETE FROM ONLY {} t USING {} s WHERE {}").format(
            target.table, STAGING, _same_key(target)
        )
    ).rowcount
    expect(target, action, expected, found)


def _update(conn: Session, target: Target, stretch: KeyedStretch) -> None:
    unsent = _unsent_positions(conn) if stretch.has_unsent else set()
    others = [i for i in range(len(target.columns)) if i not in target.key]
    # a table of keys only: setting one to itself still finds and counts the rows
    values = {i: _value(target, i, unsent) for i in others} or {i: staged(i) for i in target.key}
    found = conn.execute(
        sql.SQL("UPDATE ONLY {} t SET {} FROM {} s WHERE {}").format(
            target.table, _assignments(target, values), STAGING, _same_key(target)
        )
    ).rowcount
    expect(target, "updates", stretch.updates, found)


def _insert(conn: Session, target: Target, expected: int) -> None:
    found = conn.execute(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s").format(
            target.table,
            _columns(target),
            sql.SQL(", ").join(staged(i) for i in range(len(target.columns))),
            STAGING,
        )
    ).rowcount
    expect(target, "updates", expected, found)


def _complete(conn: Session, target: Target) -> None:
    """Fill in the values that were never sent from the rows as they are."""
    unsent = _unsent_positions(conn)
    if not unsent:
        return
    values = [
        sql.SQL("{} = {}").format(sql.Identifier(f"c{i}"), _value(target, i, unsent))
        for i in sorted(unsent)
    ]
    conn.execute(
        sql.SQL("UPDATE {} s SET {} FROM ONLY {} t WHERE s.unsent <> '' AND {}").format(
            STAGING, sql.SQL(", ").join(values), target.table, _same_key(target)
        )
    )


def _value(target: Target, position: int, unsent: set[int]) -> sql.Composable:
    """Return the new value of a column: the row's own where it was not sent."""
    if position not in unsent:
        return staged(position)
    # the untouched value keeps its place in the TOAST table
    return sql.SQL(
        "CASE WHEN {} = ANY (string_to_array(s.unsent, ';')) THEN t.{} ELSE {} END"
    ).format(sql.Literal(str(position)), target.column(position), staged(position))


def _unsent_positions(conn: Session) -> set[int]:
    rows = conn.execute(sql.SQL("SELECT DISTINCT coalesce(unsent, '') FROM {}").format(STAGING))
    return _positions(row[0] for row in rows)


def _positions(texts: Iterable[str]) -> set[int]:
    return {int(position) for text in texts for position in text.split(";") if position}


def _columns(target: Target) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(c.name) for c in target.columns)


def _assignments(target: Target, values: dict[int, Any]) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(target.column(i), value) for i, value in values.items()
    )


def _same_key(target: Target) -> sql.Composable:
    return target.same_key([staged(i) for i in range(len(target.columns))])


def _require_key(target: Target) -> None:
    if not target.key:
        raise LogDiverged(
            f"{target}: the schema changed: the log tells rows apart by a key that has no unique "
            "index here",
            hint="choose a moment before the change, or one after the next full backup",
        )
