"""Schema changes: what the capture says of them, and what a replay carries out.

The wire form of the messages is in docs/FORMAT.md, "Schema changes".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from include.respaldo.model.snapshot import Snapshot

#: for so long a commit that has its time may be unseen, where only times tell (the server writes
#: its log in between, and waits for its standbys)
_UNSEEN = timedelta(seconds=1)


@dataclass(frozen=True)
class ObjectAddress:
    """An object as ``pg_identify_object_as_address`` names it."""

    #: "table", "table column", "function", "trigger", …
    type: str
    names: tuple[str, ...]
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class TouchedObject:
    """One object that a command made or changed, as it was when the command ended."""

    address: ObjectAddress
    #: quoted, for people: ``public."Orders"``
    identity: str
    schema: str | None
    #: the tag of the command that touched it: a part of the captured one may be another
    tag: str
    #: it was made by an extension's script
    in_extension: bool
    #: of its row in `catalog`; equal oids in two messages mean the same object
    oid: int
    #: name of the system catalog: ``pg_class``, ``pg_proc`` …
    catalog: str
    #: of its catalog entries (`respaldo.describe`); None: nothing to compare
    fingerprint: str | None

    def is_same(self, other: TouchedObject) -> bool:
        """Return whether it is the same object; its name may have changed."""
        return (self.catalog, self.oid) == (other.catalog, other.oid)


@dataclass(frozen=True)
class DroppedObject:
    """One object that a command dropped, temporary ones included."""

    address: ObjectAddress
    identity: str
    schema: str | None
    #: the command named it; else it went along with one that was named
    original: bool
    temporary: bool


@dataclass(frozen=True)
class MissingValue:
    """The value of a column in all rows that were there before it (``attmissingval``)."""

    schema: str
    table: str
    column: str
    #: PostgreSQL's text form; None: null
    value: str | None


class RewrittenRows(StrEnum):
    """Where the rows of a table that a command wrote anew are."""

    #: there are none
    NONE = "none"
    #: in the log, right behind the command: a truncate and inserts
    SENT = "sent"
    #: not in the log: too many
    NOT_SENT = "not sent"


@dataclass(frozen=True)
class Rewrite:
    """A table whose rows a command wrote anew."""

    schema: str
    table: str
    #: PostgreSQL's bit mask: 1 persistence, 2 default value, 4 column type, 8 access method
    reason: int
    rows: RewrittenRows


@dataclass(frozen=True)
class CreatedTable:
    """A table made from a query: made again from its columns, its rows are in the log."""

    schema: str
    table: str
    oid: int
    #: pg_class.relpersistence: p, u
    persistence: str
    #: name of its access method
    access_method: str
    #: None: the database's own
    tablespace: str | None
    #: pg_class.reloptions: ``fillfactor=70``
    options: tuple[str, ...]
    #: (name, type as SQL, collation as SQL or None where it is the type's own)
    columns: tuple[tuple[str, str, str | None], ...]


@dataclass(frozen=True)
class Caller:
    """Who ran a command, and under which settings."""

    #: current_user
    role: str
    #: session_user
    session: str
    #: all settings that change what a command means; ``search_path`` is one of them
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CapturedCommand:
    """One command as the event triggers saw it when it ended.

    What was dropped or written anew in it came in messages of their own before: they are joined.
    """

    tag: str
    #: the whole string that the client sent, of which the command may be a part; None: too long
    query: str | None
    #: PL/pgSQL's ``PG_CONTEXT`` without the capture's own lines; empty at the top level
    context: str
    caller: Caller
    #: statement_timestamp(): equal for all commands of one client's string
    statement_at: datetime
    objects: tuple[TouchedObject, ...]
    #: what it saw when it began; None: of a transaction with one for all, which is older
    snapshot: Snapshot | None = None
    dropped: tuple[DroppedObject, ...] = ()
    rewritten: tuple[Rewrite, ...] = ()
    missing_values: tuple[MissingValue, ...] = ()
    created: tuple[CreatedTable, ...] = ()
    #: of the function in SQL that ran it, which the context does not show; None: not known
    source: str | None = None
    #: what the capture could not do, in words
    problem: str | None = None

    @property
    def what(self) -> str:
        """Return it for people: ``ALTER TABLE public.orders``."""
        names = [o.identity for o in self.objects if not o.in_extension]
        names += [d.identity for d in self.dropped if d.original]
        return f"{self.tag} {names[0]}" if names else self.tag


@dataclass(frozen=True)
class FailedCapture:
    """The capture says that it failed, or a message is not one that it wrote."""

    tag: str
    error: str

    @property
    def what(self) -> str:
        return f"{self.tag} ({self.error})"


@dataclass(frozen=True)
class ReplayCommand:
    """One statement to run in the context in which the original ran."""

    sql: str
    what: str
    caller: Caller
    #: every role that the statement names, and the caller's
    roles: frozenset[str] = frozenset()
    #: statement_timestamp(): when it began; None: not known
    at: datetime | None = None
    #: what it saw when it began; None: not known
    snapshot: Snapshot | None = None
    #: to be compared after it ran; those with a fingerprint only
    expected: tuple[TouchedObject, ...] = ()
    gone: tuple[ObjectAddress, ...] = ()
    missing_values: tuple[MissingValue, ...] = ()
    #: oids of tables made from a query: their rows come before the command in the log
    created_oids: frozenset[int] = frozenset()
    #: tables that the command itself fills (an extension's script): emptied, then filled by the log
    refilled: tuple[tuple[str, str], ...] = ()
    #: materialized views, by (schema, name), that hold data from then on: computed at the end
    populates: tuple[tuple[str, str], ...] = ()
    #: materialized views, by (schema, name), that hold none from then on
    empties: tuple[tuple[str, str], ...] = ()

    def may_not_have_seen(self, xid: int, at: datetime) -> bool:
        """Return whether another transaction was committed while this ran, as far as is known.

        :param xid: its id, of 32 bits.
        :param at: the time of its commit, which is before anybody sees it.
        """
        if self.snapshot is None:
            return self.at is not None and at >= self.at - _UNSEEN
        return not self.snapshot.sees_xid32(xid) or (self.at is not None and at >= self.at)


@dataclass(frozen=True)
class NotReplayable:
    """A command that closes the recovery window until the next full backup, and why."""

    what: str
    reason: str


def statement_text(command: ReplayCommand, most: int = 200) -> str:
    """Return the statement in one line of at most `most` characters, for people."""
    line = " ".join(command.sql.split())
    return line if len(line) <= most else line[: most - 1] + "…"
