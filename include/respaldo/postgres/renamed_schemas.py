"""Rows that the log names by a schema's old name.

Renaming a schema waits for nobody who is changing rows in it, and nobody waits for it. So a
transaction may commit after the schema was renamed, and have named its tables by the old name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import SchemaReplay, TableReplay
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.counts import table_names, table_oid
from include.respaldo.postgres.queries import query


class RenamedSchemas:
    """Follows a replay; names each table as it is named when its rows come.

    :param conn: of its own: those that replay are at work on other tables meanwhile.
    """

    def __init__(self, conn: Session) -> None:
        self._conn = conn
        #: oid at the source -> oid in the restored database, of tables that had rows in the log
        self._known: dict[int, int] = {}
        #: (schema, name) that a table had before its schema was renamed -> its oid here
        self._before: dict[tuple[str, str], int] = {}

    def following(
        self, items: Iterable[TableReplay | SchemaReplay]
    ) -> Iterator[TableReplay | SchemaReplay]:
        """Pass the items on; a schema change is carried out before the next is asked for.

        :raises LogDiverged: a name may mean either of two tables.
        """
        for item in items:
            if isinstance(item, TableReplay):
                yield self._as_named_now(item)
            elif item.command.what.startswith("ALTER SCHEMA"):
                before = self._names()
                yield item
                now = self._names()
                self._before |= {
                    name: oid for oid, name in before.items() if now.get(oid, name) != name
                }
            else:
                yield item

    def _as_named_now(self, replay: TableReplay) -> TableReplay:
        relation = replay.relation
        named = relation.schema, relation.name
        oid = self._known.get(relation.oid) if self._before else None
        if oid is None:
            oid = self._one_named(named)
        if oid is None:
            return replay  # applying it says so
        self._known[relation.oid] = oid
        schema, name = table_names(self._conn, [oid]).get(oid, named) if self._before else named
        return replace(replay, relation=replace(relation, schema=schema, name=name))

    def _one_named(self, named: tuple[str, str]) -> int | None:
        now, before = table_oid(self._conn, named), self._before.get(named)
        if before is None:
            return now
        found = {oid for oid in (now, before) if oid is not None} - set(self._known.values())
        if len(found) > 1:
            raise LogDiverged(
                f"{'.'.join(named)}: its schema was renamed, and another has its name now; which "
                "of the two tables rows belong to cannot be told",
                hint="choose a moment before it, or one after the next full backup",
            )
        return found.pop() if found else now

    def _names(self) -> dict[int, tuple[str, str]]:
        rows = self._conn.execute(query("tables_by_name"))
        return {oid: (schema, name) for oid, schema, name in rows}
