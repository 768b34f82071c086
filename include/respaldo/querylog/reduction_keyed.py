"""Tables with a key: their net effect, written to files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import KeyedStretch, MovesStretch
from include.respaldo.querylog import net_effect as net
from include.respaldo.querylog.csv_files import write_csv
from include.respaldo.querylog.log_files import LogFiles, literal
from include.respaldo.querylog.touched import Touched

#: rows of up to so many bytes are sorted by their keys before they are written
_SORTED = 4_096


@dataclass(frozen=True)
class Counted:
    """How much a stretch holds."""

    stretch: int
    is_moves: bool
    #: or moves
    deletes: int
    updates: int
    inserts: int
    has_unsent: bool

    @property
    def rows(self) -> int:
        return self.deletes + self.updates + self.inserts


class KeyedTables:
    """The tables of a log that have a key."""

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        files: LogFiles,
        folder: Path,
        tables: Sequence[Touched],
    ) -> None:
        self._db = db
        self._files = files
        self._folder = folder
        self._tables = tables
        #: some changes of keys are carried out one after the other
        self.has_moves = False
        #: number of the table -> its stretches, in order
        self.counts: dict[int, list[Counted]] = defaultdict(list)
        #: tables with values of more than one change of a row
        self.patched: set[int] = set()

    def reduce(self, has_any: bool) -> None:
        """Compute the net effect on all of them.

        :raises LogDiverged: the changes of a key cannot have followed one another.
        """
        db = self._db
        db.execute(net.CHANGES if has_any else f"{net.CHANGES} LIMIT 0")
        self._refuse(net.WITHOUT_KEY, "changes to carry the key of their row")
        has_unsent = self._has("unsent IS NOT NULL")
        self.has_moves = has_unsent and self._has(net.IS_MOVE)
        db.execute(net.STRETCHES if self.has_moves else net.WITHOUT_MOVES)
        db.execute(net.EVENTS)
        db.execute(net.NET)
        self._refuse(net.UNSOUND, "rows to be inserted where there is none, and else changed")
        for step in (
            (net.UNSENT, net.EARLIER, net.STILL_UNSENT) if has_unsent else net.NOTHING_UNSENT
        ):
            db.execute(step)
        unsent = set(db.execute("SELECT DISTINCT t, stretch FROM still_unsent").fetchall())
        counts = db.execute(net.COUNTS).fetchall()
        if self.has_moves:
            counts += db.execute(net.COUNTS_OF_MOVES).fetchall()
        for t, stretch, is_moves, deletes, updates, inserts in sorted(counts):
            has_unsent = (t, stretch) in unsent
            found = Counted(stretch, is_moves, deletes, updates, inserts, has_unsent)
            self.counts[t].append(found)
        self.patched = {t for (t,) in db.execute("SELECT DISTINCT t FROM earlier").fetchall()}
        for name in ("VIEW events", "TABLE IF EXISTS last_unsent", "TABLE changes"):
            db.execute(f"DROP {name}")

    def _has(self, condition: str) -> bool:
        found = self._db.execute(f"SELECT 1 FROM changes WHERE {condition} LIMIT 1")  # noqa: S608
        return found.fetchone() is not None

    def _refuse(self, query: str, expected: str) -> None:
        found = self._db.execute(query).fetchone()
        if found is not None:
            raise LogDiverged(
                f"expected {expected}, found otherwise in {self._tables[found[0]]}",
                hint="the log is not whole; choose a moment after the next full backup",
            )

    def stretches(self, table: Touched) -> list[KeyedStretch | MovesStretch]:
        """Write the table's CSV files; return what they hold, in the order to carry them out."""
        return [
            self._moves(table, counted) if counted.is_moves else self._states(table, counted)
            for counted in self.counts[table.number]
        ]

    def _states(self, table: Touched, counted: Counted) -> KeyedStretch:
        in_order = self._files.largest_change <= _SORTED
        return KeyedStretch(
            counted.deletes,
            counted.updates,
            counted.inserts,
            deleted=self._write_keys(table, counted.stretch) if counted.deletes else None,
            updated=self._write_rows(table, counted, "u", in_order) if counted.updates else None,
            inserted=self._write_rows(table, counted, "i", in_order) if counted.inserts else None,
            has_unsent=counted.has_unsent,
            in_key_order=in_order,
        )

    def _path(self, table: Touched, stretch: int, what: str) -> Path:
        return self._folder / f"{table.number}-{stretch}-{what}.csv"

    def _write_keys(self, table: Touched, stretch: int) -> Path:
        """Write the keys of the rows that go."""
        here = f"t = {table.number} AND stretch = {stretch} AND op = 'd'"
        path = self._path(table, stretch, "d")
        positions = table.definition.key_positions
        if len(positions) == 1:
            query = f"SELECT key FROM net WHERE {here} ORDER BY strlen(key), key"  # noqa: S608
        else:
            columns = [f"l.old[{p + 1}] AS c{p}" for p in positions]
            order = [f"strlen(c{p}), c{p}" for p in positions]
            query = f"""
                SELECT {", ".join(columns)}
                FROM ({self._rows(table, "net", here)}) l
                JOIN (FROM net WHERE {here}) n ON l.pos = n.pos
                ORDER BY {", ".join(order)}
            """  # noqa: S608 - numbers only
        return write_csv(self._db, query, path)

    def _write_rows(self, table: Touched, counted: Counted, op: str, in_order: bool) -> Path:
        """Write the rows straight from the segments: none of them waits in memory."""
        at = f"t = {table.number} AND stretch = {counted.stretch}"
        here = f"{at} AND op = '{op}'"
        carried: list[int] = []
        if table.number in self.patched:
            found = self._db.execute(
                f"SELECT DISTINCT col FROM earlier WHERE {at} ORDER BY col"  # noqa: S608
            )
            carried = [col for (col,) in found.fetchall()]
        positions = table.definition.key_positions
        columns = []
        if op == "u":
            columns.append("coalesce(u.positions, '')" if counted.has_unsent else "''")
        for i in range(len(table.definition.columns)):
            if i in positions:
                # the key's value is never null: where it is, it was not sent anew
                columns.append("n.key" if len(positions) == 1 else key_column(i))
            elif i in carried:
                columns.append(
                    f"CASE WHEN e{i}.pos IS NULL THEN l.new[{i + 1}] ELSE e{i}.value END"
                )
            else:
                columns.append(f"l.new[{i + 1}]")
        joins = ""
        if op == "u" and counted.has_unsent:
            joins = f"LEFT JOIN (FROM still_unsent WHERE {at}) u ON u.pos = n.pos"
        for i in carried:
            joins += f"""
                LEFT JOIN (SELECT e.last_pos, e.pos, l.new[{i + 1}] AS value
                           FROM (FROM earlier WHERE {at} AND col = {i}) e
                           JOIN ({self._rows(table, "earlier", at)}) l ON l.pos = e.pos) e{i}
                ON e{i}.last_pos = n.pos
            """  # noqa: S608 - numbers only
        order = ""
        if in_order and len(positions) == 1:
            order = "ORDER BY strlen(n.key), n.key"
        elif in_order:
            keys = [f"strlen({key_column(p)}), {key_column(p)}" for p in positions]
            order = f"ORDER BY {', '.join(keys)}"
        query = f"""
            SELECT {", ".join(f"{c} AS x{i}" for i, c in enumerate(columns))}
            FROM ({self._rows(table, "net", here)}) l
            JOIN (FROM net WHERE {here}) n ON l.pos = n.pos
            {joins} {order}
        """  # noqa: S608 - numbers only
        return write_csv(self._db, query, self._path(table, counted.stretch, op))

    def _rows(self, table: Touched, named_by: str, where: str) -> str:
        """Return the query of the table's rows in the segments that `named_by` points to."""
        found = self._db.execute(
            f"SELECT DISTINCT pos >> 40 FROM {named_by} WHERE {where}"  # noqa: S608
        ).fetchall()
        source = self._files.select((i for (i,) in found), table.within)
        return f"SELECT pos, old, new FROM ({source}) WHERE relation = {literal(table.key)}"  # noqa: S608

    def _moves(self, table: Touched, counted: Counted) -> MovesStretch:
        at = f"t = {table.number} AND stretch = {counted.stretch} AND is_move"
        positions = table.definition.key_positions
        columns = range(len(table.definition.columns))
        old = [f"l.old[{i + 1}] AS o{i}" if i in positions else f"NULL AS o{i}" for i in columns]
        new = [
            f"{key_column(i)} AS n{i}" if i in positions else f"l.new[{i + 1}] AS n{i}"
            for i in columns
        ]
        query = f"""
            SELECT array_to_string(s.unsent, ';') AS unsent, {", ".join(old + new)}
            FROM ({self._rows(table, "stretched", at)}) l
            JOIN (FROM stretched WHERE {at}) s ON l.pos = s.pos
            ORDER BY s.pos
        """  # noqa: S608 - numbers only
        path = self._path(table, counted.stretch, "m")
        return MovesStretch(write_csv(self._db, query, path), counted.deletes)


def key_column(position: int) -> str:
    """Return the SQL of a column of the key: where it was not sent anew, the old key has it."""
    return f"coalesce(l.new[{position + 1}], l.old[{position + 1}])"
