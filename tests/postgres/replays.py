"""Replays written by hand: relations as the log would describe them, and their CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from include.respaldo.model.replay import KeyedStretch, MovesStretch, RowsStretch, TableReplay
from include.respaldo.model.segment import ColumnDefinition, RelationDefinition

Value = str | None

_COLUMNS = """
select a.attname::text, a.atttypid::bigint, a.atttypmod,
       case c.relreplident when 'f' then true else coalesce(a.attnum = any (i.indkey), false) end
  from pg_class c join pg_attribute a on a.attrelid = c.oid
  left join pg_index i on i.indrelid = c.oid
       and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident end
 where c.oid = %s and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
 order by a.attnum
"""


class Replays:
    """Writes replays of one database's tables into a folder."""

    def __init__(self, conn: psycopg.Connection[Any], folder: Path) -> None:
        self.conn = conn
        self.folder = folder
        self._numbers = count(1)

    def relation(self, name: str, schema: str = "public") -> RelationDefinition:
        """Return a table as pgoutput would describe it now."""
        found = self.conn.execute(
            "select c.oid::bigint, c.relreplident::text from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace where nspname = %s and relname = %s",
            (schema, name),
        ).fetchone()
        assert found is not None
        columns = self.conn.execute(_COLUMNS, (found[0],)).fetchall()
        return RelationDefinition(
            found[0], schema, name, found[1], tuple(ColumnDefinition(*c) for c in columns)
        )

    def csv(self, rows: Iterable[Sequence[Value]]) -> Path:
        path = self.folder / f"{next(self._numbers)}.csv"
        path.write_text("".join(",".join(map(_quoted, row)) + "\n" for row in rows))
        return path

    def keyed(self, *rows: tuple[str, str, *tuple[Value, ...]]) -> KeyedStretch:
        """Return the stretch of (operation, unsent positions, value …).

        Of a row that goes, the key's columns are those that are not null.
        """
        deleted = [[v for v in row[2:] if v is not None] for row in rows if row[0] == "d"]
        updated = [row[1:] for row in rows if row[0] == "u"]
        inserted = [row[2:] for row in rows if row[0] == "i"]
        return KeyedStretch(
            len(deleted),
            len(updated),
            len(inserted),
            *(self.csv(part) if part else None for part in (deleted, updated, inserted)),
            has_unsent=any(row[1] for row in rows),
        )

    def rows(self, *rows: tuple[int, *tuple[Value, ...]]) -> RowsStretch:
        """Return the stretch of (copies, value …); less than no copies are removed."""
        lessened = [(str(-row[0]), *row[1:]) for row in rows if row[0] < 0]
        inserted = [row[1:] for row in rows for _ in range(row[0])]
        return RowsStretch(
            -sum(row[0] for row in rows if row[0] < 0),
            len(inserted),
            self.csv(lessened) if lessened else None,
            self.csv(inserted) if inserted and inserted[0] else None,
        )

    def moves(self, *rows: tuple[str, *tuple[Value, ...]]) -> MovesStretch:
        """Return the stretch of (unsent positions, old value …, new value …)."""
        return MovesStretch(self.csv(rows), len(rows))

    def table(
        self,
        name: str,
        *stretches: KeyedStretch | MovesStretch | RowsStretch,
        truncate: bool = False,
        schema: str = "public",
    ) -> TableReplay:
        return TableReplay(self.relation(name, schema), truncate, stretches)


def _quoted(value: Value) -> str:
    return "" if value is None else '"' + value.replace('"', '""') + '"'
