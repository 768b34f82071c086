"""What a server and a database say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.rows import class_row, dict_row

from include.respaldo.errors import Busy, ConfigurationError
from include.respaldo.model.backup import DatabaseProperties, Extension
from include.respaldo.model.segment import DatabaseState
from include.respaldo.model.segment import Sequence as SequenceState
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query

#: seconds that reading the state may wait for a lock that a running migration holds
STATE_LOCK_LIMIT = 5
#: seconds that a query which names the tenants may take
TENANT_QUERY_LIMIT = 30


@dataclass(frozen=True)
class DatabaseListing:
    """A database of a server."""

    name: str
    oid: int
    #: bytes
    size: int
    #: made by a restore (its comment begins with ``respaldo:``), or being made: never a tenant
    is_restored_copy: bool
    allow_connections: bool
    is_template: bool

    @property
    def can_be_a_tenant(self) -> bool:
        return self.allow_connections and not self.is_template and not self.is_restored_copy


@dataclass(frozen=True)
class ServerIdentity:
    """Which cluster, and which database of it, this is."""

    system_identifier: str
    timeline: int
    database_oid: int
    server_version: str
    server_version_num: int


@dataclass(frozen=True)
class ServerSettings:
    """What `check` looks at."""

    wal_level: str
    #: megabytes; -1: a stopped archiver may fill the server's disk
    max_slot_wal_keep_size_mb: int
    max_replication_slots: int
    replication_slots_used: int
    max_wal_senders: int
    wal_senders_used: int
    encoding: str
    server_version: str
    server_version_num: int
    is_in_recovery: bool
    is_superuser: bool
    can_replicate: bool
    #: what may decode the log; None: the server does not restrict it
    output_plugins: str | None = None


def list_databases(conn: Session) -> list[DatabaseListing]:
    """Return every database of the server, templates too, by name."""
    with conn.cursor(row_factory=class_row(DatabaseListing)) as cursor:
        return cursor.execute(query("list_databases")).fetchall()


def tenants_by_pattern(
    conn: Session, pattern: str, exclude: Sequence[str] = ()
) -> list[DatabaseListing]:
    """Return the databases whose names match a shell pattern (``*``, ``?``, ``[a-z]``).

    :param exclude: names or patterns to leave out.
    """
    return [
        listing
        for listing in list_databases(conn)
        if listing.can_be_a_tenant
        and fnmatchcase(listing.name, pattern)
        and not any(listing.name == e or fnmatchcase(listing.name, e) for e in exclude)
    ]


def tenants_by_query(conn: Session, tenant_query: str) -> list[DatabaseListing]:
    """Return the databases that a query names, in its order; it runs read-only.

    :param tenant_query: gives one text column: names of databases of this server.
    :raises ConfigurationError: it fails, gives something else, or names what is not there.
    """
    try:
        with conn.transaction():
            conn.execute("set transaction read only")
            conn.execute('set local search_path to "$user", public')
            conn.execute(f"set local statement_timeout to {TENANT_QUERY_LIMIT * 1000}")
            # prepared: the protocol then takes one statement only, none that ends the transaction
            cursor = conn.execute(tenant_query.encode(), prepare=True)
            columns = cursor.description or []
            rows = cursor.fetchall() if columns else []
    except psycopg.Error as e:
        raise ConfigurationError(
            f"the query that names the tenants failed: {e.diag.message_primary or e}",
            hint="it is one SELECT that gives one text column, run read-only in the database of "
            "the server's connection",
        ) from None
    if len(columns) != 1 or any(not isinstance(row[0], str) for row in rows):
        raise ConfigurationError(
            "the query that names the tenants gives something else than one column of names",
            hint="select one text column, without nulls",
        )
    known = {listing.name: listing for listing in list_databases(conn)}
    names = list(dict.fromkeys(row[0] for row in rows))
    unknown = ", ".join(repr(name) for name in names if name not in known)
    if unknown:
        raise ConfigurationError(
            f"the query names databases that are not on the server: {unknown}",
            hint="correct the table it reads, or join it with pg_database",
        )
    return [known[name] for name in names if known[name].can_be_a_tenant]


def _one(conn: Session, name: str) -> dict[str, Any]:
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query(name)).fetchone()
    assert row is not None
    return row


def read_properties(conn: Session) -> DatabaseProperties:
    """Return what it takes to make the like of the session's database."""
    row = _one(conn, "database_properties")
    acl_is_default = row.pop("acl_is_default")
    row["acl"] = None if acl_is_default else tuple(row["acl"])
    row["settings"] = tuple((role, item) for role, item in row["settings"])
    row["extensions"] = tuple(Extension(*e) for e in row["extensions"])
    row["roles"] = tuple(row["roles"])
    return DatabaseProperties(
        **row,
        identities_set=identities_set(conn),
        index_columns=tuple(conn.execute(query("index_columns")).fetchall()),
        inherited_storage=tuple(conn.execute(query("inherited_storage")).fetchall()),
    )


def identities_set(conn: Session) -> tuple[tuple[str, str, str], ...]:
    """Return (schema, table, what it was) where Respaldo set the replica identity to FULL."""
    present = conn.execute("select to_regclass('respaldo.replica_identity') is not null").fetchone()
    if present is None or not present[0]:
        return ()
    rows = conn.execute(query("identities_set")).fetchall()
    return tuple((schema, name, _char(was)) for schema, name, was, _ in rows)


def _char(value: str | bytes) -> str:
    """Return a value of type "char", which psycopg reads as bytes where it is not ASCII text."""
    return value.decode() if isinstance(value, bytes) else value


def read_state(conn: Session) -> DatabaseState:
    """Return the state of sequences and large objects.

    Its time is read first: whatever happened before that is in it.

    :raises Busy: a running transaction has locked a sequence.
    """
    try:
        with conn.transaction():
            conn.execute(f"set local lock_timeout to {STATE_LOCK_LIMIT * 1000}")
            read_at = _clock(conn)
            sequences = conn.execute(query("sequence_states")).fetchall()
            large = conn.execute(query("large_object_state")).fetchone()
    except (pg.LockNotAvailable, pg.UndefinedTable, pg.InternalError_) as e:
        raise Busy(
            f"sequences of {conn.info.dbname!r} are being changed: {e.diag.message_primary}",
            hint="a running transaction creates, alters or drops one; try again after it",
        ) from None
    assert large is not None
    return DatabaseState(
        read_at=read_at,
        sequences=tuple(SequenceState(*row) for row in sequences),
        large_objects=large[0],
        large_object_writes=large[1],
    )


def _clock(conn: Session) -> datetime:
    row = conn.execute("select clock_timestamp()").fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


def read_identity(conn: Session) -> ServerIdentity:
    """Return which cluster and database the session is in."""
    return ServerIdentity(**_one(conn, "server_identity"))


def database_activity(conn: Session) -> dict[str, int]:
    """Return a counter per database that changes after rows were written (not when read).

    PostgreSQL's statistics lag behind by up to some seconds, and begin anew after a crash.
    """
    return {row[0]: row[1] for row in conn.execute(query("database_activity"))}


def server_settings(conn: Session) -> ServerSettings:
    """Return the settings on which archiving depends."""
    return ServerSettings(**_one(conn, "server_settings"))
