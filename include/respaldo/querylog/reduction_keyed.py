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
from include.respaldo.querylog.csv_files import row_columns, write_csv

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

#: the rows as they are at the end; keys that were themselves unchanged TOAST values are filled in
_FINAL = """
CREATE TEMP TABLE final AS
SELECT n.oid, n.stretch, n.op, n.key, n.last_at, n.whole_at,
       CASE WHEN l.unchanged IS NULL THEN NULL
            ELSE list_filter(l.unchanged, lambda i: NOT list_contains(r.key_positions, i + 1))
       END AS unsent,
       CASE WHEN l.unchanged IS NULL THEN l.new
            ELSE list_transform(l.new, lambda v, i:
                     CASE WHEN list_contains(r.key_positions, i)
                          THEN n.key[list_position(r.key_positions, i)] ELSE v END)
       END AS row
FROM log l JOIN net n ON l.pos = n.last_at >> 1 JOIN relations r ON r.oid = n.oid
WHERE n."is"
UNION ALL
SELECT n.oid, n.stretch, n.op, n.key, n.last_at, NULL, NULL,
       list_transform(range(1, r.columns + 1), lambda i:
           CASE WHEN list_contains(r.key_positions, i)
                THEN n.key[list_position(r.key_positions, i)] END)
FROM net n JOIN relations r ON r.oid = n.oid
WHERE NOT n."is" AND n.was
"""

#: values that the last change of a row did not send, and an earlier one did
_EARLIER = """
CREATE TEMP TABLE earlier AS
SELECT s.oid, s.stretch, s.key, list({'column': s.col, 'value': l.new[s.col + 1]}) AS found
FROM (
    SELECT f.oid, f.stretch, f.key, f.col, max(e."at") >> 1 AS pos
    FROM (SELECT oid, stretch, key, last_at, whole_at, unnest(unsent) AS col FROM final) f
    JOIN events e ON e.oid = f.oid AND e.stretch = f.stretch AND e.key = f.key
    WHERE e.op <> 'd' AND e."at" < f.last_at AND e."at" >= coalesce(f.whole_at, -1)
      AND (e.unsent IS NULL OR NOT list_contains(e.unsent, f.col))
    GROUP BY f.oid, f.stretch, f.key, f.col
) s JOIN log l ON l.pos = s.pos
GROUP BY s.oid, s.stretch, s.key
"""

_FILL_IN = """
CREATE TEMP TABLE filled AS
SELECT f.oid, f.stretch, f.op,
       CASE WHEN e.found IS NULL THEN f.unsent
            ELSE list_filter(f.unsent, lambda i:
                     NOT list_contains(list_transform(e.found, lambda x: x."column"), i))
       END AS unsent,
       CASE WHEN e.found IS NULL THEN f.row
            ELSE list_transform(f.row, lambda v, i: CASE
                     WHEN list_contains(list_transform(e.found, lambda x: x."column"), i - 1)
                     THEN e.found[list_position(
                              list_transform(e.found, lambda x: x."column"), i - 1)]."value"
                     ELSE v END)
       END AS row
FROM final f LEFT JOIN earlier e ON e.oid = f.oid AND e.stretch = f.stretch AND e.key = f.key
"""


class KeyedTables:
    """The tables of a log that have a key."""

    def __init__(self, db: duckdb.DuckDBPyConnection, folder: Path) -> None:
        self._db = db
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
        db.execute(_FINAL)
        if db.execute("SELECT 1 FROM final WHERE len(unsent) > 0 LIMIT 1").fetchone():
            db.execute(_EARLIER)
            db.execute(_FILL_IN)
        else:
            db.execute("CREATE TEMP VIEW filled AS SELECT oid, stretch, op, unsent, row FROM final")

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
                   coalesce(bool_or(len(unsent) > 0), false)
            FROM filled WHERE oid = $oid GROUP BY stretch
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
        columns = row_columns("row", len(relation.columns))
        query = f"""
            SELECT op, coalesce(array_to_string(unsent, ';'), '') AS unsent{columns}
            FROM filled WHERE oid = {relation.oid} AND stretch = {stretch}
        """  # noqa: S608 - numbers only
        write_csv(self._db, query, path)

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
