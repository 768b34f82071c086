"""Setting sequences so that a restored database never hands out a number that is taken.

Sequences are not in the query log. Their states are read beside it, once for every segment: the
first record at or past the target has them as they were then or a little later. That is right as
long as numbers only went on. Around the target a sequence may also have been dropped, renamed, made
anew or set back: then that record lacks it, or says too little. So the record before the target
counts too (the full backup is it, where there is none), what commands of the log have set, and the
rows: the furthest of all is taken. It may skip numbers; it never repeats one that is in a record or
in a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from psycopg import sql
from psycopg.rows import class_row

from include.respaldo.model.segment import Sequence
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query


@dataclass(frozen=True)
class SequencesSet:
    """What was done; names are (schema, name)."""

    set: int
    #: in the record past the target, but not in the database
    missing: tuple[tuple[str, str], ...]
    #: in the database, but in no record: as in the full backup, or past their columns
    unrecorded: tuple[tuple[str, str], ...]
    #: what could not be told for certain, in words
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class _State:
    """A state, ordered by how far it is in the sequence's own direction."""

    #: `value`, counted in the sequence's own direction
    place: int
    is_called: bool
    value: int = field(compare=False)


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

    def state(self, value: int, is_called: bool) -> _State:
        """Return a state, within the sequence's bounds."""
        within = min(max(value, self.seqmin), self.seqmax)
        place = within if self.seqincrement > 0 else -within
        return _State(place, is_called or within != value, within)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class _Records:
    """What was recorded past the target and before it, by name and by oid at the source."""

    def __init__(self, later: Iterable[Sequence], earlier: Iterable[Sequence]) -> None:
        self.later = {(s.schema, s.name): s for s in later}
        self.earlier = {(s.schema, s.name): s for s in earlier}
        self._later_oids = {s.oid: s for s in self.later.values() if s.oid}
        self._earlier_oids = {s.oid: s for s in self.earlier.values() if s.oid}

    def of(self, sequence: _Found) -> tuple[list[Sequence], bool]:
        """Return all records that may be the sequence's, later ones first, and whether they agree.

        A name may have gone from one sequence to another between the records, before the target or
        after it: so both count.
        """
        name = (sequence.schema, sequence.name)
        later, earlier = self.later.get(name), self.earlier.get(name)
        candidates = [
            later,
            self._later_oids.get(earlier.oid) if earlier else None,
            earlier,
            self._earlier_oids.get(later.oid) if later else None,
        ]
        is_one = not (later and earlier and later.oid and earlier.oid) or later.oid == earlier.oid
        return [c for c in dict.fromkeys(candidates) if c is not None], is_one


def set_sequences(
    conn: Session,
    states: Iterable[Sequence],
    earlier: Iterable[Sequence] = (),
    restarted: frozenset[int] = frozenset(),
) -> SequencesSet:
    """Set every sequence to the furthest state that it may have had at the target.

    Furthest in the sequence's own direction, among values within its bounds. A sequence that
    begins again at its end (CYCLE) hands out used numbers by design: it gets its recorded state.

    :param states: the first record at or past the target; empty: there is none.
    :param earlier: the last record before the target.
    :param restarted: oids here of the sequences that replayed commands have made or restarted.
    """
    records = _Records(states, earlier)
    missing = dict.fromkeys(records.later)
    unrecorded: list[tuple[str, str]] = []
    notes: list[str] = []
    count = 0
    with conn.cursor(row_factory=class_row(_Found)) as cursor:
        sequences = cursor.execute(query("sequences_and_columns")).fetchall()
    for sequence in sequences:
        missing.pop((sequence.schema, sequence.name), None)
        now = _state_here(conn, sequence)
        known, is_one = records.of(sequence)
        if not known:
            unrecorded.append((sequence.schema, sequence.name))
        # without a record before the target the full backup has its state before it
        counts = sequence.oid in restarted or not records.earlier
        chosen = _recorded(sequence, known, now, counts)
        if not sequence.seqcycle:
            chosen = max([chosen, *_used(conn, sequence)])
        doubt = _doubt(sequence, records, is_one, chosen, now) if records.later else None
        if doubt:
            notes.append(f"sequence {sequence} {doubt}")
        if chosen != now:
            conn.execute(
                "SELECT setval(%s::oid::regclass, %s, %s)",
                (sequence.oid, chosen.value, chosen.is_called),
            )
            count += 1
    return SequencesSet(count, tuple(missing), tuple(unrecorded), tuple(notes))


def _recorded(sequence: _Found, known: list[Sequence], now: _State, now_counts: bool) -> _State:
    """Return the state that records and commands tell; `now` is that of the full backup or log."""
    if not known:
        return now
    states = [sequence.state(r.last_value, True) for r in known if r.last_value is not None]
    if sequence.seqcycle and states:
        # the first is the one past the target, where there is one: nothing is "further"
        return states[0]
    if now_counts:
        states.append(now)
    if states:
        return max(states)
    if now.is_called:
        return sequence.state(sequence.seqstart, False)  # it was set back to its beginning
    return now


def _doubt(
    sequence: _Found, records: _Records, is_one: bool, chosen: _State, now: _State
) -> str | None:
    """Return why the record past the target does not tell the sequence's state, in words."""
    name = (sequence.schema, sequence.name)
    later, earlier = records.later.get(name), records.earlier.get(name)
    going_on = f"it goes on after {chosen.value}"
    if later is None and len(records.of(sequence)[0]) > 1:
        return None  # renamed after the target: the record has it under its new name
    if later is None:
        source = "the record before it and the rows" if earlier else "the commands and the rows"
        return f"was dropped or renamed after the target: {going_on}, as {source} tell"
    if not is_one:
        return f"was made anew, or renamed, around the target: {going_on}, the furthest known"
    if (later.increment > 0) != (sequence.seqincrement > 0):
        return f"changed its direction after the target: {going_on}, the furthest known"
    if sequence.seqcycle:
        return None
    told = sequence.state(later.last_value, True) if later.last_value is not None else None
    if told is not None and told.value != later.last_value:
        return f"had other bounds after the target: {going_on}, its own last"
    before = None
    if earlier is not None and earlier.last_value is not None:
        before = sequence.state(earlier.last_value, True)
    elif not records.earlier and now.is_called:
        before = now
    if before is not None and (told is None or told < before):
        return f"was set back around the target: {going_on}, the furthest known"
    if _was_altered(later, earlier):
        return f"was altered or set back around the target: {going_on}, the furthest known"
    return None


def _was_altered(later: Sequence, earlier: Sequence | None) -> bool:
    """Return whether a command, or TRUNCATE, may have set it back between the records.

    It has another file then (`RelationSetNewRelfilenumber` in PostgreSQL's sequence.c); the first
    is named after the sequence's oid. Further on than before, it may have been even further.
    """
    if not later.file:
        return False  # a record of an earlier version
    return later.file != (earlier.file if earlier and earlier.file else later.oid)


def _state_here(conn: Session, sequence: _Found) -> _State:
    statement = sql.SQL("SELECT last_value, is_called FROM {}").format(
        sql.Identifier(sequence.schema, sequence.name)
    )
    row = conn.execute(statement).fetchone()
    assert row is not None
    return sequence.state(row[0], row[1])


def _used(conn: Session, sequence: _Found) -> list[_State]:
    """Return, as states, the furthest values that the numbered columns hold."""
    found = []
    for schema, table, column in sequence.columns:
        row = conn.execute(
            sql.SQL("SELECT trunc({}({c}))::bigint FROM {} WHERE {c} BETWEEN {} AND {}").format(
                sql.SQL("max" if sequence.seqincrement > 0 else "min"),
                sql.Identifier(schema, table),
                sql.Literal(sequence.seqmin),
                sql.Literal(sequence.seqmax),
                c=sql.Identifier(column),
            )
        ).fetchone()
        if row and row[0] is not None:
            found.append(sequence.state(row[0], True))
    return found
