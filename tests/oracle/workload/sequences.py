"""What a restored sequence must be, told by the same sequence after physical recovery.

PostgreSQL logs a sequence 32 numbers ahead (SEQ_LOG_VALS in sequence.c), so recovery skips up to so
many. A restored one must not be behind what had surely been handed out at the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

_LOGGED_AHEAD = 32
_SEQUENCES = """
select n.nspname, c.relname, s.seqincrement, s.seqcache, s.seqcycle, c.oid
  from pg_sequence s join pg_class c on c.oid = s.seqrelid
  join pg_namespace n on n.oid = c.relnamespace
 where c.relpersistence = 'p'
"""


@dataclass(frozen=True)
class _Sequence:
    #: the number that it hands out next, counted in its own direction
    next: int
    step: int
    cache: int
    cycles: bool
    oid: int


def sequence_differences(
    recovered: psycopg.Connection[Any],
    restored: psycopg.Connection[Any],
    live: psycopg.Connection[Any],
    told: Sequence[str],
) -> list[str]:
    """Return which restored sequences are behind what was handed out, in words.

    What was dropped or set back right after the target left no state behind: only rows tell of its
    numbers, and a restore's summary says so (docs/FORMAT.md, "Beside the log").

    :param told: the notes of that summary.
    """
    theirs, ours = _sequences(recovered), _sequences(restored)
    alive = {sequence.oid: sequence for sequence in _sequences(live).values()}
    found = []
    for name, sequence in theirs.items():
        if sequence.cycles or name not in ours or sequence.oid not in alive:
            continue
        if any(note.startswith(f"sequence {name[0]}.{name[1]} ") for note in told):
            continue
        surely = sequence.next - (_LOGGED_AHEAD + sequence.cache) * sequence.step
        if alive[sequence.oid].next < surely:
            continue
        if ours[name].next < surely:
            found.append(
                f"sequence {name} hands out {ours[name].next} next; {surely} was handed out"
            )
    return found


def _sequences(conn: psycopg.Connection[Any]) -> dict[tuple[str, str], _Sequence]:
    found = {}
    for schema, name, increment, cache, cycles, oid in conn.execute(_SEQUENCES).fetchall():
        row = conn.execute(
            sql.SQL("select last_value, is_called from {}").format(sql.Identifier(schema, name))
        ).fetchone()
        assert row is not None
        last, called = row
        direction = 1 if increment > 0 else -1
        upcoming = (last + increment if called else last) * direction
        found[schema, name] = _Sequence(upcoming, abs(increment), cache, cycles, oid)
    return found
