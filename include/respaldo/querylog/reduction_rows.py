"""Tables without a key: the net change of a multiset of whole rows."""

from __future__ import annotations

from pathlib import Path

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import RowsStretch
from include.respaldo.model.segment import RelationDefinition
from include.respaldo.querylog.csv_files import row_columns, write_csv
from include.respaldo.querylog.log_files import LogFiles, literal
from include.respaldo.querylog.relations import relation_key

#: a new row's unchanged values are those of the old row, which such a table always sends whole
_WHOLE = """
SELECT l.relation, l.pos, l.kind, l.old,
       CASE WHEN l.unchanged IS NULL THEN l.new
            ELSE list_transform(l.new, lambda v, i:
                     CASE WHEN list_contains(l.unchanged, i - 1) THEN l.old[i] ELSE v END)
       END AS new
"""

#: rows are told apart by their values; long ones by their digest, so that none stays in memory
_DIGEST = """list_transform({row}, lambda v: CASE WHEN strlen(v) >= 64 THEN sha256(v) ELSE v END)"""

_CHANGES = f"""
CREATE TEMP TABLE row_changes AS
SELECT r.oid, c.pos, c.kind,
       {_DIGEST.format(row="c.old")} AS old, {_DIGEST.format(row="c.new")} AS new
FROM ({_WHOLE} FROM replayed l WHERE l.kind IN ('insert', 'update', 'delete')) c
JOIN relations r ON c.relation = r.relation
WHERE NOT r.is_keyed AND c.pos > r.truncated_at
"""  # noqa: S608 - parts of this module

#: the rows of a table that was only inserted into are their own net effect. An even `at` is the
#: new row of a change, an odd one its old row; `at >> 1` is its position in the log
_NET = """
CREATE TEMP TABLE net_rows AS
WITH lossy AS (SELECT DISTINCT oid FROM row_changes WHERE kind <> 'insert')
SELECT oid, 1::BIGINT AS copies, pos * 2 AS "at" FROM row_changes WHERE oid NOT IN (FROM lossy)
UNION ALL
SELECT oid, sum(copies)::BIGINT, max("at")
FROM (
    SELECT oid, 1 AS copies, pos * 2 AS "at", new AS row FROM row_changes
    WHERE kind <> 'delete' AND oid IN (FROM lossy)
    UNION ALL
    SELECT oid, -1 AS copies, pos * 2 + 1 AS "at", old AS row FROM row_changes
    WHERE kind <> 'insert' AND oid IN (FROM lossy)
)
GROUP BY oid, row HAVING sum(copies) <> 0
"""


class RowTables:
    """The tables of a log that have no key."""

    def __init__(self, db: duckdb.DuckDBPyConnection, files: LogFiles, folder: Path) -> None:
        self._db = db
        self._files = files
        self._folder = folder

    def reduce(self) -> None:
        """Compute the net effect on all of them.

        :raises LogDiverged: a change does not say what the row was before.
        """
        self._db.execute(_CHANGES)
        bad = self._db.execute(
            "SELECT oid FROM row_changes WHERE kind <> 'insert' AND old IS NULL LIMIT 1"
        ).fetchone()
        if bad is not None:
            raise LogDiverged(
                f"expected changes of table {bad[0]} to carry the whole old row, found one without",
                hint="its replica identity was not full; choose a moment before, or after the next "
                "full backup",
            )
        self._db.execute(_NET)
        self._db.execute("DROP TABLE row_changes")

    def stretches(self, relation: RelationDefinition) -> tuple[RowsStretch, ...]:
        """Write the table's CSV file; return what it holds, or nothing."""
        counted = self._db.execute(
            """
            SELECT coalesce(sum(-copies) FILTER (copies < 0), 0)::BIGINT,
                   coalesce(sum(copies) FILTER (copies > 0), 0)::BIGINT
            FROM net_rows WHERE oid = ?
            """,
            [relation.oid],
        ).fetchone()
        removed, added = counted or (0, 0)
        if not removed and not added:
            return ()
        holding = self._db.execute(
            'SELECT DISTINCT "at" >> 41 FROM net_rows WHERE oid = ?', [relation.oid]
        ).fetchall()
        columns = row_columns("row", len(relation.columns))
        query = f"""
            SELECT copies{columns}
            FROM (
                SELECT n.copies, CASE WHEN n."at" & 1 = 1 THEN c.old ELSE c.new END AS row
                FROM ({_WHOLE} FROM ({self._files.select(i for (i,) in holding)}) l
                      WHERE l.relation = {literal(relation_key(relation))}) c
                JOIN (FROM net_rows WHERE oid = {relation.oid}) n ON c.pos = n."at" >> 1
            )
        """  # noqa: S608 - numbers, and parts of this module
        path = write_csv(self._db, query, self._folder / f"{relation.oid}-rows.csv")
        return (RowsStretch(path, removed, added),)
