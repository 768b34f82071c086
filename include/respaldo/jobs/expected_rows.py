"""How many rows each table must have once the log is replayed, for `verify` to compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from include.respaldo.model.replay import (
    KeyedStretch,
    MovesStretch,
    RowsStretch,
    SchemaReplay,
    TableReplay,
)
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.counts import count_rows, table_names, table_oid

Table = tuple[str, str]


class ExpectedRows:
    """Follows a replay; counts each table once, before its first change.

    :param conn: of its own: those that replay are at work on other tables meanwhile.
    """

    def __init__(self, conn: Session) -> None:
        self._conn = conn
        #: by oid in the restored database: names change on the way
        self._rows: dict[int, int] = {}

    def following(
        self, items: Iterable[TableReplay | SchemaReplay]
    ) -> Iterator[TableReplay | SchemaReplay]:
        """Pass the items on; a schema change is carried out before the next is asked for."""
        for item in items:
            if isinstance(item, TableReplay):
                self._expect(item)
                yield item
            else:
                yield item
                for table in item.command.refilled:
                    oid = table_oid(self._conn, table)
                    if oid is not None:
                        self._rows[oid] = 0

    def _expect(self, replay: TableReplay) -> None:
        table = (replay.relation.schema, replay.relation.name)
        oid = table_oid(self._conn, table)
        if oid is None:
            return  # the replay itself says so
        if replay.truncate:
            before = 0
        elif oid in self._rows:
            before = self._rows[oid]
        else:
            before = count_rows(self._conn, [table])[table]
        self._rows[oid] = before + sum(map(_gained, replay.stretches))

    def tables(self) -> dict[Table, int]:
        """Return what is expected of the tables that are still there, and logged."""
        names = table_names(self._conn, self._rows)
        return {names[oid]: rows for oid, rows in self._rows.items() if oid in names}


def _gained(stretch: KeyedStretch | MovesStretch | RowsStretch) -> int:
    if isinstance(stretch, KeyedStretch):
        return stretch.inserts - stretch.deletes
    if isinstance(stretch, RowsStretch):
        return stretch.added - stretch.removed
    return 0
