"""Tables with a key: the last state of each row.

An update that moves a row to another key is the end of the row at the old key and the start of one
at the new. Where it leaves out values (unchanged TOAST) that cannot be said so: such moves stand
between stretches, to be carried out one after the other.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import KeyedStretch, MovesStretch
from include.respaldo.model.segment import RelationDefinition
from include.respaldo.querylog.csv_files import write_csv
from include.respaldo.querylog.log_files import LogFiles, literal
from include.respaldo.querylog.relations import relation_key

#: the changes without their rows: keys, and which columns (from 0) were not sent. A key may itself
#: be an unchanged TOAST value: then the old key is always sent
_CHANGES = """
CREATE TEMP TABLE changes AS
SELECT r.oid, l.pos, l.kind,
       CASE WHEN l.old IS NOT NULL
            THEN list_transform(r.key_positions, lambda p: l.old[p]) END AS old_key,
       CASE WHEN l.new IS NULL THEN NULL
            WHEN l.unchanged IS NULL OR l.old IS NULL
            THEN list_transform(r.key_positions, lambda p: l.new[p])
            ELSE list_transform(r.key_positions, lambda p:
                     CASE WHEN list_contains(l.unchanged, p - 1) THEN l.old[p] ELSE l.new[p] END)
       END AS new_key,
       CASE WHEN l.unchanged IS NOT NULL
            THEN list_filter(l.unchanged, lambda i: NOT list_contains(r.key_positions, i + 1))
       END AS unsent
FROM replayed l JOIN relations r ON l.relation = r.relation
WHERE r.is_keyed AND l.pos > r.truncated_at AND l.kind IN ('insert', 'update', 'delete')
"""

_WITHOUT_KEY = """
SELECT oid FROM changes
WHERE list_count(coalesce(new_key, old_key)) <> len(coalesce(new_key, old_key))
   OR list_count(old_key) <> len(old_key)
   OR (kind = 'delete' AND old_key IS NULL)
LIMIT 1
"""

_IS_MOVE = (
    "(kind = 'update' AND old_key IS NOT NULL AND old_key <> new_key"
    " AND coalesce(len(unsent), 0) > 0)"
)

_STRETCHES = f"""
CREATE TEMP TABLE stretched AS
WITH moving AS (SELECT DISTINCT oid FROM changes WHERE {_IS_MOVE}),
     marked AS (
         SELECT *, {_IS_MOVE} AS is_move,
                lag({_IS_MOVE}) OVER (PARTITION BY oid ORDER BY pos) AS after_move
         FROM changes WHERE oid IN (FROM moving)
     )
SELECT oid, pos, kind, old_key, new_key, unsent, is_move,
       sum((is_move IS DISTINCT FROM after_move)::INTEGER)
           OVER (PARTITION BY oid ORDER BY pos)::INTEGER AS stretch
FROM marked
UNION ALL
SELECT oid, pos, kind, old_key, new_key, unsent, false, 0
FROM changes WHERE oid NOT IN (FROM moving)
"""  # noqa: S608 - parts of this module

#: what happens at a key: i (a row that was not there), u, d. An even `at` is a change's end of a
#: row, an odd one its start, so `at >> 1` is its position in the log
_EVENTS = """
CREATE TEMP VIEW events AS
SELECT oid, stretch, pos * 2 AS at, 'd' AS op, old_key AS key, NULL::INTEGER[] AS unsent
FROM stretched
WHERE NOT is_move AND (kind = 'delete' OR (kind = 'update' AND old_key <> new_key))
UNION ALL
SELECT oid, stretch, pos * 2 + 1,
       CASE WHEN kind = 'insert' OR old_key <> new_key THEN 'i' ELSE 'u' END, new_key, unsent
FROM stretched
WHERE NOT is_move AND kind <> 'delete'
"""

_NET = """
CREATE TEMP TABLE net AS
SELECT *, CASE WHEN NOT was THEN 'i' WHEN NOT "is" THEN 'd' ELSE 'u' END AS op
FROM (
    SELECT oid, stretch, key, arg_min(op, "at") <> 'i' AS was, arg_max(op, "at") <> 'd' AS "is",
           max("at") AS last_at, max("at") FILTER (op = 'i') AS whole_at,
           count(*) FILTER (op = 'i') - count(*) FILTER (op = 'd') AS gained
    FROM events GROUP BY oid, stretch, key
)
WHERE was OR "is" OR gained <> 0
"""

_UNSOUND = """
SELECT oid FROM net WHERE gained <> "is"::INTEGER - was::INTEGER LIMIT 1
"""

#: the columns that the last change of a row did not send
_UNSENT = """
CREATE TEMP TABLE last_unsent AS
SELECT n.oid, n.stretch, n.key, n.last_at, n.whole_at, unnest(s.unsent) AS col
FROM net n JOIN stretched s ON s.oid = n.oid AND s.pos = n.last_at >> 1
WHERE n."is" AND len(s.unsent) > 0
"""

#: where an earlier change of the row did send them; none: the value in the table stays
_EARLIER = """
CREATE TEMP TABLE earlier AS
SELECT u.oid, u.stretch, u.last_at, u.col, max(e."at") >> 1 AS pos
FROM last_unsent u JOIN events e ON e.oid = u.oid AND e.stretch = u.stretch AND e.key = u.key
WHERE e.op <> 'd' AND e."at" < u.last_at AND e."at" >= coalesce(u.whole_at, -1)
  AND (e.unsent IS NULL OR NOT list_contains(e.unsent, u.col))
GROUP BY u.oid, u.stretch, u.last_at, u.col
"""

_STILL_UNSENT = """
CREATE TEMP TABLE still_unsent AS
SELECT u.oid, u.stretch, u.last_at, array_to_string(list(u.col ORDER BY u.col), ';') AS positions
FROM last_unsent u ANTI JOIN earlier e ON e.last_at = u.last_at AND e.col = u.col
GROUP BY u.oid, u.stretch, u.last_at
"""


class KeyedTables:
    """The tables of a log that have a key."""

    def __init__(self, db: duckdb.DuckDBPyConnection, files: LogFiles, folder: Path) -> None:
        self._db = db
        self._files = files
        self._folder = folder

    def reduce(self) -> None:
        """Compute the net effect on all of them.

        :raises LogDiverged: the changes of a key cannot have followed one another.
        """
        db = self._db
        db.execute(_CHANGES)
        self._refuse(_WITHOUT_KEY, "changes to carry the key of their row")
        db.execute(_STRETCHES)
        db.execute("DROP TABLE changes")
        db.execute(_EVENTS)
        db.execute(_NET)
        self._refuse(_UNSOUND, "rows to be inserted where there is none, and else changed")
        for step in (_UNSENT, _EARLIER, _STILL_UNSENT):
            db.execute(step)

    def _refuse(self, query: str, expected: str) -> None:
        found = self._db.execute(query).fetchone()
        if found is not None:
            raise LogDiverged(
                f"expected {expected}, found otherwise in table {found[0]}",
                hint="the log is not whole; choose a moment after the next full backup",
            )

    def stretches(self, relation: RelationDefinition) -> tuple[KeyedStretch | MovesStretch, ...]:
        """Write the table's CSV files; return what they hold, in the order to carry them out."""
        counted = self._db.execute(
            """
            SELECT stretch, false AS is_moves, count(*) FILTER (op = 'd'),
                   count(*) FILTER (op = 'u'), count(*) FILTER (op = 'i'),
                   stretch IN (SELECT stretch FROM still_unsent WHERE oid = $oid)
            FROM net WHERE oid = $oid AND (was OR "is") GROUP BY stretch
            UNION ALL
            SELECT stretch, true, count(*), 0, 0, true
            FROM stretched WHERE oid = $oid AND is_move GROUP BY stretch
            ORDER BY stretch
            """,
            {"oid": relation.oid},
        ).fetchall()
        found: list[KeyedStretch | MovesStretch] = []
        for stretch, is_moves, first, updates, inserts, has_unsent in counted:
            path = self._folder / f"{relation.oid}-{stretch}.csv"
            if is_moves:
                found.append(MovesStretch(self._write_moves(relation, stretch, path), first))
            else:
                self._write_states(relation, stretch, path)
                found.append(KeyedStretch(path, first, updates, inserts, has_unsent))
        return tuple(found)

    def _write_states(self, relation: RelationDefinition, stretch: int, path: Path) -> None:
        """Write the rows straight from the segments: none of them waits in memory."""
        here = f"oid = {relation.oid} AND stretch = {stretch}"
        carried = [
            col
            for (col,) in self._db.execute(
                f"SELECT DISTINCT col FROM earlier WHERE {here} ORDER BY col"  # noqa: S608
            ).fetchall()
        ]
        keys = {position: place for place, position in enumerate(relation.key_positions, 1)}
        gone, kept = [], []
        for i in range(len(relation.columns)):
            gone.append(f"key[{keys[i]}] AS c{i}" if i in keys else f"NULL AS c{i}")
            if i in keys:
                kept.append(f"n.key[{keys[i]}] AS c{i}")
            elif i in carried:
                kept.append(f"CASE WHEN e{i}.pos IS NULL THEN l.new[{i + 1}] ELSE e{i}.value END")
            else:
                kept.append(f"l.new[{i + 1}] AS c{i}")
        joins = "".join(
            f"""
            LEFT JOIN (SELECT e.last_at, e.pos, l.new[{i + 1}] AS value
                       FROM (FROM earlier WHERE {here} AND col = {i}) e
                       JOIN ({self._rows(relation, "earlier", here)}) l ON l.pos = e.pos) e{i}
            ON e{i}.last_at = n.last_at
            """  # noqa: S608 - numbers only
            for i in carried
        )
        query = f"""
            SELECT n.op, coalesce(u.positions, '') AS unsent, {", ".join(kept)}
            FROM ({self._rows(relation, "net", here)}) l
            JOIN (FROM net WHERE {here} AND "is") n ON l.pos = n.last_at >> 1
            LEFT JOIN (FROM still_unsent WHERE {here}) u ON u.last_at = n.last_at
            {joins}
            UNION ALL
            SELECT op, '', {", ".join(gone)} FROM net WHERE {here} AND was AND NOT "is"
        """  # noqa: S608 - numbers only
        write_csv(self._db, query, path)

    def _rows(self, relation: RelationDefinition, table: str, where: str) -> str:
        """Return the query of the relation's new rows in the segments that `table` points to."""
        pos = "pos" if table == "earlier" else "last_at >> 1"
        found = self._db.execute(
            f"SELECT DISTINCT ({pos}) >> 40 FROM {table} WHERE {where}"  # noqa: S608
        ).fetchall()
        source = self._files.select(i for (i,) in found)
        return f"""
            SELECT pos, new FROM ({source}) WHERE relation = {literal(relation_key(relation))}
        """  # noqa: S608 - the key is quoted

    def _write_moves(self, relation: RelationDefinition, stretch: int, path: Path) -> Path:
        count = len(relation.columns)
        keys = {position: place for place, position in enumerate(relation.key_positions, 1)}
        old = "".join(
            f", s.old_key[{keys[i]}] AS old{i}" if i in keys else f", NULL AS old{i}"
            for i in range(count)
        )
        new = "".join(
            f", s.new_key[{keys[i]}] AS new{i}" if i in keys else f", l.new[{i + 1}] AS new{i}"
            for i in range(count)
        )
        query = f"""
            SELECT array_to_string(s.unsent, ';') AS unsent{old}{new}
            FROM stretched s JOIN log l ON l.pos = s.pos
            WHERE s.oid = {relation.oid} AND s.stretch = {stretch} AND s.is_move
            ORDER BY s.pos
        """  # noqa: S608 - numbers only
        return write_csv(self._db, query, path)
