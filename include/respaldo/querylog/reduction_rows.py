"""Tables without a key: the net change of a multiset of whole rows."""

from __future__ import annotations

from pathlib import Path

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import RowsStretch
from include.respaldo.model.segment import RelationDefinition
from include.respaldo.querylog.csv_files import row_columns, write_csv

#: a new row's unchanged values are those of the old row, which such a table always sends whole
_CHANGES = """
CREATE TEMP VIEW row_changes AS
SELECT r.oid, l.kind, l.old,
       CASE WHEN l.unchanged IS NULL THEN l.new
            ELSE list_transform(l.new, lambda v, i:
                     CASE WHEN list_contains(l.unchanged, i - 1) THEN l.old[i] ELSE v END)
       END AS new
FROM replayed l JOIN relations r ON l.relation = r.relation
WHERE NOT r.is_keyed AND l.pos > r.truncated_at AND l.kind IN ('insert', 'update', 'delete')
"""

#: the rows of a table that was only inserted into are their own net effect
_NET = """
CREATE TEMP TABLE net_rows AS
SELECT oid, 1::HUGEINT AS copies, new AS row FROM row_changes WHERE oid NOT IN (FROM lossy)
UNION ALL
SELECT oid, sum(copies) AS copies, row
FROM (
    SELECT oid, 1 AS copies, new AS row FROM row_changes
    WHERE kind <> 'delete' AND oid IN (FROM lossy)
    UNION ALL
    SELECT oid, -1 AS copies, old AS row FROM row_changes
    WHERE kind <> 'insert' AND oid IN (FROM lossy)
)
GROUP BY oid, row HAVING sum(copies) <> 0
"""


class RowTables:
    """The tables of a log that have no key."""

    def __init__(self, db: duckdb.DuckDBPyConnection, folder: Path) -> None:
        self._db = db
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
        self._db.execute("""
            CREATE TEMP TABLE lossy AS SELECT DISTINCT oid FROM row_changes WHERE kind <> 'insert'
        """)
        self._db.execute(_NET)

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
        columns = row_columns("row", len(relation.columns))
        query = f"SELECT copies{columns} FROM net_rows WHERE oid = {relation.oid}"  # noqa: S608
        path = write_csv(self._db, query, self._folder / f"{relation.oid}-rows.csv")
        return (RowsStretch(path, removed, added),)
