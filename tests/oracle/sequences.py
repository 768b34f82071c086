"""What a restored sequence must be, told by the same sequence after physical recovery.

PostgreSQL logs a sequence 32 numbers ahead (SEQ_LOG_VALS in sequence.c), so recovery skips up to
so many; a restored one is as it was at the target or shortly after it. Hence neither need be equal
to the other. But a restored sequence must not be behind what had surely been handed out, nor hand
out a number that a row bears, nor be further than the live one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

_LOGGED_AHEAD = 32
_SEQUENCES = """
select n.nspname, c.relname, s.seqincrement, s.seqcache,
       (select array[tn.nspname, t.relname, a.attname]
          from pg_depend d join pg_class t on t.oid = d.refobjid
          join pg_namespace tn on tn.oid = t.relnamespace
          join pg_attribute a on (a.attrelid, a.attnum) = (d.refobjid, d.refobjsubid)
         where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i'))
  from pg_sequence s join pg_class c on c.oid = s.seqrelid
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname <> 'respaldo' and c.relpersistence = 'p'
"""


@dataclass(frozen=True)
class _Sequence:
    #: the number that it hands out next, counted in its own direction
    next: int
    step: int
    cache: int
    #: the furthest number that a row bears, in its own direction
    used: int | None


def sequence_differences(
    recovered: psycopg.Connection[Any],
    restored: psycopg.Connection[Any],
    live: psycopg.Connection[Any],
    *,
    restarted: frozenset[str],
) -> list[str]:
    """Return what is wrong with restored sequences, in words.

    :param restarted: names of those that were set back at times: they may be behind.
    """
    theirs, ours, now = (_sequences(conn) for conn in (recovered, restored, live))
    found = (
        [f"sequences differ: {theirs.keys() ^ ours.keys()}"] if theirs.keys() != ours.keys() else []
    )
    for name in theirs.keys() & ours.keys():
        mine = ours[name]
        surely = theirs[name].next - (_LOGGED_AHEAD + theirs[name].cache) * theirs[name].step
        if mine.used is not None and mine.next <= mine.used:
            found.append(f"sequence {name} hands out {mine.next} next, a row bears {mine.used}")
        if name not in restarted and mine.next < surely:
            found.append(f"sequence {name} hands out {mine.next} next, {surely} was handed out")
        if name not in restarted and mine.next > now[name].next:
            found.append(f"sequence {name} hands out {mine.next} next, live is {now[name].next}")
    return found


def _sequences(conn: psycopg.Connection[Any]) -> dict[str, _Sequence]:
    found = {}
    for schema, name, increment, cache, column in conn.execute(_SEQUENCES).fetchall():
        last, called = _one(
            conn,
            sql.SQL("select last_value, is_called from {}").format(sql.Identifier(schema, name)),
        )
        direction = 1 if increment > 0 else -1
        used = None
        if column is not None:
            (used,) = _one(
                conn,
                sql.SQL("select max({} * {}) from {}").format(
                    sql.Identifier(column[2]), sql.Literal(direction), sql.Identifier(*column[:2])
                ),
            )
        upcoming = (last + increment if called else last) * direction
        found[name] = _Sequence(upcoming, abs(increment), cache, used)
    return found


def _one(conn: psycopg.Connection[Any], query: sql.Composed) -> tuple[Any, ...]:
    row = conn.execute(query).fetchone()
    assert row is not None
    return row
