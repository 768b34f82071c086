"""Materialized views of a database that is being restored.

Neither a dump nor the log holds their rows. So they are empty while commands are replayed (an index
made on rows of another moment could be refused), and all that held data at the target are computed
once at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from include.respaldo.model.schema_change import ReplayCommand
from include.respaldo.ports import Progress
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.quiet import replaying
from include.respaldo.postgres.replay_context import ReplayContext, is_misfit, without_values

#: where functions find their names that say none of where; as PostgreSQL has it by default
_USUAL_PATH = '"$user", public'


@dataclass(frozen=True)
class _View:
    oid: int
    schema: str
    name: str
    is_populated: bool
    owner_is_superuser: bool
    #: oids of materialized views
    uses: list[int]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class MaterializedViews:
    """Which materialized views hold data at the target.

    :param filled: (schema, name) of those that held some in the full backup; besides those that do.
    """

    def __init__(self, conn: Session, filled: Iterable[tuple[str, str]] = ()) -> None:
        self.conn = conn
        names = set(filled)
        #: oid here -> settings of whoever filled it last
        self._filled: dict[int, tuple[tuple[str, str], ...]] = {
            view.oid: ()
            for view in self._read()
            if view.is_populated or (view.schema, view.name) in names
        }

    def empty(self) -> None:
        """Take the rows out of all, until `refresh`."""
        with replaying(self.conn):
            for view in self._read():
                if view.is_populated:
                    self.conn.execute(
                        sql.SQL("REFRESH MATERIALIZED VIEW {} WITH NO DATA").format(view.identifier)
                    )

    def ran(self, command: ReplayCommand) -> None:
        """Remember what a command filled, or emptied."""
        if command.populates or command.empties:
            oids = {(v.schema, v.name): v.oid for v in self._read()}
            for name in command.empties:
                self._filled.pop(oids.get(name, 0), None)
            for name in command.populates:
                if name in oids:
                    self._filled[oids[name]] = command.caller.settings

    def refresh(self, context: ReplayContext, progress: Progress | None = None) -> tuple[str, ...]:
        """Compute all that hold data at the target, each after those that it is made of.

        What a view reads inside a function is not known: one that fails is tried again after the
        others.

        :return: those that could not be computed, in words; they are left without data.
        """
        self.empty()
        waiting = _in_order([v for v in self._read() if v.oid in self._filled])
        failed: dict[int, str] = {}
        while waiting:
            if progress:
                progress.step(f"computing {len(waiting)} materialized views")
            again = []
            for view in waiting:
                problem = self._refresh(context, view)
                if problem is not None:
                    again.append(view)
                    failed[view.oid] = problem
            if len(again) == len(waiting):
                break
            waiting = again
        return tuple(
            f"materialized view {view} could not be computed ({failed[view.oid]}): it is as it was "
            "defined, without data; REFRESH MATERIALIZED VIEW fills it"
            for view in waiting
        )

    def _refresh(self, context: ReplayContext, view: _View) -> str | None:
        """Compute it as its owner; return why not."""
        settings = dict(self._filled[view.oid])
        own_path = settings.pop("search_path", _USUAL_PATH)
        paths = ["pg_catalog"]
        if not view.owner_is_superuser:  # for a superuser, others could have put names into it
            paths.append(own_path)
        problem = None
        for path in paths:
            try:
                with replaying(self.conn):
                    context.use_settings((*settings.items(), ("search_path", path)))
                    self.conn.execute(
                        sql.SQL("REFRESH MATERIALIZED VIEW {}").format(view.identifier)
                    )
            except psycopg.Error as error:
                if not is_misfit(error):
                    raise
                problem = problem or without_values(error)
            else:
                return None
        return problem

    def _read(self) -> list[_View]:
        with self.conn.cursor(row_factory=class_row(_View)) as cursor:
            return cursor.execute(query("materialized_views")).fetchall()


def _in_order(views: list[_View]) -> list[_View]:
    """Return each after those that it is made of; a cycle cannot be."""
    by_oid = {view.oid: view for view in views}
    ordered: dict[int, _View] = {}

    def visit(view: _View) -> None:
        if view.oid not in ordered:
            for used in view.uses:
                if used in by_oid:
                    visit(by_oid[used])
            ordered[view.oid] = view

    for view in views:
        visit(view)
    return list(ordered.values())
