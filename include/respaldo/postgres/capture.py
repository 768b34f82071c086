"""Preparing a database for its query log, in the one order that cannot break an application.

1. Event triggers: from now on no new table is left without a replica identity.
2. Replica identities of the tables that exist, each in a short transaction of its own.
3. Wait for transactions older than step 1, whose tables the event triggers did not see; 2 again.
4. The publication: from now on UPDATE fails on a table without replica identity. There is none.
5. The slot: from now on PostgreSQL keeps the log.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from psycopg import errors as pg
from psycopg import sql

from include.respaldo.errors import Busy, NotPrepared
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.ports import Progress
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.introspect import read_identity
from include.respaldo.postgres.preparation import (
    FORMER_TRIGGERS,
    FUNCTIONS,
    TRIGGERS,
    State,
    Table,
    functions_whole,
    read_preparation,
    tables_without_identity,
    version,
)
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.slot import create_slot, drop_slot, slot_name

#: an arbitrary number: two preparations of one database exclude each other
_ADVISORY_LOCK = 5_117_353_041_160_519


@dataclass(frozen=True)
class Prepared:
    """A database that is ready for archiving."""

    slot: str
    #: of the slot just made: every later commit can be read from it; None: it was there before
    consistent_point: Lsn | None
    #: read right after
    snapshot: Snapshot


@dataclass(frozen=True)
class _Limits:
    """Seconds to wait: for one lock, for all identities, for running transactions."""

    lock: float
    identities: float
    transactions: float


def prepare(
    conn: Session,
    *,
    lock_timeout: float = 0.5,
    identity_timeout: float = 60,
    slot_timeout: float = 60,
    progress: Progress | None = None,
) -> Prepared:
    """Make the session's database ready for archiving; does only what is missing.

    :param conn: an autocommit session of a superuser in that database.
    :param lock_timeout: seconds for which one attempt may hold up users of one table.
    :param identity_timeout: seconds for all tables together.
    :param slot_timeout: seconds to wait for transactions that write now, twice.
    :raises NotPrepared: something stands in the way that a person has to change.
    :raises Busy: a table or transaction was in use for too long; what was done stays done.
    """
    state = read_preparation(conn)
    if state.problems:
        raise NotPrepared(
            f"database {conn.info.dbname!r} cannot be prepared: "
            + "; ".join(p.what for p in state.problems),
            hint="; ".join(dict.fromkeys(p.hint for p in state.problems)),
        )
    _lock(conn)
    try:
        limits = _Limits(lock_timeout, identity_timeout, slot_timeout)
        return _prepare(conn, state, limits, progress)
    finally:
        if not conn.closed:
            conn.execute("select pg_advisory_unlock(%s)", (_ADVISORY_LOCK,))


def _prepare(
    conn: Session,
    state: State,
    limits: _Limits,
    progress: Progress | None,
) -> Prepared:
    def step(message: str) -> None:
        if progress is not None:
            progress.step(message)

    if state.slot is not None and state.broken is not None:
        step(f"dropping slot {state.slot_name}: {state.broken}")
        # first of all: with it gone, an interruption from here on cannot be taken for continuity
        drop_slot(conn, state.slot_name)
    if not state.capture:
        step("installing event triggers")
        _install(conn)
    deadline = time.monotonic() + limits.identities
    if tables_without_identity(conn):
        step("setting replica identities")
        _set_identities(conn, limits.lock, deadline)
    if not state.publication:
        step("waiting for transactions older than the event triggers")
        _await_older(conn, limits.transactions)
        _set_identities(conn, limits.lock, max(deadline, time.monotonic() + 10))
        step("creating the publication")
        with conn.transaction():
            _mark_internal(conn)
            if state.some_publication:
                conn.execute("drop publication respaldo")
            conn.execute(query("create_publication"))
    consistent_point = None
    if state.slot is None or state.broken is not None:
        step(f"creating slot {state.slot_name}")
        consistent_point = create_slot(conn, state.slot_name, timeout=limits.transactions)
    row = conn.execute("select pg_current_snapshot() :: text").fetchone()
    assert row is not None
    return Prepared(state.slot_name, consistent_point, Snapshot.parse(row[0]))


def _lock(conn: Session) -> None:
    row = conn.execute("select pg_try_advisory_lock(%s)", (_ADVISORY_LOCK,)).fetchone()
    if row is None or not row[0]:
        raise Busy(
            f"database {conn.info.dbname!r} is being prepared by somebody else",
            hint="let that end first",
        )


def _mark_internal(conn: Session) -> None:
    """Have this transaction's commands left out of the log; needs the installation.

    The application's own event triggers do not notice them either.
    """
    conn.execute(
        "select set_config('respaldo.internal', secret, true),"
        " set_config('session_replication_role', 'replica', true) from respaldo.installation"
    )


def read_secret(conn: Session) -> str:
    """Return what seals this database's captured messages; to be kept out of logs and messages.

    :raises NotPrepared: there is none, or it may not be read.
    """
    try:
        row = conn.execute("select secret from respaldo.installation").fetchone()
    except (pg.UndefinedTable, pg.InvalidSchemaName, pg.InsufficientPrivilege):
        row = None
    if row is None:
        raise NotPrepared(
            f"database {conn.info.dbname!r} has no capture of schema changes that can be read",
            hint="prepare it, as a superuser",
        )
    secret: str = row[0]
    return secret


def _install(conn: Session) -> None:
    """Install the event triggers, over what an earlier version has left.

    Functions that are no longer ours stay until `unprepare`: a command that began before may be
    about to call them, and would fail without.
    """
    with conn.transaction():
        # the application's own event triggers must not notice
        conn.execute("set local session_replication_role to replica")
        conn.execute(query("create_schema"))
        conn.execute(query("create_installation_table"))
        # it is not in what earlier versions have made
        conn.execute("alter table respaldo.installation add column if not exists functions text")
        conn.execute(query("record_installation"), {"version": version()})
        _mark_internal(conn)
        conn.execute(query("create_identity_table"))
        conn.execute("drop view if exists respaldo.tables_without_identity")
        conn.execute(
            sql.SQL("create view respaldo.tables_without_identity as {}").format(
                sql.SQL(query("tables_without_identity"))
            )
        )
        for name in FUNCTIONS:
            conn.execute(query(f"create_function_{name}"))
        # the triggers need no rights: they run as their owner
        conn.execute("revoke all on schema respaldo from public")
        conn.execute("revoke all on all tables in schema respaldo from public")
        conn.execute("revoke all on all functions in schema respaldo from public")
        for trigger in FORMER_TRIGGERS:
            conn.execute(sql.SQL("drop event trigger if exists {}").format(sql.Identifier(trigger)))
        for trigger, name in TRIGGERS.items():
            identifier = sql.Identifier(trigger)
            conn.execute(sql.SQL("drop event trigger if exists {}").format(identifier))
            conn.execute(query(f"create_trigger_{name}"))
            # also in sessions with session_replication_role = replica
            conn.execute(sql.SQL("alter event trigger {} enable always").format(identifier))
        conn.execute(query("record_functions"), {"functions": functions_whole(conn)})


def _set_identities(conn: Session, lock_timeout: float, deadline: float) -> None:
    """Set REPLICA IDENTITY FULL where it is needed, in rounds, until `deadline`."""
    pause = 0.1
    while left := [
        t for t in tables_without_identity(conn) if not _set_identity(conn, t, lock_timeout)
    ]:
        if time.monotonic() > deadline:
            raise Busy(
                f"tables of {conn.info.dbname!r} were in use all the time: "
                + ", ".join(map(str, left)),
                hint="try again at a quieter time, or end the transactions that hold them; "
                "what is done already stays done",
            )
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def _set_identity(conn: Session, table: Table, lock_timeout: float) -> bool:
    """Set REPLICA IDENTITY FULL; return False where the table was in use."""
    try:
        with conn.transaction():
            _limit_locks(conn, lock_timeout)
            _mark_internal(conn)
            conn.execute(
                sql.SQL("alter table only {} replica identity full").format(table.identifier)
            )
            conn.execute(query("remember_identity"), {"relation": table.relation, "was": table.was})
    except (pg.LockNotAvailable, pg.DeadlockDetected):
        return False
    except pg.UndefinedTable:
        return True  # dropped meanwhile
    return True


def _limit_locks(conn: Session, seconds: float) -> None:
    conn.execute("select set_config('lock_timeout', %s, true)", (f"{int(seconds * 1000)}ms",))


def _await_older(conn: Session, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while older := [row[0] for row in conn.execute(query("older_transactions"))]:
        if time.monotonic() > deadline:
            raise Busy(
                f"transactions that began before the event triggers of {conn.info.dbname!r} still "
                f"run: {', '.join(older)}",
                hint="end them, or try again later: what is done already stays done",
            )
        time.sleep(0.1)


def unprepare(conn: Session, *, lock_timeout: float = 0.5, timeout: float = 60) -> None:
    """Remove all that `prepare` has made, and give tables the identity back that they had.

    An index that was a table's identity and had gone already cannot be given back: such a table
    gets NOTHING, which means the same.

    :raises Busy: something was in use for too long; trying again goes on from there.
    """
    drop_slot(conn, slot_name(read_identity(conn).database_oid), terminate=True)
    conn.execute("drop publication if exists respaldo")
    for trigger in (*TRIGGERS, *FORMER_TRIGGERS):
        conn.execute(sql.SQL("drop event trigger if exists {}").format(sql.Identifier(trigger)))
    present = conn.execute("select to_regclass('respaldo.replica_identity') is not null").fetchone()
    if present and present[0]:
        _give_identities_back(conn, lock_timeout, time.monotonic() + timeout)
    _await_commands(conn, timeout)
    with conn.transaction():
        _limit_locks(conn, timeout)
        conn.execute("drop schema if exists respaldo cascade")


def _await_commands(conn: Session, timeout: float) -> None:
    """Wait for commands that may call our functions yet: they began with the event triggers."""
    row = conn.execute("select clock_timestamp()").fetchone()
    assert row is not None
    deadline = time.monotonic() + timeout
    while running := conn.execute(query("commands_before"), {"moment": row[0]}).fetchall():
        if time.monotonic() > deadline:
            raise Busy(
                f"commands that may still be recorded run in {conn.info.dbname!r}: "
                + ", ".join(name for (name,) in running),
                hint="let them end, and try again; what is done already stays done",
            )
        time.sleep(0.05)


def _give_identities_back(conn: Session, lock_timeout: float, deadline: float) -> None:
    while True:
        left = []
        for schema, name, was, relation in conn.execute(query("identities_set")).fetchall():
            identity = sql.SQL("default" if was in {"d", b"d"} else "nothing")
            try:
                with conn.transaction():
                    _limit_locks(conn, lock_timeout)
                    conn.execute(
                        sql.SQL("alter table only {} replica identity {}").format(
                            sql.Identifier(schema, name), identity
                        )
                    )
                    conn.execute(
                        "delete from respaldo.replica_identity where relation = %s", (relation,)
                    )
            except (pg.LockNotAvailable, pg.DeadlockDetected):
                left.append(f"{schema}.{name}")
            except pg.UndefinedTable:
                pass
        if not left:
            return
        if time.monotonic() > deadline:
            raise Busy(f"tables were in use all the time: {', '.join(left)}", hint="try again")
        time.sleep(0.5)
