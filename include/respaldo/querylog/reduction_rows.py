"""Tables without a key: the net change of a multiset of whole rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import RowsStretch
from include.respaldo.querylog.csv_files import write_csv
from include.respaldo.querylog.log_files import LogFiles, literal
from include.respaldo.querylog.touched import Touched

#: a new row's unchanged values are those of the old row, which such a table always sends whole
_NEW = """
CASE WHEN l.unchanged IS NULL THEN l.new
     ELSE list_transform(l.new, lambda v, i:
              CASE WHEN list_contains(l.unchanged, i - 1) THEN l.old[i] ELSE v END)
END
"""

#: rows are told apart by their values; long ones by their digest, so that none stays in memory
_DIGEST = """list_transform({row}, lambda v: CASE WHEN strlen(v) >= 64 THEN sha256(v) ELSE v END)"""

_CHANGES = f"""
CREATE TEMP TABLE row_changes AS
SELECT r.t, l.pos, l.kind, {_DIGEST.format(row="l.old")} AS old, {_DIGEST.format(row=_NEW)} AS new
FROM epoched l JOIN relations r ON l.relation = r.relation AND l.epoch = r.epoch
WHERE NOT r.is_keyed AND NOT r.is_plain AND l.pos > r.truncated_at
      AND l.kind IN ('insert', 'update', 'delete')
"""  # noqa: S608 - parts of this module

#: the rows of a table that was only inserted into are their own net effect. An even `at` is the
#: new row of a change, an odd one its old row; `at >> 1` is its position in the log
_NET = """
CREATE TEMP TABLE net_rows AS
WITH lossy AS (SELECT DISTINCT t FROM row_changes WHERE kind <> 'insert')
SELECT t, 1::BIGINT AS copies, pos * 2 AS "at" FROM row_changes WHERE t NOT IN (FROM lossy)
UNION ALL
SELECT t, sum(copies)::BIGINT, max("at")
FROM (
    SELECT t, 1 AS copies, pos * 2 AS "at", new AS row FROM row_changes
    WHERE kind <> 'delete' AND t IN (FROM lossy)
    UNION ALL
    SELECT t, -1 AS copies, pos * 2 + 1 AS "at", old AS row FROM row_changes
    WHERE kind <> 'insert' AND t IN (FROM lossy)
)
GROUP BY t, row HAVING sum(copies) <> 0
"""

_COUNTS = """
SELECT t, coalesce(sum(-copies) FILTER (copies < 0), 0)::BIGINT,
       coalesce(sum(copies) FILTER (copies > 0), 0)::BIGINT
FROM net_rows GROUP BY t
"""


class RowTables:
    """The tables of a log that have no key."""

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        files: LogFiles,
        folder: Path,
        tables: Sequence[Touched],
        replayed: str,
    ) -> None:
        self._db = db
        self._files = files
        self._folder = folder
        self._tables = tables
        #: the condition on the log's rows
        self._replayed = replayed
        #: number of the table -> copies removed, copies added
        self.counts: dict[int, tuple[int, int]] = {}

    def reduce(self, has_any: bool) -> None:
        """Compute the net effect on all of them that were not only inserted into.

        :raises LogDiverged: a change does not say what the row was before.
        """
        self._db.execute(_CHANGES if has_any else f"{_CHANGES} LIMIT 0")
        bad = self._db.execute(
            "SELECT t FROM row_changes WHERE kind <> 'insert' AND old IS NULL LIMIT 1"
        ).fetchone()
        if bad is not None:
            raise LogDiverged(
                f"expected changes of {self._tables[bad[0]]} to carry the whole old row, "
                "found one without",
                hint="its replica identity was not full; choose a moment before, or after the next "
                "full backup",
            )
        self._db.execute(_NET)
        self._db.execute("DROP TABLE row_changes")
        found = self._db.execute(_COUNTS).fetchall()
        self.counts = {t: (removed, added) for t, removed, added in found}

    def stretches(self, table: Touched) -> list[RowsStretch]:
        """Write the table's CSV files; return what they hold, or nothing."""
        if table.is_plain:
            inserted = self._write_plain(table) if table.definition.columns else None
            return [RowsStretch(0, table.inserts, None, inserted)]
        removed, added = self.counts.get(table.number, (0, 0))
        if not removed and not added:
            return []
        lessened = self._write(table, "lessened", "copies < 0") if removed else None
        inserted = None
        if added and table.definition.columns:
            inserted = self._write(table, "inserted", "copies > 0")
        return [RowsStretch(removed, added, lessened, inserted)]

    def _write_plain(self, table: Touched) -> Path:
        columns = ", ".join(f"l.new[{i + 1}] AS c{i}" for i in range(len(table.definition.columns)))
        # an epoch's rows of a table stand together: none of another epoch is between them
        holding = range(table.first >> 40, (table.last >> 40) + 1)
        query = f"""
            SELECT {columns} FROM ({self._files.select(holding, table.within)}) l
            WHERE relation = {literal(table.key)} AND pos BETWEEN {table.first} AND {table.last}
                  AND {self._replayed}
        """  # noqa: S608 - the key is quoted
        return write_csv(self._db, query, self._folder / f"{table.number}-plain.csv")

    def _write(self, table: Touched, what: str, which: str) -> Path:
        """Write the rows straight from the segments: none of them waits in memory."""
        here = f"t = {table.number} AND {which}"
        holding = self._db.execute(
            f'SELECT DISTINCT "at" >> 41 FROM net_rows WHERE {here}'  # noqa: S608
        ).fetchall()
        source = self._files.select((i for (i,) in holding), table.within)
        columns = [f"row[{i + 1}] AS c{i}" for i in range(len(table.definition.columns))]
        first = "-copies AS copies"
        if what == "inserted":
            first = "unnest(range(copies)) AS copy"
        query = f"""
            SELECT {", ".join([first, *columns])}
            FROM (
                SELECT n.copies, CASE WHEN n."at" & 1 = 1 THEN l.old ELSE {_NEW} END AS row
                FROM (FROM ({source})
                      WHERE relation = {literal(table.key)}) l
                JOIN (FROM net_rows WHERE {here}) n ON l.pos = n."at" >> 1
            )
        """  # noqa: S608 - numbers, and parts of this module
        if what == "inserted":
            query = f"SELECT * EXCLUDE (copy) FROM ({query})"  # noqa: S608
        return write_csv(self._db, query, self._folder / f"{table.number}-{what}.csv")
