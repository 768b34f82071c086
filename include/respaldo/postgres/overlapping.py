"""What other transactions changed while a command ran at the source, and committed before its own.

A replay goes by commits, so it has carried those out when the command comes. What the command left
at the source did not show them yet: another name of a table that a foreign key refers to, a right
that was granted, default privileges. So a difference is looked at once more, as it would be without
them; then it is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from psycopg import sql

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.schema_change import ReplayCommand, TouchedObject
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.quiet import replaying

#: more commands that ran at the same time are not tried one by one
_MOST = 40
_UNDO = {
    "pg_class": sql.SQL(
        "UPDATE pg_catalog.pg_class SET relname = %(name)s, relnamespace = %(namespace)s,"
        " relacl = %(acl)s :: aclitem[] WHERE oid = %(oid)s"
    ),
    "pg_type": sql.SQL(
        "UPDATE pg_catalog.pg_type SET typname = %(name)s, typnamespace = %(namespace)s,"
        " typacl = %(acl)s :: aclitem[] WHERE oid = %(oid)s"
    ),
    "pg_proc": sql.SQL(
        "UPDATE pg_catalog.pg_proc SET proname = %(name)s, pronamespace = %(namespace)s,"
        " proacl = %(acl)s :: aclitem[] WHERE oid = %(oid)s"
    ),
    "pg_namespace": sql.SQL(
        "UPDATE pg_catalog.pg_namespace SET nspname = %(name)s, nspacl = %(acl)s :: aclitem[]"
        " WHERE oid = %(oid)s"
    ),
    "pg_attribute": sql.SQL(
        "UPDATE pg_catalog.pg_attribute SET attname = %(name)s, attacl = %(acl)s :: aclitem[]"
        " WHERE attrelid = %(oid)s AND attnum = %(number)s"
    ),
}
_INVALID = "UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = ANY (%s)"

#: (catalog, oid, number of a column or 0)
_Key = tuple[str, int, int]


@dataclass(frozen=True)
class Committed:
    """Where the transaction of a command was committed."""

    lsn: Lsn
    #: its 32-bit id
    xid: int
    at: datetime
    #: a later command of another transaction had begun by then
    is_overlapped: bool


@dataclass(frozen=True)
class _Entry:
    """What of a catalog entry others see, or may do with it."""

    catalog: str
    oid: int
    #: of a column
    number: int
    name: str
    namespace: int
    acl: str | None

    @property
    def key(self) -> _Key:
        return self.catalog, self.oid, self.number

    @property
    def full_name(self) -> tuple[int, str]:
        return self.namespace, self.name


@dataclass(frozen=True)
class _Change:
    committed: Committed
    command: ReplayCommand
    #: the entries that it changed, as they were
    before: tuple[_Entry, ...]
    #: oids of the relations that it made
    made: tuple[int, ...] = ()


class Overlapping:
    """Remembers what commands changed that others ran beside."""

    def __init__(self, conn: Session) -> None:
        self._conn = conn
        self._changes: list[_Change] = []

    def look(self) -> frozenset[_Entry]:
        """Return the entries as they are."""
        rows = self._conn.execute(query("catalog_entries")).fetchall()
        return frozenset(_Entry(*row) for row in rows)

    def note(self, committed: Committed, command: ReplayCommand, before: frozenset[_Entry]) -> None:
        """Remember what the command has changed since `look` returned `before`."""
        now = self.look()
        there, were = {e.key for e in now}, {e.key for e in before}
        changed = (e for e in before - now if e.key in there)
        made = (e.oid for e in now if e.catalog == "pg_class" and e.key not in were)
        self._changes.append(_Change(committed, command, tuple(changed), tuple(made)))

    def beside(self, committed: Committed, command: ReplayCommand) -> tuple[ReplayCommand, ...]:
        """Return the commands that were committed while this one ran, or after it."""
        return tuple(c.command for c in self._others(committed, command))

    def explains(
        self, committed: Committed, command: ReplayCommand, is_equal: Callable[[], bool]
    ) -> bool:
        """Return whether something is equal as it was before the last few of those commands.

        An index that was being made concurrently was not valid yet: no other is made beside.
        """
        others = [c for c in self._others(committed, command) if c.before or c.made][-_MOST:]
        for count in range(1, len(others) + 1):
            with replaying(self._conn), self._conn.transaction(force_rollback=True):
                try:
                    for change in reversed(others[-count:]):
                        self._conn.execute(_INVALID, [list(change.made)])
                        for entry in change.before:
                            self._conn.execute(_UNDO[entry.catalog], vars(entry))
                    if is_equal():
                        return True
                except psycopg.errors.UniqueViolation:
                    continue  # a name that is another's by now
        return False

    def has_renamed(self, committed: Committed, command: ReplayCommand) -> bool:
        """Return whether those commands gave anything another name, or schema."""
        return bool(self._former(committed, command))

    @contextmanager
    def under_former_names(self, committed: Committed, command: ReplayCommand) -> Iterator[None]:
        """Give what those commands have renamed its former name for the block, committed.

        :raises psycopg.errors.UniqueViolation: that is another's by now; nothing has changed.
        """
        former = self._former(committed, command)
        present = {e.key: e for e in self.look() if e.key in former}
        self._rename(former.values())
        try:
            yield
        finally:
            # the block may have renamed it, too, or dropped it
            now = {e.key: e for e in self.look() if e.key in former}
            kept = (key for key, entry in now.items() if entry.full_name == former[key].full_name)
            self._rename(present[key] for key in kept)

    def _former(self, committed: Committed, command: ReplayCommand) -> dict[_Key, _Entry]:
        """Return what those commands have renamed, as it was before the first of them."""
        found: dict[_Key, _Entry] = {}
        for change in self._others(committed, command):
            for entry in change.before:
                found.setdefault(entry.key, entry)
        now = {e.key: e.full_name for e in self.look()} if found else {}
        return {k: e for k, e in found.items() if now.get(k, e.full_name) != e.full_name}

    def _rename(self, entries: Iterable[_Entry]) -> None:
        """Give these their names; their rights stay."""
        rights = {e.key: e.acl for e in self.look()}
        with replaying(self._conn):
            for entry in entries:
                named = replace(entry, acl=rights[entry.key])
                self._conn.execute(_UNDO[entry.catalog], vars(named))

    def _others(self, committed: Committed, command: ReplayCommand) -> Iterator[_Change]:
        for change in self._changes:
            other = change.committed
            if other.lsn != committed.lsn and command.may_not_have_seen(other.xid, other.at):
                yield change


def without_default_privileges(
    conn: Session, touched: TouchedObject, is_equal: Callable[[], bool]
) -> bool:
    """Give a new object the rights that it has without default privileges, if it is equal then.

    :return: whether it is; else nothing has changed.
    """
    wanted = {
        "type": touched.address.type,
        "names": list(touched.address.names),
        "args": list(touched.address.args),
    }
    fits = False
    with replaying(conn), conn.transaction() as attempt:
        statements = conn.execute(query("rights_by_default"), wanted).fetchall()
        for (statement,) in statements:
            conn.execute(statement)
        fits = bool(statements) and is_equal()
        if not fits:
            raise psycopg.Rollback(attempt)
    return fits
