"""Running a captured statement as whoever ran it, under the settings that it ran under.

The text comes from a tenant, the session is a superuser's. ``SET ROLE`` and ``SET SESSION
AUTHORIZATION`` alone keep nobody in: a function that the statement calls (a new column's default, a
new constraint) could say ``RESET ROLE`` or ``RESET SESSION AUTHORIZATION``, which does nothing at
the source and makes it a superuser here. So the session's authorization becomes that of the
captured session, and the statement runs inside a function that is owned by the captured role and
is SECURITY DEFINER: in there PostgreSQL refuses to change role or authorization, however deep. It
has the rights that its role has on this server, no others. What it could leave in the session for
the superuser to step on is taken away or passed by: settings (RESET ALL), cursors and triggers that
run at the commit (run or closed before), prepared statements (none are used), temporary relations
with the names of catalogs (pg_temp comes last).

That does not make a tenant's code harmless on the whole. What a row's arrival runs (checks,
expressions of indexes and generated columns) runs as the loading role, as it does in pg_restore;
and a trigger that is enabled ALWAYS can put itself off to the commit again and again. Restore what
you do not trust to a server of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from include.respaldo.errors import LogDiverged
from include.respaldo.model.schema_change import Caller, ReplayCommand
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.quiet import replaying
from include.respaldo.postgres.standins import MARK

#: whatever was captured: limits of a customer's settings do not count; bodies may name temporary
#: tables that are gone; tablespaces are the database's own, as when the full backup was loaded
_FIXED = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "check_function_bodies": "off",
    "default_tablespace": "",
    "client_min_messages": "warning",
}
#: `replaying` sets the first, the caller is the others
_LEFT_OUT = frozenset({"session_replication_role", "role", "session_authorization"})
_RUN = sql.SQL("pg_temp.respaldo_run(pg_catalog.text)")
#: SQLSTATEs that say nothing about the statement: connection, rollback by the server, resources,
#: an operator, the system
_PASSING = ("08", "40", "53", "57", "58030", "XX")
_RIGHTS = "42501"
_NOT_INSTALLED = ("0A000", "58P01")


@dataclass(frozen=True)
class _Role:
    name: str
    is_superuser: bool
    stands_in: bool
    #: by the command; else it owns something in this database
    is_named: bool
    may_create: bool


class ReplayContext:
    """Runs statements in a database that is being restored, each in a transaction of its own.

    :param conn: a superuser's session, in autocommit.
    :param source: where the statements ran, for messages.
    """

    def __init__(self, conn: Session, source: str) -> None:
        assert conn.autocommit, "each command is committed before the next"
        conn.prepare_threshold = None  # a statement could put another one under the same name
        self.conn = conn
        self.source = source
        self._settings: dict[str, bool] = {}
        self._run_as: str | None = None

    def run(self, command: ReplayCommand) -> None:
        """Run the statement and commit it.

        :raises LogDiverged: it failed, though it succeeded at the source.
        """
        try:
            with replaying(self.conn), self._as_caller(command):
                # a parameter: nothing in the text is a placeholder
                self.conn.execute(
                    "SELECT pg_temp.respaldo_run(%s::pg_catalog.text)",
                    [command.sql],
                )
        except psycopg.Error as error:
            self._run_as = None  # what made the function was undone, if it was in here
            if not is_misfit(error):
                raise
            raise self._failed(command, error) from None

    def close(self) -> None:
        """Leave nothing of it in the session."""
        with replaying(self.conn):
            self.conn.execute(sql.SQL("DROP FUNCTION IF EXISTS {}").format(_RUN))
        self._run_as = None

    def use_settings(self, settings: tuple[tuple[str, str], ...]) -> None:
        """Set captured settings for the rest of the transaction."""
        wanted = dict(settings) | _FIXED
        for name in _LEFT_OUT:
            wanted.pop(name, None)
        unknown = [name for name in wanted if name not in self._settings]
        if unknown:
            here = self.conn.execute(
                "SELECT name FROM pg_catalog.pg_settings WHERE name = ANY (%s)", [unknown]
            ).fetchall()
            names = {name.lower() for (name,) in here}
            self._settings |= {name: name.lower() in names for name in unknown}
        known = [name for name in wanted if self._settings[name]]
        self.conn.execute(
            "SELECT pg_catalog.set_config(s.name, s.value, true)"
            " FROM unnest(%s::text[], %s::text[])"
            " AS s (name, value)",
            [known, [wanted[name] for name in known]],
        )

    @contextmanager
    def _as_caller(self, command: ReplayCommand) -> Iterator[None]:
        caller = command.caller
        roles = self._roles(command)
        for name in (caller.role, caller.session):
            if name not in roles or not roles[name].is_named:
                raise LogDiverged(
                    f"{command.what}: it was run by role {name!r}, which is not on this server",
                    hint="the role was there when the restore began; do not drop roles meanwhile",
                )
        self._be_owned_by(caller.role)
        with self._lent(roles, caller):
            self.use_settings(caller.settings)
            if caller.session != self.conn.info.user:
                self.conn.execute(
                    "SELECT pg_catalog.set_config('session_authorization', %s, true)",
                    [caller.session],
                )
            yield
            self.conn.execute("SET LOCAL SESSION AUTHORIZATION DEFAULT")
            # not only what was set here: what the statement has set would outlive the transaction
            self.conn.execute("RESET ALL")

    def _roles(self, command: ReplayCommand) -> dict[str, _Role]:
        names = command.roles | {command.caller.role, command.caller.session}
        parameters = {"names": list(names), "mark": MARK}
        with self.conn.cursor(row_factory=class_row(_Role)) as cursor:
            return {r.name: r for r in cursor.execute(query("replay_roles"), parameters)}

    def _be_owned_by(self, role: str) -> None:
        if self._run_as is None:
            self.conn.execute(sql.SQL("DROP FUNCTION IF EXISTS {}").format(_RUN))
            self.conn.execute(query("create_function_run"))
            # default privileges may have taken it away
            self.conn.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO PUBLIC").format(_RUN))
        if self._run_as != role:
            self.conn.execute(
                sql.SQL("ALTER FUNCTION {} OWNER TO {}").format(_RUN, sql.Identifier(role))
            )
            self._run_as = role

    @contextmanager
    def _lent(self, roles: dict[str, _Role], caller: Caller) -> Iterator[None]:
        """Lend what the caller had at the source and cannot have here yet, within the transaction.

        Privileges on the database come at the end of a restore. A stand-in is nobody's member, and
        nobody is a member of it: for the roles that the command names it is; and if it runs the
        command, of those that own something here too. Superusers' rights are never lent.
        """
        role = sql.Identifier(caller.role)
        pairs: list[tuple[sql.Composable, sql.Composable]] = []
        if not roles[caller.role].may_create:
            database = sql.Identifier(self.conn.info.dbname)
            pairs.append((sql.SQL("CREATE ON DATABASE {}").format(database), role))
        if not roles[caller.role].is_superuser:
            pairs.extend(
                (sql.Identifier(other.name), role)
                for other in roles.values()
                if other.name != caller.role
                and not other.is_superuser
                and not other.name.startswith("pg_")
                and (roles[caller.role].stands_in or (other.stands_in and other.is_named))
            )
        for what, to in pairs:
            self.conn.execute(sql.SQL("GRANT {} TO {}").format(what, to))
        yield
        for what, to in pairs:
            self.conn.execute(sql.SQL("REVOKE {} FROM {}").format(what, to))

    def _failed(self, command: ReplayCommand, error: psycopg.Error) -> LogDiverged:
        other = "choose a moment before it, or one after the next full backup"
        hint = other
        if error.sqlstate == _RIGHTS:
            hint = (
                f"give role {command.caller.role!r} the rights and memberships on this server that "
                f"it has on {self.source}; or {other}"
            )
        elif error.sqlstate in _NOT_INSTALLED:
            hint = f"install on this server what {self.source} has; or {other}"
        return LogDiverged(
            f"{command.what}: expected it to succeed as it did on {self.source}: "
            f"{without_values(error)}",
            hint=hint,
        )


def is_misfit(error: psycopg.Error) -> bool:
    """Return whether the error says that statement and database do not fit together."""
    return error.sqlstate is not None and not error.sqlstate.startswith(_PASSING)


def without_values(error: psycopg.Error) -> str:
    """Return the server's message; what it may quote of data is a customer's, and left out."""
    message = error.diag.message_primary or ""
    state = error.sqlstate or ""
    if state.startswith("P0"):  # raised by a customer's own code, in its own words
        return f"the database's own code raised an error ({state})"
    if state.startswith("22") or state == "42601":
        return re.sub(r'".*"', "…", message, flags=re.DOTALL)
    return message
