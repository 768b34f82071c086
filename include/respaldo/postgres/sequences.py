"""Setting sequences so that a restored database never hands out a number that is taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from include.respaldo.model.segment import Sequence
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query


@dataclass(frozen=True)
class SequencesSet:
    """What was done; names are (schema, name)."""

    set: int
    #: recorded, but not in the database
    missing: tuple[tuple[str, str], ...]
    #: in the database, but not recorded: as in the full backup, or past their columns
    unrecorded: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Found:
    schema: str
    name: str
    oid: int
    seqstart: int
    seqincrement: int
    seqmin: int
    seqmax: int
    seqcycle: bool
    #: [schema, table, column]
    columns: list[list[str]]


def set_sequences(conn: Session, states: Iterable[Sequence]) -> SequencesSet:
    """Set every sequence to its recorded state, or to the furthest value in use beyond it.

    Furthest in the sequence's own direction, among values within its bounds. A sequence that
    begins again at its end (CYCLE) hands out used numbers by design: it gets its recorded state.
    """
    recorded = {(s.schema, s.name): s for s in states}
    unrecorded: list[tuple[str, str]] = []
    count = 0
    with conn.cursor(row_factory=class_row(_Found)) as cursor:
        sequences = cursor.execute(query("sequences_and_columns")).fetchall()
    for sequence in sequences:
        state = recorded.pop((sequence.schema, sequence.name), None)
        now, is_called = _state_here(conn, sequence)
        if state is None:
            unrecorded.append((sequence.schema, sequence.name))
            value, called = now, is_called
        elif state.last_value is not None:
            value, called = state.last_value, True
        elif is_called:
            value, called = sequence.seqstart, False  # it was set back to its beginning
        else:
            value, called = now, False
        value, called = _past_columns(conn, sequence, value, called)
        value = min(max(value, sequence.seqmin), sequence.seqmax)
        if (value, called) != (now, is_called):
            conn.execute("SELECT setval(%s::oid::regclass, %s, %s)", (sequence.oid, value, called))
            count += 1
    return SequencesSet(count, tuple(recorded), tuple(unrecorded))


def _state_here(conn: Session, sequence: _Found) -> tuple[int, bool]:
    statement = sql.SQL("SELECT last_value, is_called FROM {}").format(
        sql.Identifier(sequence.schema, sequence.name)
    )
    row = conn.execute(statement).fetchone()
    assert row is not None
    return row[0], row[1]


def _past_columns(conn: Session, sequence: _Found, value: int, called: bool) -> tuple[int, bool]:
    """Return the state moved past the values that the numbered columns hold."""
    if sequence.seqcycle:
        return value, called
    forward = sequence.seqincrement > 0
    for schema, table, column in sequence.columns:
        row = conn.execute(
            sql.SQL("SELECT trunc({}({c}))::bigint FROM {} WHERE {c} BETWEEN {} AND {}").format(
                sql.SQL("max" if forward else "min"),
                sql.Identifier(schema, table),
                sql.Literal(sequence.seqmin),
                sql.Literal(sequence.seqmax),
                c=sql.Identifier(column),
            )
        ).fetchone()
        used = row[0] if row else None
        if used is None:
            continue
        taken = (used >= value) if forward else (used <= value)
        if taken:
            value, called = used, True
    return value, called
