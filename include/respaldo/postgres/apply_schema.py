"""Carrying out captured schema changes on a database that is being restored.

Each command runs in the context in which it ran at the source, is committed, and is compared: what
it made must have the same catalog entries, what it dropped must be gone. Anything else means that
log and database do not fit together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import psycopg
from psycopg import sql

from include.respaldo.errors import LogDiverged
from include.respaldo.model.schema_change import (
    ObjectAddress,
    ReplayCommand,
    TouchedObject,
    statement_text,
)
from include.respaldo.model.segment import RelationDefinition
from include.respaldo.ports import Progress
from include.respaldo.postgres.chosen_names import ChosenNames
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.describe import fingerprint, install, same_definition
from include.respaldo.postgres.matviews import MaterializedViews
from include.respaldo.postgres.missing_values import set_missing_values, widths
from include.respaldo.postgres.overlapping import (
    Committed,
    Overlapping,
    without_default_privileges,
)
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.quiet import replaying, unattended
from include.respaldo.postgres.replay_context import ReplayContext, is_misfit, without_values
from include.respaldo.postgres.standins import missing_roles

#: (session, object) -> fingerprint of its catalog entries; None: there is no such object
Fingerprint = Callable[[Session, ObjectAddress], str | None]

#: these act on other databases of the server, or on other servers: never carried out here
_OUTWARD = (
    "DROP OWNED",
    "REASSIGN OWNED",
    "CREATE SUBSCRIPTION",
    "ALTER SUBSCRIPTION",
    "DROP SUBSCRIPTION",
    "IMPORT FOREIGN SCHEMA",
)
_UNLOGGED = re.compile(r"\bunlogged\b", re.IGNORECASE)
_ON_ALL = re.compile(
    r"\ball\s+(tables|sequences|functions|procedures|routines)\s+in\s+schema\b", re.IGNORECASE
)
#: what a table's sequences go along with
_ALONG = re.compile(r"\b(owner\s+to|set\s+(schema|logged|unlogged))\b", re.IGNORECASE)
_OWNED_BY = re.compile(r"\bowned\s+by\b", re.IGNORECASE)
#: kinds of objects that those are
_OF_ALL = {
    "tables": {"table", "view", "materialized view", "foreign table"},
    "sequences": {"sequence"},
    "functions": {"function", "aggregate"},
    "procedures": {"procedure"},
    "routines": {"function", "aggregate", "procedure"},
}
#: followed by a name: a constraint may have the words, too
_NO_CHILD = re.compile(
    r"\s*alter\s+(foreign\s+)?table\b.*\bno\s+inherit\s+(?!not\b|initially\b|deferrable\b)[^\s,;]",
    re.IGNORECASE | re.DOTALL,
)
#: begins a fingerprint that says why there is none
_NONE = "!"
#: kinds of objects of which columns may hold values
_WITH_VALUES = {"type", "composite type", "table", "foreign table"}
_MAY_HOLD_SECRETS = re.compile(r"passw|secret|user\s+mapping|\bserver\b|token", re.IGNORECASE)
#: class "syntax error or access rule violation" and the few others that say "there is no such …"
_ABSENT = ("42703", "42704", "42883", "42P01", "3F000", "3D000")
_OTHER_MOMENT = "choose a moment before it, or one after the next full backup"


def roles_of(commands: Iterable[ReplayCommand]) -> frozenset[str]:
    """Return every role that has to be there for these commands."""
    names = set[str]()
    for command in commands:
        names |= command.roles | {command.caller.role, command.caller.session}
    return frozenset(names)


def missing_roles_of(conn: Session, commands: Iterable[ReplayCommand]) -> tuple[str, ...]:
    """Return those that the server does not have; stand-ins do not count."""
    return missing_roles(conn, roles_of(commands))


class SchemaReplayer:
    """Runs captured commands one after the other, then computes the materialized views.

    :param conn: a superuser's session in the temporary database, in autocommit; stand-ins for all
        missing roles are there (`place_standins`) until `finish` has returned.
    :param source: the database that the log is of, for messages.
    :param compare: whether fingerprints can be compared: source and server are of one major
        version. Else it is only looked that objects are there.
    :param filled_views: (schema, name) of the materialized views that held data in the full backup.
    :param exact_rights: other owners or privileges than the source's refuse; else they are a note
        (on another server what belongs to PostgreSQL's own superuser may be of another name).
    """

    def __init__(
        self,
        conn: Session,
        *,
        source: str,
        compare: bool,
        filled_views: Iterable[tuple[str, str]] = (),
        exact_rights: bool = True,
        fingerprint: Fingerprint = fingerprint,
        progress: Progress | None = None,
    ) -> None:
        self.conn = conn
        self.source = source
        self._compare = compare
        self._exact_rights = exact_rights
        self._notes: list[str] = []
        self._fingerprint = fingerprint
        self._progress = progress
        self._context = ReplayContext(conn, source)
        self._overlapping = Overlapping(conn)
        self._names = ChosenNames(conn)
        self._views = MaterializedViews(conn, filled_views)
        self._sequences = self._sequence_files()
        self._has_begun = False
        with replaying(conn):
            install(conn)

    def run(self, command: ReplayCommand, committed: Committed | None = None) -> None:
        """Carry one command out, and commit it.

        :param committed: where it was committed at the source; None: nothing ran beside it.

        :raises LogDiverged: it failed, or its outcome is another than at the source.
        """
        if command.what.startswith(_OUTWARD):
            raise LogDiverged(
                f"{command.what}: it acts beyond this database, and is never replayed",
                hint=_OTHER_MOMENT,
            )
        if self._progress:
            self._progress.step(f"replaying {_shown(command)}")
        if not self._has_begun:
            self._views.empty()
            self._has_begun = True
        width = widths(self.conn, command.missing_values)
        is_overlapped = committed is not None and committed.is_overlapped
        before = self._overlapping.look() if is_overlapped else None
        if committed is not None:
            self._require_certain_objects(command, committed)
        made_before = self._names.look(command)
        self._run(command, committed)
        try:
            if made_before is not None:
                self._names.settle(command, made_before)
            set_missing_values(self.conn, command.missing_values, width)
            self._empty(command.refilled)
            if _UNLOGGED.search(command.sql):
                # its rows are no longer in the log: a later command must not stumble over them
                self._empty(self.conn.execute(query("unlogged_tables")).fetchall())
        except psycopg.Error as error:
            if not is_misfit(error):
                raise
            raise LogDiverged(
                f"{command.what}: its rows could not be made those of {self.source}: "
                f"{without_values(error)}",
                hint=_OTHER_MOMENT,
            ) from None
        self._views.ran(command)
        self._check(command, committed)
        if committed is not None and before is not None:
            self._overlapping.note(committed, command, before)

    def require_other_types(
        self, command: ReplayCommand, overtaken: Iterable[RelationDefinition]
    ) -> None:
        """Refuse a change of a type of which values were under way: what they are cannot be told.

        :param overtaken: tables with rows that were written before it, and committed after it, and
            after another change that hides it.
        """
        for table in overtaken:
            for touched in command.expected:
                if touched.address.type not in _WITH_VALUES:
                    continue
                where = {"schema": table.schema, "name": table.name, "type": touched.identity}
                found = self.conn.execute(query("has_values_of"), where).fetchone()
                if found is None or found[0]:
                    raise LogDiverged(
                        f"{command.what}: {table.schema}.{table.name} has values of it that were "
                        "written before, and committed after that",
                        hint=_OTHER_MOMENT,
                    )

    def _run(self, command: ReplayCommand, committed: Committed | None) -> None:
        try:
            self._context.run(command)
        except LogDiverged as error:
            if committed is None or not self._overlapping.has_renamed(committed, command):
                raise
            # what it names may have been renamed by others beside it, who committed first
            try:
                with self._overlapping.under_former_names(committed, command):
                    self._context.run(command)
            except psycopg.errors.UniqueViolation:
                raise error from None

    def finish(self) -> tuple[str, ...]:
        """Compute the materialized views; return what could not be computed, in words.

        Unlogged tables are empty, by contract: what became one on the way loses its rows.
        """
        self._empty(self.conn.execute(query("unlogged_tables")).fetchall())
        notes = self._views.refresh(self._context, self._progress)
        self._context.close()
        return (*dict.fromkeys(self._notes), *notes)

    @property
    def restarted(self) -> frozenset[int]:
        """Oids of the sequences that the commands so far have created or restarted."""
        now = self._sequence_files().items()
        return frozenset(oid for oid, file in now if self._sequences.get(oid) != file)

    def _sequence_files(self) -> dict[int, int]:
        return dict(self.conn.execute(query("sequence_files")).fetchall())

    def _empty(self, tables: Iterable[tuple[str, str]]) -> None:
        """Remove the rows that the command itself has put into tables: the log holds them."""
        for schema, name in tables:
            found = self.conn.execute(
                query("replay_table"), {"schema": schema, "name": name}
            ).fetchone()
            if found is None:
                continue  # made and dropped by it
            table = sql.Identifier(schema, name)
            with replaying(self.conn), unattended(self.conn, found[0], table):
                self.conn.execute(sql.SQL("DELETE FROM ONLY {}").format(table))

    def _require_certain_objects(self, command: ReplayCommand, committed: Committed) -> None:
        """Refuse what did more than its text names, while another changed what that was.

        A right on all objects of a schema while one more was made in it; a table's sequences while
        one was given to another table. (A new one locks the table that gets it, or waits for it.)
        """
        is_of_rights = command.what.startswith(("GRANT", "REVOKE"))
        on_all = _ON_ALL.search(command.sql) if is_of_rights else None
        takes_along = command.what.startswith("ALTER TABLE") and _ALONG.search(command.sql)
        if not (on_all or takes_along):
            return
        kinds = _OF_ALL[on_all[1].lower()] if on_all else set()
        for other in self._overlapping.beside(committed, command):
            is_given = _OWNED_BY.search(other.sql) and not other.what.startswith("CREATE SEQUENCE")
            if takes_along and is_given:
                raise LogDiverged(
                    f"{command.what}: {other.what} was run at the same time, and which sequences "
                    "went along with the table cannot be told",
                    hint=_OTHER_MOMENT,
                )
            for made in other.expected:
                # what an extension makes is not told one by one
                if kinds and (
                    made.address.type == "extension"
                    or (
                        made.tag.startswith(("CREATE", "SELECT"))
                        and made.address.type in kinds
                        and (made.schema or "") in command.sql
                    )
                ):
                    raise LogDiverged(
                        f"{command.what}: {made.identity} was made at the same time, and whether "
                        "it was among all that the command names cannot be told",
                        hint=_OTHER_MOMENT,
                    )

    def _check(self, command: ReplayCommand, committed: Committed | None) -> None:
        made = {touched.address for touched in command.expected}
        if self._compare and not command.expected and _NO_CHILD.match(command.sql):
            raise LogDiverged(
                f"{command.what}: a dump puts a child's inherited columns first, and how they were "
                "is not in the log (it ran with one snapshot for all)",
                hint=_OTHER_MOMENT,
            )
        for touched in command.expected:
            wanted = touched.fingerprint
            if not self._compare or wanted is None or wanted.startswith(_NONE):
                if self._is_there(touched.address) is False:
                    raise self._differs(command, f"{touched.identity} is not there")
                continue
            found = self._fingerprint(self.conn, touched.address)
            if found == wanted or self._is_explained(command, committed, touched, found):
                continue
            if found is None:
                raise self._differs(command, f"{touched.identity} is not there")
            if not same_definition(found, wanted):
                raise self._differs(command, f"{touched.address.type} {touched.identity} is other")
            what = f"owner or privileges of {touched.address.type} {touched.identity} are others"
            if self._exact_rights:
                raise self._differs(command, what)
            self._notes.append(f"{what} than on {self.source}")
        left = [a for a in command.gone if a not in made and self._is_there(a)]
        for address in left:
            if address.type == "table constraint":
                self._drop_foreign_key(*address.names)
        for address in left:
            if self._is_there(address):
                name = ".".join(address.names)
                raise self._differs(command, f"{address.type} {name} is still there")

    def _is_explained(
        self,
        command: ReplayCommand,
        committed: Committed | None,
        touched: TouchedObject,
        found: str | None,
    ) -> bool:
        """Return whether it is equal but for what others changed at the same time, or chosen names.

        A name that PostgreSQL chose otherwise is set right.
        """

        def is_equal() -> bool:
            return self._fingerprint(self.conn, touched.address) == touched.fingerprint

        is_new_table = touched.address.type == "table" and touched.tag.startswith("CREATE TABLE")
        if found is not None and is_new_table and self._names.of_indexes(touched, is_equal):
            return True
        if committed is None:
            return False
        if found is None:
            return self._overlapping.explains(committed, command, is_equal)
        beside = self._overlapping.beside(committed, command)
        if beside and command.what.startswith("COMMENT"):
            return True  # it changes no definition: another one is that of those
        if self._overlapping.explains(committed, command, is_equal):
            return True
        if (
            is_new_table
            and any(other.what.startswith("CREATE INDEX") for other in beside)
            and self._names.without_copied_index(touched, is_equal)
        ):
            return True
        # Types are changed without a lock: two transactions can do so at a time, where they change
        # different entries of the catalogs. What they leave together is the same in any order.
        if touched.catalog == "pg_type" and any(
            touched.is_same(o) for other in beside for o in other.expected
        ):
            return True
        return (
            same_definition(found, touched.fingerprint or "")
            and touched.tag.startswith("CREATE")
            and any(other.what.startswith("ALTER DEFAULT PRIVILEGES") for other in beside)
            and without_default_privileges(self.conn, touched, is_equal)
        )

    def _drop_foreign_key(self, schema: str, table: str, name: str) -> None:
        """Drop a foreign key that went along with the index it rested on.

        Where several unique indexes would do, a dump does not keep on which of them it rests.
        """
        try:
            with replaying(self.conn):
                self.conn.execute(
                    sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
                        sql.Identifier(schema, table), sql.Identifier(name)
                    )
                )
        except psycopg.Error as error:
            if not is_misfit(error):
                raise
            # a partition's goes with its parent's

    def _is_there(self, address: ObjectAddress) -> bool | None:
        """Return whether there is such an object; None: PostgreSQL has no way to tell."""
        try:
            self.conn.execute(
                "SELECT FROM pg_catalog.pg_get_object_address(%s, %s::text[], %s::text[])",
                [address.type, list(address.names), list(address.args)],
            )
        except psycopg.Error as error:
            if error.sqlstate in _ABSENT:
                return False
            if is_misfit(error):
                return None
            raise
        return True

    def _differs(self, command: ReplayCommand, what: str) -> LogDiverged:
        return LogDiverged(
            f"{command.what}: expected the outcome that it had on {self.source}, found that {what}",
            hint=_OTHER_MOMENT,
        )


def _shown(command: ReplayCommand) -> str:
    """Return the command for people; one that may hold a secret by its name only."""
    return command.what if _MAY_HOLD_SECRETS.search(command.sql) else statement_text(command)
