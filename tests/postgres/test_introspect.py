"""What a server and a database say of themselves."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from embedded.postgres import PostgresServer
from include.respaldo.errors import Busy, ConfigurationError
from include.respaldo.model.segment import Sequence
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.introspect import (
    database_activity,
    list_databases,
    read_identity,
    read_properties,
    read_state,
    server_settings,
    tenants_by_pattern,
    tenants_by_query,
)


def test_restored_copies_and_templates_are_never_tenants(
    postgres: PostgresServer, database: str, session: psycopg.Connection, awkward: str
) -> None:
    restoring = f"respaldo_restoring_{database}"
    copy = f"{database}_restored"
    for name in (restoring, copy):
        postgres.execute(f"create database {name}")
    try:
        postgres.execute(f"comment on database {copy} is 'respaldo: made by a restore'")
        names = {d.name for d in tenants_by_pattern(session, "*")}
        assert {database, awkward} <= names
        assert not names & {restoring, copy, "template0", "template1"}
        assert tenants_by_pattern(session, f"{database}*", exclude=[database]) == []
        assert [d.name for d in tenants_by_pattern(session, "we?ird*")] == [awkward]
        found = tenants_by_query(session, f"values ('{database}'), ('{copy}'), ('{database}')")
        assert [d.name for d in found] == [database]
        assert {d.name for d in list_databases(session) if d.is_restored_copy} >= {restoring, copy}
    finally:
        for name in (restoring, copy):
            postgres.execute(f"drop database {name}")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select 'no such database'", "not on the server: 'no such database'"),
        ("select 1", "something else than one column"),
        ("select 'a', 'b'", "something else than one column"),
        ("select nothing from nowhere", "failed: relation"),
        ("create table public.t ()", "read-only"),
        ("commit; create table public.t ()", "multiple commands"),
    ],
)
def test_a_tenant_query_that_is_wrong_or_writes_is_refused(
    session: psycopg.Connection, query: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        tenants_by_query(session, query)


def test_properties_tell_how_to_make_the_like(
    postgres: PostgresServer, database: str, session: psycopg.Connection
) -> None:
    ident = sql.Identifier(database)
    for statement in (
        "comment on database {} is 'it''s mine'",
        "alter database {} set work_mem to '5MB'",
        'alter role postgres in database {} set search_path to public, "b c"',
        "alter database {} connection limit 7",
        "revoke connect on database {} from public",
    ):
        postgres.execute(sql.SQL(statement).format(ident))
    postgres.execute("create extension pg_trgm; create table t (a int)", database)
    postgres.execute("select lo_create(0)", database)
    found = read_properties(session)
    postgres.execute(sql.SQL("alter role postgres in database {} reset all").format(ident))
    assert (found.owner, found.encoding, found.ctype) == ("postgres", "UTF8", "C.UTF-8")
    assert found.comment == "it's mine"
    assert found.connection_limit == 7
    assert set(found.settings) == {("", "work_mem=5MB"), ("postgres", 'search_path=public, "b c"')}
    assert found.acl is not None
    assert "postgres=CTc/postgres" in found.acl
    assert "pg_trgm" in {e.name for e in found.extensions}
    assert (found.tables, found.large_objects) == (1, 1)
    assert found.size > 1_000_000


def test_the_state_holds_sequences_and_large_objects(
    postgres: PostgresServer, database: str, session: psycopg.Connection
) -> None:
    postgres.execute(
        "create sequence used increment 5; create sequence unused; create temp sequence passing",
        database,
    )
    postgres.execute("select nextval('used') from generate_series(1, 3)", database)
    before = read_state(session)
    assert before.sequences == (
        Sequence("public", "unused", None),
        Sequence("public", "used", 11, 5),
    )
    with postgres.connect(database) as conn:
        conn.execute("select lo_from_bytea(0, 'x')")
        conn.execute("select pg_stat_force_next_flush()")
        conn.execute("select 1")
    after = read_state(session)
    assert after.large_objects == before.large_objects + 1
    assert after.large_object_writes > before.large_object_writes
    assert after.read_at > before.read_at


def test_a_locked_sequence_is_a_passing_fault(
    postgres: PostgresServer, database: str, session: psycopg.Connection, monkeypatch
) -> None:
    monkeypatch.setattr("include.respaldo.postgres.introspect.STATE_LOCK_LIMIT", 0.1)
    postgres.execute("create sequence s", database)
    with postgres.connect(database) as conn, conn.transaction():
        conn.execute("drop sequence s")
        with pytest.raises(Busy, match="sequences"):
            read_state(session)


def test_identity_and_settings(
    postgres: PostgresServer, database: str, session: psycopg.Connection
) -> None:
    found = read_identity(session)
    assert found.timeline == 1
    assert found.system_identifier.isdecimal()
    assert found.database_oid == next(d.oid for d in list_databases(session) if d.name == database)
    with connect(postgres.connection()) as other:
        assert read_identity(other).system_identifier == found.system_identifier
    settings = server_settings(session)
    assert (settings.wal_level, settings.max_slot_wal_keep_size_mb) == ("logical", 2048)
    assert settings.is_superuser
    assert not settings.is_in_recovery


def test_activity_counts_rows_written_and_not_our_own_looks(
    postgres: PostgresServer, database: str
) -> None:
    with connect(postgres.connection()) as conn, postgres.connect(database) as writer:

        def flushed() -> int:
            writer.execute("select pg_stat_force_next_flush()")
            writer.execute("select 1")
            return database_activity(conn)[database]

        writer.execute("create table t (a int)")
        before = flushed()
        assert flushed() == before
        writer.execute("insert into t values (1)")
        assert flushed() > before
