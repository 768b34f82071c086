"""Preparing a database never breaks the application that runs in it."""

from __future__ import annotations

import threading

import psycopg
import pytest

from embedded.postgres import PostgresServer
from include.respaldo.errors import Busy, NotPrepared
from include.respaldo.model.schema_change import FailedCapture, Rewrite, RewrittenRows
from include.respaldo.postgres.capture import prepare, unprepare
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.introspect import identities_set
from include.respaldo.postgres.preparation import examine
from include.respaldo.postgres.slot import list_slots
from tests.conftest import drop_database
from tests.postgres.captured import commands, messages

CATALOGS = ("pg_class", "pg_proc", "pg_event_trigger", "pg_publication", "pg_namespace", "pg_index")


def fingerprint(conn: psycopg.Connection) -> list[tuple]:
    """Everything that preparing could change, with row versions."""
    found = [
        row
        for catalog in CATALOGS
        for row in conn.execute(
            f"select '{catalog}', oid, xmin from pg_catalog.{catalog} order by oid"
            if catalog != "pg_index"
            else "select 'pg_index', indexrelid, xmin from pg_index order by 2"
        )
    ]
    return [*found, *conn.execute("select slot_name from pg_replication_slots order by 1")]


def identity(conn: psycopg.Connection, table: str) -> str:
    return conn.execute(
        "select relreplident::text from pg_catalog.pg_class where oid = %s::regclass", (table,)
    ).fetchone()[0]


def test_a_dry_run_changes_nothing_and_names_every_step(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create table log (line text)")
    app.execute("create table silent (line text); alter table silent replica identity nothing")
    before = fingerprint(session)
    preparation = examine(session)
    assert fingerprint(session) == before
    assert preparation.problems == ()
    assert [(s.kind, s.done) for s in preparation.steps] == [
        ("capture", False),
        ("replica_identity", False),
        ("replica_identity", False),
        ("publication", False),
        ("slot", False),
    ]
    assert "public.log (it has no primary key)" in preparation.steps[1].what


def test_preparing_twice_changes_nothing(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create table log (line text)")
    first = prepare(session)
    assert first.consistent_point is not None
    assert examine(session).is_complete
    before = fingerprint(session)
    second = prepare(session)
    assert second.consistent_point is None
    assert second.slot == first.slot
    assert fingerprint(session) == before
    assert identities_set(session) == (("public", "log", "d"),)


def test_an_awkward_name_is_prepared_like_any_other(postgres: PostgresServer, awkward: str) -> None:
    with connect(postgres.connection(), awkward) as conn:
        postgres.execute('create table "ta""ble; --" (a int)', awkward)
        prepared = prepare(conn)
        assert list_slots(conn)[prepared.slot].database == awkward
        assert examine(conn).is_complete
        assert identities_set(conn) == (("public", 'ta"ble; --', "d"),)
        unprepare(conn)
        assert prepared.slot not in list_slots(conn)


def test_writers_on_a_table_without_key_never_fail_while_it_is_prepared(
    postgres: PostgresServer, database: str, session: psycopg.Connection
) -> None:
    postgres.execute(
        "create table log (n int); insert into log select generate_series(1, 8)", database
    )
    stop = threading.Event()
    failures: list[psycopg.Error] = []
    done = [0] * 4

    def write(me: int) -> None:
        try:
            with postgres.connect(database) as conn:
                while not stop.is_set():
                    with conn.transaction():
                        conn.execute("insert into log values (%s)", (me,))
                        conn.execute("update log set n = n where n = %s", (me,))
                        conn.execute(f"create table fresh_{me} (a int)")
                        conn.execute(f"insert into fresh_{me} values (1)")
                        conn.execute(f"update fresh_{me} set a = 2")
                        conn.execute(f"drop table fresh_{me}")
                    done[me] += 1
        except psycopg.Error as e:
            failures.append(e)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    try:
        prepare(session)
        at_once = list(done)
        while not failures and any(now < then + 3 for now, then in zip(done, at_once, strict=True)):
            stop.wait(0.01)
        unprepare(session)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_transaction_older_than_the_event_triggers_is_waited_for(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    with app.transaction():
        app.execute("create table early (a int)")
        with pytest.raises(Busy, match="before the event triggers"):
            prepare(session, slot_timeout=0.3)
        assert [s.kind for s in examine(session).steps if not s.done] == ["publication", "slot"]
    prepare(session)
    assert identity(session, "public.early") == "f"
    app.execute("insert into early values (1); update early set a = 2")


def test_a_slot_that_is_not_ready_in_time_leaves_nothing_behind(
    postgres: PostgresServer, session: psycopg.Connection, database: str
) -> None:
    with postgres.connect() as other, other.transaction():
        other.execute("select pg_current_xact_id()")  # a writer in another database
        with pytest.raises(Busy, match="write transactions still run: process"):
            prepare(session, slot_timeout=0.5)
        assert [s.kind for s in examine(session).steps if not s.done] == ["slot"]
    assert prepare(session).consistent_point is not None


def test_a_table_in_use_is_not_waited_for_at_the_expense_of_others(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create table log (line text); create table other (line text)")
    with app.transaction():
        app.execute("select * from log")
        with pytest.raises(Busy, match=r"in use all the time: public\.log"):
            prepare(session, lock_timeout=0.05, identity_timeout=0.3)
        assert identity(session, "public.other") == "f"
    prepare(session)
    assert identity(session, "public.log") == "f"


@pytest.mark.parametrize(
    "script",
    [
        "create table t (a int); insert into t values (1)",
        "create table t as select 1 as a",
        "select 1 as a into t",
        "create table t (a int primary key); insert into t values (1);"
        " alter table t drop constraint t_pkey",
        "create table t (a int primary key deferrable); insert into t values (1)",
        "create table t (a int primary key); alter table t replica identity nothing;"
        " insert into t values (1)",
        "create table t (a int not null unique); insert into t values (1);"
        " alter table t replica identity using index t_a_key;"
        " alter table t drop constraint t_a_key",
        "create unlogged table t (a int); insert into t values (1); alter table t set logged",
        "create table p (a int) partition by list (a); create table t (a int);"
        " alter table p attach partition t for values in (1, 2); insert into p values (1)",
        "create table p (a int primary key) partition by list (a);"
        " create table t partition of p for values in (1, 2); insert into p values (1);"
        " alter table p detach partition t; alter table t drop constraint t_pkey",
        "create table p (a int primary key) partition by list (a);"
        " create table t partition of p for values in (1, 2); insert into p values (1);"
        " alter table p drop constraint p_pkey",
        "create domain key as int; create table t (a int, k key, primary key (a, k));"
        " insert into t values (1, 1); drop domain key cascade",
        "do $$ begin execute 'create table t (a int)'; insert into t values (1);"
        " update t set a = 1; end $$",
        "create schema s create table t (a int); alter table s.t set schema public;"
        " insert into t values (1)",
    ],
)
def test_whatever_way_a_table_comes_to_have_no_key_updates_and_deletes_work(
    session: psycopg.Connection, app: psycopg.Connection, script: str
) -> None:
    prepare(session)
    app.execute(script)
    app.execute("update t set a = 2")
    app.execute("delete from t")
    assert examine(session).is_complete


def test_concurrent_commands_outside_transactions_work(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    prepare(session)
    app.execute("create table p (a int primary key) partition by list (a)")
    app.execute("create table t partition of p for values in (1)")
    app.execute("create index concurrently on t (a)")
    app.execute("reindex table concurrently t")
    app.execute("alter table p detach partition t concurrently")
    app.execute("alter table t drop constraint t_pkey")
    app.execute("insert into t values (1)")
    app.execute("update t set a = 1")  # detaching has left a check


def test_a_table_that_gets_a_primary_key_gets_its_own_identity_back(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    prepare(session)
    app.execute("create table t (a int)")
    assert identity(session, "public.t") == "f"
    app.execute("alter table t add primary key (a)")
    assert identity(session, "public.t") == "d"
    assert identities_set(session) == ()


def test_a_rolled_back_command_leaves_no_trace(
    session: psycopg.Connection, app: psycopg.Connection, database: str
) -> None:
    prepare(session)
    with app.transaction(force_rollback=True):
        app.execute("create table t (a int)")
    assert messages(session) == []
    assert identities_set(session) == ()


def test_an_application_without_rights_has_its_commands_captured(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    prepare(session)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute("select * from respaldo.installation")
    app.execute("create table t (a int)")
    app.execute("alter table t add column b uuid default gen_random_uuid()")
    app.execute("drop table t")
    created, altered, dropped = commands(session)
    assert [c.tag for c in (created, altered, dropped)] == [
        "CREATE TABLE",
        "ALTER TABLE",
        "DROP TABLE",
    ]
    assert created.objects[0].identity == "public.t"
    assert created.query == "create table t (a int)"
    assert altered.rewritten == (Rewrite("public", "t", 2, RewrittenRows.NONE),)
    assert [d.identity for d in dropped.dropped] == ["public.t"]


def test_a_role_cannot_pass_its_commands_off_as_ours(
    session: psycopg.Connection, app: psycopg.Connection, database: str
) -> None:
    prepare(session)
    app.execute("set respaldo.internal to 'on'")
    app.execute("create table t (a int)")
    assert [m["tag"] for m in messages(session)] == ["CREATE TABLE"]


def test_commands_are_captured_in_replica_mode_too(
    session: psycopg.Connection, postgres: PostgresServer, database: str
) -> None:
    prepare(session)
    postgres.execute("set session_replication_role to replica; create table t (a int)", database)
    assert [m["tag"] for m in messages(session)] == ["CREATE TABLE"]


def test_temporary_objects_are_left_out(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    prepare(session)
    app.execute(
        "create temp table t (a serial primary key, b text default 'x');"
        "create index on t (b); alter table t add c int default 1;"
        "create temp view v as select * from t;"
        "create temp table u as select * from t; select * into temp w from t;"
    )
    app.execute(
        "create function pg_temp.f() returns trigger language plpgsql as 'begin return new; end';"
        "create trigger tr before insert on t for each row execute function pg_temp.f();"
        "alter table t alter column b drop default; drop trigger tr on t;"
    )
    app.execute("drop view v; alter table t alter column a type bigint; drop table t, u, w")
    assert messages(session) == []


def test_what_fails_in_the_capture_fails_no_command_and_is_seen(
    session: psycopg.Connection, app: psycopg.Connection, postgres: PostgresServer, database: str
) -> None:
    prepare(session)
    postgres.execute("drop table respaldo.replica_identity", database)
    app.execute("create table t (a int)")
    app.execute("insert into t values (1); update t set a = 2")
    _, created = commands(session)
    assert "replica_identity" in created.problem
    postgres.execute("drop function respaldo.is_internal()", database)
    app.execute("drop table t")
    assert isinstance(commands(session)[-1], FailedCapture)
    assert not examine(session).is_complete
    prepare(session)
    assert examine(session).is_complete


def test_a_function_put_in_place_of_ours_begins_a_new_chain(
    session: psycopg.Connection, postgres: PostgresServer, database: str
) -> None:
    prepare(session)
    postgres.execute(
        "create or replace function respaldo.capture() returns event_trigger"
        " language plpgsql security definer as 'begin end'",
        database,
    )
    assert "altered" in (examine(session).broken or "")
    assert prepare(session).consistent_point is not None
    assert examine(session).is_complete


def test_a_database_in_another_encoding_is_captured_in_utf_8(postgres: PostgresServer) -> None:
    name = "latin"
    postgres.execute(f"create database {name} encoding 'LATIN1' locale 'C' template template0")
    try:
        with connect(postgres.connection(), name) as conn:
            prepare(conn)
            assert examine(conn).is_complete
            postgres.execute("create table año (a int)", name)
            assert [c.what for c in commands(conn)] == ['CREATE TABLE public."año"']
    finally:
        drop_database(postgres, name)


def test_a_database_without_an_encoding_is_not_captured(postgres: PostgresServer) -> None:
    name = "ascii"
    postgres.execute(f"create database {name} encoding 'SQL_ASCII' locale 'C' template template0")
    try:
        with connect(postgres.connection(), name) as conn:
            assert ["SQL_ASCII" in p.what for p in examine(conn).problems] == [True]
    finally:
        drop_database(postgres, name)


def test_a_disabled_event_trigger_begins_a_new_chain(
    session: psycopg.Connection, postgres: PostgresServer, database: str
) -> None:
    first = prepare(session)
    postgres.execute('alter event trigger "00_respaldo_ddl" disable', database)
    broken = examine(session)
    assert "event triggers were missing or disabled" in (broken.broken or "")
    again = prepare(session)
    assert again.consistent_point is not None
    assert again.consistent_point > first.consistent_point
    assert examine(session).is_complete


def test_unpreparing_leaves_nothing_and_gives_identities_back(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create table plain (a int); create table silent (a int)")
    app.execute("alter table silent replica identity nothing")
    app.execute(
        "create table full_by_owner (a int); alter table full_by_owner replica identity full"
    )
    prepare(session)
    unprepare(session)
    for table, was in (("plain", "d"), ("silent", "n"), ("full_by_owner", "f")):
        assert identity(session, f"public.{table}") == was
    assert session.execute(
        "select (select count(*) from pg_event_trigger), (select count(*) from pg_publication),"
        " (select count(*) from pg_namespace where nspname = 'respaldo')"
    ).fetchone() == (0, 0, 0)
    assert not any(s.done for s in examine(session).steps if s.kind != "replica_identity")
    unprepare(session)


def test_a_schema_that_a_tenant_owns_is_not_trusted(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create schema respaldo")
    with pytest.raises(NotPrepared, match="who is no superuser"):
        prepare(session)
    app.execute("drop schema respaldo")


def test_a_server_that_is_not_set_up_says_all_that_is_missing(
    postgres: PostgresServer, database: str
) -> None:
    postgres.execute("create role reader login password 'r'")
    try:
        with postgres.connect(database, user="reader", password="r") as conn:
            what = [p.what for p in examine(conn).problems]
    finally:
        postgres.execute("drop role reader")
    assert what == ["the connection's user is no superuser"]


def test_what_is_done_at_the_end_of_a_recursion_is_captured_too(
    session: psycopg.Connection, postgres: PostgresServer, database: str
) -> None:
    """A function that calls itself until PostgreSQL stops it, and goes on after that error."""
    prepare(session)
    with postgres.connect(database) as app:
        app.execute(
            """
            create function f(n int) returns void language plpgsql as $$begin
                begin execute format('create table public.t%s (a int)', n);
                exception when statement_too_complex then null; end;
                begin perform public.f(n + 1);
                exception when statement_too_complex then null; end;
            end$$
            """
        )
        app.execute("select f(100000)")
        for number in range(24):
            app.execute(f"set max_stack_depth = '{200 + number}kB'")
            app.execute("select f(%s)", [number * 1000])
            assert app.execute("show max_stack_depth").fetchone() == (f"{200 + number}kB",)
    made = session.execute(
        "select relname, relreplident from pg_catalog.pg_class where relname ~ '^t[0-9]'"
    ).fetchall()
    assert len(made) > 100
    found = commands(session)
    assert {name for name, identity in made if identity != "f"} == set()
    captured = [c for c in found if not isinstance(c, FailedCapture)]
    told = {o.address.names[-1] for c in captured for o in c.objects}
    assert len({name for name, _ in made} - told) <= len(found) - len(captured) <= 3 * 24
