"""Changing a restored database without waking what its owner has attached to it.

Triggers, rules and foreign keys do not act on what replication applies
(``session_replication_role = replica``), but for those that are enabled ALWAYS or for REPLICA.
Their effects are in the log already: so those are disabled, and enabled again, in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query

_ENABLE = {"A": sql.SQL("ENABLE ALWAYS"), "R": sql.SQL("ENABLE REPLICA")}
_SET_CHECKS = "UPDATE pg_catalog.pg_class SET relchecks = %s WHERE oid = %s"
#: PostgreSQL checks a domain's values by constraints of type c only
_SET_TYPE = "UPDATE pg_catalog.pg_constraint SET contype = %s WHERE oid = ANY (%s::oid[])"
_EVENT_TRIGGER = "SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = %s"


@contextmanager
def replaying(conn: Session) -> Iterator[None]:
    """Run the block in a transaction (of its own, or a part of the caller's) as replication does.

    An error undoes what the block did, and leaves the caller's transaction usable.
    """
    if not conn.autocommit:
        conn.execute("SELECT")  # begins the caller's transaction: what follows is a part of it
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role TO replica")
        event_triggers = conn.execute(query("firing_event_triggers")).fetchall()
        change = sql.SQL("ALTER EVENT TRIGGER {} {}")
        for name, _ in event_triggers:
            conn.execute(change.format(sql.Identifier(name), sql.SQL("DISABLE")))
        yield
        for name, enabled in event_triggers:
            # its function may have been dropped in the block, and the trigger with it
            if conn.execute(_EVENT_TRIGGER, [name]).fetchone() is not None:
                conn.execute(change.format(sql.Identifier(name), _ENABLE[enabled]))
        conn.execute("SET LOCAL session_replication_role TO DEFAULT")


@contextmanager
def without_old_domain_checks(conn: Session) -> Iterator[None]:
    """Run the block, in the transaction that is open, without checks that values may be older than.

    A domain's check that was not validated (NOT VALID) holds for what is written after it; a row
    that is written again brings along what it had.
    """
    checks = [oid for (oid,) in conn.execute(query("unvalidated_domain_checks"))]
    if checks:
        conn.execute(_SET_TYPE, ["t", checks])
    yield
    if checks:
        conn.execute(_SET_TYPE, ["c", checks])


@contextmanager
def unattended(conn: Session, relation: int, table: sql.Identifier) -> Iterator[None]:
    """Run the block with the table's triggers, rules and check constraints off, all of them.

    A publication of the application's own refuses updates and deletes of a table that has no
    replica identity: there it is FULL for the block, as it was at the source. Rows that are older
    than a check constraint (NOT VALID) need not fulfil it, and a rewrite has sent them again.
    """
    checks = conn.execute(query("check_constraints"), {"relation": relation}).fetchone()
    if checks is not None:
        conn.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE").format(table))
        conn.execute(_SET_CHECKS, [0, relation])
    identity = conn.execute(query("replay_identity"), {"relation": relation}).fetchone()
    set_identity = sql.SQL("ALTER TABLE ONLY {} REPLICA IDENTITY {}")
    if identity is not None:
        conn.execute(set_identity.format(table, sql.SQL("FULL")))
    found = conn.execute(query("firing_triggers"), {"relation": relation}).fetchall()
    change = sql.SQL("ALTER TABLE ONLY {} {} {} {}")
    for kind, name, _ in found:
        thing = (sql.SQL("DISABLE"), sql.SQL(kind), sql.Identifier(name))
        conn.execute(change.format(table, *thing))
    yield
    for kind, name, enabled in found:
        thing = (_ENABLE[enabled], sql.SQL(kind), sql.Identifier(name))
        conn.execute(change.format(table, *thing))
    if identity is not None:
        # an index that served as the identity and is gone leaves none
        was = sql.SQL("DEFAULT" if identity[0] == "d" else "NOTHING")
        conn.execute(set_identity.format(table, was))
    if checks is not None:
        conn.execute(_SET_CHECKS, [checks[0], relation])
