"""Tables with few changes: one query reads the rows of many of them.

A day of schema changes cuts a log into thousands of epochs; a query for each table in each would
read the same segments again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from include.respaldo.model.replay import KeyedStretch, MovesStretch, RowsStretch
from include.respaldo.querylog import touched
from include.respaldo.querylog.csv_files import csv_line
from include.respaldo.querylog.log_files import LogFiles
from include.respaldo.querylog.reduction_keyed import Counted, KeyedTables
from include.respaldo.querylog.reduction_rows import RowTables
from include.respaldo.querylog.touched import Touched

#: bytes of rows, on the average, that are read at once
_AT_ONCE = 16_000_000
#: characters that are kept before they are written
_KEPT = 8_000_000

_WANTED = """
SELECT n.t, n.stretch, n.op, n.pos, 0 AS copies, false AS of_old, u.positions AS unsent
FROM (FROM net WHERE t BETWEEN {first} AND {last} AND t IN (FROM small) AND (was OR "is")) n
LEFT JOIN still_unsent u ON u.t = n.t AND u.stretch = n.stretch AND u.pos = n.pos
UNION ALL
SELECT t, 0, 'r', "at" >> 1, copies, "at" & 1 = 1, NULL FROM net_rows
WHERE t BETWEEN {first} AND {last} AND t IN (FROM small)
"""

_WANTED_MOVES = """
UNION ALL
SELECT t, stretch, 'm', pos, 0, false, array_to_string(unsent, ';') FROM stretched
WHERE t BETWEEN {first} AND {last} AND t IN (FROM small) AND is_move
"""


class SmallTables:
    """The tables of a log with few changes, in the order in which they are asked for."""

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        files: LogFiles,
        folder: Path,
        tables: Sequence[Touched],
        keyed: KeyedTables,
        rows: RowTables,
    ) -> None:
        self._db, self._files, self._folder = db, files, folder
        self._tables, self._keyed, self._rows = tables, keyed, rows
        #: number of the table -> rows
        self._sizes: dict[int, int] = {}
        for table in tables:
            if table.is_keyed:
                size = sum(counted.rows for counted in keyed.counts.get(table.number, ()))
                if size <= touched.SMALL and table.number not in keyed.patched:
                    self._sizes[table.number] = size
            elif not table.is_plain:
                size = sum(rows.counts.get(table.number, (0, 0)))
                if size <= touched.SMALL:
                    self._sizes[table.number] = size
        self._most = max(
            touched.SMALL, min(8 * touched.SMALL, _AT_ONCE // max(1, files.largest_change))
        )
        self._ready = -1
        self._files_of: dict[tuple[int, int, str], _File] = {}
        db.execute("CREATE TEMP TABLE small (t INTEGER)")
        if self._sizes:
            db.execute("INSERT INTO small SELECT unnest(?)", [list(self._sizes)])

    def has(self, table: Touched) -> bool:
        """Return whether the table is one of them."""
        return table.number in self._sizes

    def stretches(self, table: Touched) -> list[KeyedStretch | MovesStretch | RowsStretch]:
        """Return what the table's CSV files hold, in the order to carry them out."""
        if not self._sizes[table.number]:
            return []
        if table.number > self._ready:
            self._prepare(table.number)
        if table.is_keyed:
            return [self._keyed_stretch(table, c) for c in self._keyed.counts[table.number]]
        removed, added = self._rows.counts[table.number]
        lessened, inserted = (self._path(table, 0, what) for what in ("r", "a"))
        return [RowsStretch(removed, added, lessened, inserted)]

    def _keyed_stretch(self, table: Touched, counted: Counted) -> KeyedStretch | MovesStretch:
        if counted.is_moves:
            path = self._path(table, counted.stretch, "m")
            assert path is not None
            return MovesStretch(path, counted.deletes)
        return KeyedStretch(
            counted.deletes,
            counted.updates,
            counted.inserts,
            deleted=self._path(table, counted.stretch, "d"),
            updated=self._path(table, counted.stretch, "u"),
            inserted=self._path(table, counted.stretch, "i"),
            has_unsent=counted.has_unsent,
        )

    def _path(self, table: Touched, stretch: int, what: str) -> Path | None:
        file = self._files_of.pop((table.number, stretch, what), None)
        return file.path if file else None

    def _prepare(self, first: int) -> None:
        """Write the files of so many tables, from `first` on, as can be read at once."""
        rows, last = 0, first
        for number in range(first, len(self._tables)):
            size = self._sizes.get(number, 0)
            if number > first and rows + size > self._most:
                break
            rows, last = rows + size, number
        self._ready = last
        wanted = _WANTED + (_WANTED_MOVES if self._keyed.has_moves else "")
        self._db.execute("DROP TABLE IF EXISTS wanted")
        self._db.execute(f"CREATE TEMP TABLE wanted AS {wanted.format(first=first, last=last)}")
        held = self._db.execute(
            "SELECT pos >> 40 AS n, min(pos - (n << 40)), max(pos - (n << 40)) FROM wanted"
            " GROUP BY ALL"
        ).fetchall()
        if not held:
            return
        # the numbers within a segment let its reader skip most of it
        low, high = min(seq for _, seq, _ in held), max(seq for _, _, seq in held)
        source = self._files.select((number for number, _, _ in held), (low, high))
        result = self._db.execute(f"""
            SELECT n.t, n.stretch, n.op, n.pos, n.copies, n.of_old, n.unsent,
                   l.old, l.new, l.unchanged
            FROM ({source}) l JOIN wanted n ON l.pos = n.pos
        """)  # noqa: S608 - numbers only
        while found := result.fetchmany(256):
            for row in found:
                self._take(*row)
            if sum(file.size for file in self._files_of.values()) > _KEPT:
                for file in self._files_of.values():
                    file.flush()
        for file in self._files_of.values():
            file.close()

    def _take(
        self, t: int, stretch: int, op: str, pos: int, copies: int, of_old: bool, *values: Any
    ) -> None:
        """Write one row to the file it belongs to."""
        unsent, old, new, unchanged = values
        table = self._tables[t]
        positions = table.definition.key_positions
        if op == "d":
            self._file(t, stretch, "d").write(pos, csv_line(old[p] for p in positions))
            return
        if op == "r":
            row = old if of_old else _whole(old, new, unchanged)
            if copies < 0:
                self._file(t, 0, "r").write(pos, csv_line([str(-copies), *row]))
            elif row:
                self._file(t, 0, "a").write(pos, csv_line(row) * copies)
            return
        keys = set(positions)
        row = [old[i] if v is None and i in keys else v for i, v in enumerate(new)]
        if op == "m":
            before = [v if i in keys else None for i, v in enumerate(old)]
            self._file(t, stretch, "m").write(pos, csv_line([unsent, *before, *row]))
        else:
            first = [unsent or ""] if op == "u" else []
            self._file(t, stretch, op).write(pos, csv_line(first + row))

    def _file(self, *key: Any) -> _File:
        if key not in self._files_of:
            t, stretch, what = key
            path = self._folder / f"{t}-{stretch}-{what}.csv"
            self._files_of[key] = _File(path, in_order=what == "m")
        return self._files_of[key]


class _File:
    """One CSV file; its rows come in any order."""

    def __init__(self, path: Path, *, in_order: bool) -> None:
        self.path = path
        #: characters that wait to be written
        self.size = 0
        self._in_order = in_order
        self._lines: list[tuple[int, str]] = []

    def write(self, pos: int, line: str) -> None:
        """Take one row, whose place in the log is `pos`."""
        self._lines.append((pos, line))
        if not self._in_order:
            self.size += len(line)

    def flush(self) -> None:
        """Write what need not wait for others, to be in order."""
        if not self._in_order:
            self._write()

    def close(self) -> None:
        """Write the rest."""
        self._lines.sort()
        self._write()

    def _write(self) -> None:
        if not self._lines:
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.writelines(line for _, line in self._lines)
        self._lines, self.size = [], 0


def _whole(
    old: list[str | None] | None, new: list[str | None], unchanged: list[int] | None
) -> list[str | None]:
    """Return the new row; where a value was not sent, the old row has it."""
    if not unchanged or old is None:
        return new
    return [old[i] if i in unchanged else v for i, v in enumerate(new)]
