"""The last state of each row of the tables with a key, step by step, in DuckDB's SQL.

An update that moves a row to another key is the end of the row at the old key and the start of one
at the new. Where it leaves out values (unchanged TOAST) that cannot be said so: such moves stand
between stretches, to be carried out one after the other.
"""

from __future__ import annotations


def _key_of(value: str) -> str:
    """Return the SQL of a row's key as one text; `value` makes the SQL of one column.

    The text of one column as it is, of several such that no two keys have the same.
    """
    one, two = value.format(p="r.p1"), value.format(p="r.p2")
    each = value.format(p="p")
    return f"""
        CASE len(r.key_positions)
        WHEN 1 THEN {one}
        WHEN 2 THEN strlen({one}) || ':' || {one} || {two}
        ELSE list_reduce(
            list_transform(r.key_positions, lambda p: strlen({each}) || ':' || {each}),
            lambda a, b: a || b)
        END
    """


_SENT = "CASE WHEN list_contains(l.unchanged, {p} - 1) THEN l.old[{p}] ELSE l.new[{p}] END"

#: the changes without their rows: keys, and which columns (from 0) were not sent. A key may itself
#: be an unchanged TOAST value: then the old key is always sent. The last two bits of `at` say what
#: happens at the key: the row ends (0), changes (1) or begins (2); `at >> 2` is the position
CHANGES = f"""
CREATE TEMP TABLE changes AS
SELECT r.t, l.pos, CASE l.kind WHEN 'insert' THEN 'i' WHEN 'update' THEN 'u' ELSE 'd' END AS kind,
       CASE WHEN l.old IS NOT NULL THEN {_key_of("l.old[{p}]")} END AS old_key,
       CASE WHEN l.new IS NULL THEN NULL
            WHEN l.unchanged IS NULL OR l.old IS NULL THEN {_key_of("l.new[{p}]")}
            ELSE {_key_of(_SENT)}
       END AS new_key,
       l.old IS NOT NULL AS has_old,
       CASE WHEN l.unchanged IS NOT NULL
            THEN list_filter(l.unchanged, lambda i: NOT list_contains(r.key_positions, i + 1))
       END AS unsent
FROM epoched l JOIN relations r ON l.relation = r.relation AND l.epoch = r.epoch
WHERE r.is_keyed AND l.pos > r.truncated_at AND l.kind IN ('insert', 'update', 'delete')
"""  # noqa: S608 - parts of this module

WITHOUT_KEY = """
SELECT t FROM changes
WHERE (kind = 'd' AND old_key IS NULL) OR (kind <> 'd' AND new_key IS NULL)
   OR (has_old AND old_key IS NULL)
LIMIT 1
"""

IS_MOVE = (
    "(kind = 'u' AND old_key IS NOT NULL AND old_key <> new_key AND coalesce(len(unsent), 0) > 0)"
)

WITHOUT_MOVES = """
CREATE TEMP VIEW stretched AS SELECT *, false AS is_move, 0 AS stretch FROM changes
"""

STRETCHES = f"""
CREATE TEMP TABLE stretched AS
WITH moving AS (SELECT DISTINCT t FROM changes WHERE {IS_MOVE}),
     marked AS (
         SELECT *, {IS_MOVE} AS is_move,
                lag({IS_MOVE}) OVER (PARTITION BY t ORDER BY pos) AS after_move
         FROM changes WHERE t IN (FROM moving)
     )
SELECT * EXCLUDE (after_move),
       sum((is_move IS DISTINCT FROM after_move)::INTEGER)
           OVER (PARTITION BY t ORDER BY pos)::INTEGER AS stretch
FROM marked
UNION ALL
SELECT *, false, 0 FROM changes WHERE t NOT IN (FROM moving)
"""  # noqa: S608 - parts of this module

EVENTS = """
CREATE TEMP VIEW events AS
SELECT t, stretch, pos << 2 AS "at", old_key AS key, NULL::INTEGER[] AS unsent
FROM stretched
WHERE NOT is_move AND (kind = 'd' OR (kind = 'u' AND old_key <> new_key))
UNION ALL
SELECT t, stretch, (pos << 2) | CASE WHEN kind = 'i' OR old_key <> new_key THEN 2 ELSE 1 END,
       new_key, unsent
FROM stretched
WHERE NOT is_move AND kind <> 'd'
"""

#: `pos` is that of the last event, `whole_pos` that of the last begin of the row
NET = """
CREATE TEMP TABLE net AS
SELECT t, stretch, key, last_at >> 2 AS pos, whole_at >> 2 AS whole_pos, was, "is", gained,
       CASE WHEN NOT was THEN 'i' WHEN NOT "is" THEN 'd' ELSE 'u' END AS op
FROM (
    SELECT t, stretch, key, (min("at") & 3) <> 2 AS was, (max("at") & 3) <> 0 AS "is",
           max("at") AS last_at, max("at") FILTER ("at" & 3 = 2) AS whole_at,
           sum(("at" & 3) - 1) FILTER ("at" & 3 <> 1) AS gained
    FROM events GROUP BY t, stretch, key
)
WHERE was OR "is" OR gained <> 0
"""

UNSOUND = """
SELECT t FROM net WHERE coalesce(gained, 0) <> "is"::INTEGER - was::INTEGER LIMIT 1
"""

#: the columns that the last change of a row did not send
UNSENT = """
CREATE TEMP TABLE last_unsent AS
SELECT n.t, n.stretch, n.key, n.pos, n.whole_pos, unnest(s.unsent) AS col
FROM net n JOIN (FROM stretched WHERE len(unsent) > 0) s ON s.t = n.t AND s.pos = n.pos
WHERE n."is"
"""

#: where an earlier change of the row did send them; none: the value in the table stays
EARLIER = """
CREATE TEMP TABLE earlier AS
SELECT u.t, u.stretch, u.pos AS last_pos, u.col, max(e."at") >> 2 AS pos
FROM last_unsent u JOIN events e ON e.t = u.t AND e.stretch = u.stretch AND e.key = u.key
WHERE e."at" & 3 <> 0 AND e."at" >> 2 < u.pos AND e."at" >> 2 >= coalesce(u.whole_pos, -1)
  AND (e.unsent IS NULL OR NOT list_contains(e.unsent, u.col))
GROUP BY u.t, u.stretch, u.pos, u.col
"""

STILL_UNSENT = """
CREATE TEMP TABLE still_unsent AS
SELECT u.t, u.stretch, u.pos, array_to_string(list(u.col ORDER BY u.col), ';') AS positions
FROM last_unsent u ANTI JOIN earlier e ON e.t = u.t AND e.last_pos = u.pos AND e.col = u.col
GROUP BY u.t, u.stretch, u.pos
"""

NOTHING_UNSENT = (
    "CREATE TEMP TABLE earlier (t INTEGER, stretch INTEGER, last_pos BIGINT, col INTEGER,"
    " pos BIGINT)",
    "CREATE TEMP TABLE still_unsent (t INTEGER, stretch INTEGER, pos BIGINT, positions VARCHAR)",
)

COUNTS = """
SELECT t, stretch, false AS is_moves, count(*) FILTER (op = 'd') AS first,
       count(*) FILTER (op = 'u') AS updates, count(*) FILTER (op = 'i') AS inserts
FROM net WHERE was OR "is" GROUP BY t, stretch
"""

COUNTS_OF_MOVES = """
SELECT t, stretch, true, count(*), 0, 0 FROM stretched WHERE is_move GROUP BY t, stretch
"""
