"""What the event triggers tell of a command is all that running it again takes."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from embedded.postgres import PostgresServer
from include.respaldo.model.schema_change import (
    CapturedCommand,
    FailedCapture,
    MissingValue,
    ObjectAddress,
    Rewrite,
    RewrittenRows,
)
from include.respaldo.postgres.capture import prepare, read_secret
from include.respaldo.postgres.preparation import examine
from include.respaldo.querylog.ddl.messages import parse_messages
from tests.postgres.captured import (
    DDL,
    commands,
    commands_and_rows,
    decoded,
    messages,
    only,
)


def captured(conn: psycopg.Connection) -> list[CapturedCommand]:
    """Return the commands, of which none failed or had a problem."""
    found = commands(conn)
    assert [c for c in found if not isinstance(c, CapturedCommand) or c.problem] == []
    return found


@pytest.fixture(autouse=True)
def _prepared(session: psycopg.Connection) -> None:
    prepare(session)


def test_a_command_tells_who_ran_it_under_which_settings_and_what_it_touched(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("set search_path to public, pg_temp; set datestyle to 'german, dmy'")
    app.execute("create table t (a int primary key)")
    command = only(session)
    role = app.info.user
    assert (command.caller.role, command.caller.session) == (role, role)
    settings = dict(command.caller.settings)
    assert settings["search_path"] == "public, pg_temp"
    assert settings["DateStyle"] == "German, DMY"
    assert settings["session_replication_role"] == "origin"
    assert "createrole_self_grant" in settings or app.info.server_version < 160000
    assert command.context == ""
    assert command.query == "create table t (a int primary key)"
    table, index = command.objects
    assert table.address == ObjectAddress("table", ("public", "t"))
    assert (table.schema, table.identity, table.tag) == ("public", "public.t", "CREATE TABLE")
    assert table.catalog == "pg_class"
    assert table.oid == app.execute("select 't'::regclass::oid::int").fetchone()[0]
    assert index.identity == "public.t_pkey"
    assert all(len(o.fingerprint) == 64 for o in command.objects)


def test_the_text_of_several_statements_is_sent_once_in_a_transaction(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    text = "create table a (x int); create table b (x int); drop table a, b"
    with app.transaction():
        app.execute(text)
        app.execute("create table c (x int)")
    bodies = [m for m in messages(session) if m["kind"] == "command"]
    assert [m.get("query") for m in bodies] == [text, None, None, "create table c (x int)"]
    assert ["query" in m for m in bodies] == [True, False, False, True]
    assert {m["query_id"] for m in bodies[:3]} == {hashlib.md5(text.encode()).hexdigest()}
    assert len({m["statement_at"] for m in bodies[:3]}) == 1
    app.execute(text)
    assert next(m.get("query") for m in messages(session) if m["kind"] == "command") == text


def test_a_text_that_was_rolled_back_is_sent_again(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    text = (
        "begin; savepoint s; create table a (x int); rollback to s; create table b (x int);"
        " release s; create table c (x int); commit"
    )
    app.execute(text)
    bodies = messages(session)
    assert [m["objects"][0]["identity"] for m in bodies] == ["public.b", "public.c"]
    assert [m.get("query") for m in bodies] == [text, None]


def test_commands_inside_functions_tell_how_they_are_nested(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute(
        "create function inner_one() returns void language plpgsql as"
        " $$ begin execute format('create table %I (a int)', 'made'); end $$;"
        "create function outer_one() returns void language sql as 'select inner_one(); select 1'"
    )
    app.execute("do $$ begin create table direct (a int); perform outer_one(); end $$")
    *_, direct, made = captured(session)
    assert direct.context.splitlines() == [
        'SQL statement "create table direct (a int)"',
        "PL/pgSQL function inline_code_block line 1 at SQL statement",
    ]
    assert made.context.splitlines() == [
        'SQL statement "create table made (a int)"',
        "PL/pgSQL function inner_one() line 1 at EXECUTE",
        'SQL function "outer_one" statement 1',
        'SQL statement "SELECT outer_one()"',
        "PL/pgSQL function inline_code_block line 1 at PERFORM",
    ]
    assert made.query == direct.query


def test_the_role_is_that_in_force_when_the_command_ran(
    session: psycopg.Connection, app: psycopg.Connection, postgres: PostgresServer, database: str
) -> None:
    role = app.info.user
    postgres.execute(f"set role {role}; create table by_set_role (a int)", database)
    command = only(session)
    assert (command.caller.role, command.caller.session) == (role, "postgres")
    app.execute(
        "create function definer() returns void language plpgsql security definer"
        " set search_path = public, pg_catalog as $$ begin create table by_definer (a int); end $$"
    )
    captured(session)
    postgres.execute("select definer()", database)
    command = only(session)
    assert (command.caller.role, command.caller.session) == (role, "postgres")
    assert dict(command.caller.settings)["search_path"] == "public, pg_catalog"


def test_what_stands_in_for_the_systems_functions_is_not_run(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute(
        "create schema evil; set search_path to evil, pg_catalog;"
        "create function evil.set_config(text, text, boolean) returns text language plpgsql as"
        " $$ begin raise 'evil'; end $$;"
        "create function evil.current_setting(text, boolean default false) returns text"
        " language plpgsql as $$ begin raise 'evil'; end $$;"
        "create function evil.cat(text, text) returns text language plpgsql as"
        " $$ begin raise 'evil'; end $$;"
        "create operator evil.|| (leftarg = text, rightarg = text, function = evil.cat);"
        "create domain evil.text as pg_catalog.text check (false)"
    )
    captured(session)
    app.execute("create table evil.t (a int)")
    command = only(session)
    assert dict(command.caller.settings)["search_path"] == "evil, pg_catalog"
    assert command.objects[0].fingerprint


def test_hostile_names_are_data(session: psycopg.Connection, app: psycopg.Connection) -> None:
    name = "x\"; drop table 'y'; -- \\ \n {\u00f1\U0001f600}"
    quoted = '"' + name.replace('"', '""') + '"'
    app.execute(f"create table {quoted} ({quoted} int primary key)")
    app.execute(f"alter table {quoted} add column b text default $${name}$$")
    app.execute(f"alter table {quoted} add column c uuid default gen_random_uuid()")
    app.execute(f"drop table {quoted}")
    created, added, _, dropped = captured(session)
    assert created.objects[0].address.names == ("public", name)
    assert added.missing_values == (MissingValue("public", name, "b", name),)
    assert dropped.dropped[0].address.names == ("public", name)


def test_a_text_that_is_too_long_is_left_out_and_its_command_captured(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create table t (a int); -- " + "x" * 10_000_000)
    [body] = messages(session)
    assert body["query"] is None
    app.execute("create table u (a int); -- " + "x" * 8_000_000)
    assert len(only(session).query) > 8_000_000


def test_a_read_only_transaction_fails_by_its_own_error(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("set default_transaction_read_only to on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="cannot execute CREATE TABLE"):
        app.execute("create table t (a int)")
    assert messages(session) == []


def test_temporary_and_permanent_objects_dropped_together_are_told_apart(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create temp table a (x int); create table b (x int)")
    captured(session)
    app.execute("drop table a, b")
    command = only(session)
    assert {(d.address.names[-1], d.temporary) for d in command.dropped} == {
        ("a", True),
        ("b", False),
    }
    app.execute("create temp table a (x int)")
    app.execute("drop table a")
    assert messages(session) == []


def test_values_of_columns_added_without_a_rewrite_are_sent(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute(
        "create table t (a int primary key); insert into t values (1);"
        "create table child (b int) inherits (t);"
        "create table p (a int) partition by list (a);"
        "create table p1 partition of p for values in (1)"
    )
    captured(session)
    app.execute(
        "alter table t add column at timestamptz default now(),"
        " add column words text[] default array['a\"b', 'c,\\d', null],"
        " add column spot box default '((1,2),(3,4))', add column nothing text"
    )
    command = only(session)
    app.execute("set timezone to utc")
    [(at,)] = app.execute("select at::text from only t")
    values = {(m.table, m.column): m.value for m in command.missing_values}
    assert values["t", "at"] == values["child", "at"] == at
    assert values["t", "words"] == '{"a\\"b","c,\\\\d",NULL}'
    assert values["t", "spot"] == "(3,4),(1,2)"
    assert ("t", "nothing") not in values
    app.execute("alter table p add column at timestamptz default now()")
    assert [m.table for m in only(session).missing_values] == ["p1"]


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        (0, RewrittenRows.NONE),
        (1_000, RewrittenRows.SENT),
        (300_000, RewrittenRows.NOT_SENT),  # 36 bytes each and more: above 8 MiB
    ],
)
@pytest.mark.parametrize(
    ("action", "reason"),
    [("add column u uuid default gen_random_uuid()", 2), ("alter column a type bigint", 4)],
)
def test_rows_written_anew_are_sent_where_they_are_few(
    session: psycopg.Connection,
    app: psycopg.Connection,
    rows: int,
    where: RewrittenRows,
    action: str,
    reason: int,
) -> None:
    app.execute(
        "create table t (a int primary key, gone int, k int default 5,"
        " g int generated always as (k) stored); alter table t drop column gone;"
        f" insert into t select generate_series(1, {rows})"
    )
    captured(session)
    app.execute(f"alter table t {action}")
    [(command, sent)] = commands_and_rows(session)
    assert isinstance(command, CapturedCommand)
    assert command.rewritten == (Rewrite("public", "t", reason, where),)
    if where is not RewrittenRows.SENT:
        assert sent == []
        return
    columns = ["a", "k", "u"] if reason == 2 else ["a", "k"]
    assert [m.first for m in sent] == [True]
    assert [c.name for c in sent[0].relation.columns] == columns
    assert [c.is_key for c in sent[0].relation.columns] == [name == "a" for name in columns]
    there = app.execute(f"select {', '.join(c + '::text' for c in columns)} from t").fetchall()
    assert sorted(sent[0].rows) == sorted(tuple(v.encode() for v in row) for row in there)


def test_many_small_rows_come_in_several_messages_in_the_form_of_the_stream(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute(
        "set datestyle to german; set extra_float_digits to 0; set bytea_output to escape;"
        "set intervalstyle to iso_8601; set timezone to 'Asia/Tokyo';"
        "create table t (n int, b boolean, f float8, d date, at timestamptz, i interval, y bytea,"
        " j json, r int4range, c text, empty text, nothing text);"
        "insert into t select n, true, 1.0/3, '2026-01-02', '2026-01-02 03:04:05+00', '1 day',"
        " '\\xff00', '{ \"a\" :  1 }', '[1,5)', repeat('x', 200), ''"
        " from generate_series(1, 9000) n"
    )
    captured(session)
    app.execute("alter table t alter column n type bigint")
    [(command, sent)] = commands_and_rows(session)
    assert command.rewritten[0].rows is RewrittenRows.SENT
    assert [m.first for m in sent] == [True] + [False] * (len(sent) - 1)
    assert len(sent) > 1
    rows = [row for m in sent for row in m.rows]
    assert len(rows) == 9000
    assert rows[0][1:9] == (
        b"t",
        b"0.3333333333333333",
        b"2026-01-02",
        b"2026-01-02 03:04:05+00",
        b"1 day",
        b"\\xff00",
        b'{ "a" :  1 }',
        b"[1,5)",
    )
    assert rows[0][-2:] == (b"", None)


def test_an_unlogged_table_that_becomes_logged_has_its_rows_sent(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create unlogged table t (a int); insert into t values (7)")
    captured(session)
    app.execute("alter table t set logged")
    [(command, sent)] = commands_and_rows(session)
    assert command.rewritten == (Rewrite("public", "t", 1, RewrittenRows.SENT),)
    assert [m.rows for m in sent] == [((b"7",),)]
    app.execute("alter table t set unlogged")
    [(command, sent)] = commands_and_rows(session)
    assert command.rewritten == (Rewrite("public", "t", 1, RewrittenRows.NONE),)
    assert sent == []


def test_a_command_inside_a_rewrite_is_not_taken_for_it(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute(
        "create table t (a int primary key); insert into t values (1), (2);"
        "create function f() returns int language plpgsql volatile as $$ begin"
        " execute 'create table made_' || nextval('s')::text || ' (a int)';"
        " return currval('s'); end $$; create sequence s"
    )
    captured(session)
    app.execute("alter table t add column b int default f()")
    found = commands_and_rows(session)
    assert [c.tag for c, _ in found] == ["CREATE TABLE", "CREATE TABLE", "ALTER TABLE"]
    assert [len(c.rewritten) for c, _ in found] == [0, 0, 1]
    assert sorted(found[-1][1][0].rows) == [(b"1", b"1"), (b"2", b"2")]


def test_a_role_cannot_have_rows_sent_that_were_not_written_anew(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create table t (a int)")
    captured(session)
    app.execute(
        "select set_config('respaldo.rewritten', format("
        '  \'[{"relation": %s, "reason": 2, "file": 0}]\', \'t\'::regclass::oid), false)'
    )
    app.execute("create table u (a int)")
    [(command, sent)] = commands_and_rows(session)
    assert command.rewritten == ()
    assert sent == []


def test_tables_made_from_a_query_tell_their_columns(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute(
        "create schema s; create domain s.word as text;"
        'create table "T" with (fillfactor = 70, autovacuum_enabled = off) as'
        " select 1.5::numeric(5,2) as n, 'x'::s.word as w,"
        ' \'y\'::text collate "C" as c, array[1] as "A b"'
    )
    app.execute("select 1 as one into unlogged u")
    app.execute(
        "do $$ declare v int := 7; begin create table from_variable as select v as a; end $$"
    )
    *_, made, into, nested = captured(session)
    [table] = made.created
    assert (table.schema, table.table, table.persistence, table.access_method) == (
        "public",
        "T",
        "p",
        "heap",
    )
    assert table.oid == made.objects[0].oid
    assert table.tablespace is None
    assert table.options == ("fillfactor=70", "autovacuum_enabled=off")
    assert table.columns == (
        ("n", "numeric(5,2)", None),
        ("w", "s.word", None),
        ("c", "text", 'pg_catalog."C"'),
        ("A b", "integer[]", None),
    )
    assert (into.tag, into.created[0].persistence) == ("SELECT INTO", "u")
    assert nested.created[0].columns == (("a", "integer", None),)
    assert "PL/pgSQL function inline_code_block" in nested.context


def test_partitions_attached_and_detached_are_told_by_their_parent(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute(
        "create table p (a int primary key) partition by list (a); create table t (a int not null)"
    )
    captured(session)
    app.execute("alter table p attach partition t for values in (1)")
    app.execute("alter table p detach partition t")
    attached, detached = captured(session)
    assert [o.identity for o in attached.objects] == ["public.p"]
    assert [o.identity for o in detached.objects] == ["public.p"]


def test_an_extension_tells_its_members_without_fingerprints(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create extension hstore")
    found = captured(session)
    assert found[-1].objects[-1].address == ObjectAddress("extension", ("hstore",))
    assert found[-1].objects[-1].fingerprint
    inside = [o for c in found for o in c.objects if o.in_extension]
    assert len(inside) > 50
    assert {o.fingerprint for o in inside} == {None}
    assert {c.query for c in found} == {"create extension hstore"}
    app.execute("drop extension hstore")
    assert [d.identity for d in only(session).dropped if d.original] == ["hstore"]


@pytest.mark.parametrize(
    ("command", "tag", "touches"),
    [
        ("grant select on t to public", "GRANT", []),
        (
            "alter default privileges grant select on tables to public",
            "ALTER DEFAULT PRIVILEGES",
            [],
        ),
        ("comment on column t.a is 'x'", "COMMENT", ["public.t.a"]),
        ("create index on t (b)", "CREATE INDEX", ["public.t_b_idx"]),
        ("create index concurrently on t (b)", "CREATE INDEX", ["public.t_b_idx"]),
        ("refresh materialized view m", "REFRESH MATERIALIZED VIEW", ["public.m"]),
        ("create policy p on t using (a > 0)", "CREATE POLICY", ["p on public.t"]),
        ("create rule r as on delete to t do nothing", "CREATE RULE", ["r on public.t"]),
        ("alter type e add value 'z'", "ALTER TYPE", ["public.e"]),
        ("alter type c add attribute y int", "ALTER TYPE", ["public.c"]),
        ("alter view v rename column a to aa", "ALTER VIEW", ["public.v.aa"]),
        ("alter domain d set default 'x'", "ALTER DOMAIN", ["public.d"]),
        ("alter table t owner to current_user", "ALTER TABLE", ["public.t"]),
    ],
)
def test_every_kind_of_command_is_told(
    session: psycopg.Connection,
    app: psycopg.Connection,
    command: str,
    tag: str,
    touches: list[str],
) -> None:
    app.execute(
        "create table t (a int primary key, b text); create view v as select a from t;"
        "create materialized view m as select * from t; create type e as enum ('a');"
        "create type c as (x int); create domain d as text"
    )
    captured(session)
    app.execute(command)
    found = only(session)
    assert (found.tag, [o.identity for o in found.objects]) == (tag, touches)
    assert all(o.fingerprint for o in found.objects)


@pytest.mark.parametrize(
    "command", ["reindex table t", "cluster t using t_pkey", "vacuum full t", "analyze t"]
)
def test_what_changes_no_definition_and_no_row_is_left_out(
    session: psycopg.Connection, app: psycopg.Connection, command: str
) -> None:
    app.execute("create table t (a int primary key)")
    captured(session)
    app.execute(command)
    assert messages(session) == []


@pytest.mark.parametrize(
    "harm",
    [
        'alter event trigger "00_respaldo_caller" disable',
        "truncate respaldo.installation",
        "drop function respaldo.record_command(text, text, text, text)",
        "drop function respaldo.emit(text, json)",
        "alter function respaldo.describe(oid, oid) rename to other",
    ],
)
def test_whatever_breaks_the_capture_fails_no_command_and_is_seen(
    session: psycopg.Connection,
    app: psycopg.Connection,
    postgres: PostgresServer,
    database: str,
    harm: str,
) -> None:
    postgres.execute(harm, database)
    decoded(session)
    app.execute("create table t (a int)")
    app.execute("alter table t add column b uuid default gen_random_uuid()")
    app.execute("drop table t")
    contents = [bytes(m.content) for m in decoded(session) if getattr(m, "prefix", "") == DDL]
    assert len(contents) >= 3
    assert not examine(session).is_complete
    if "truncate" not in harm:
        found: list[Any] = parse_messages(contents, read_secret(session))
        assert all(isinstance(c, FailedCapture) or c.problem or c.dropped for c in found)
    prepare(session)
    assert examine(session).is_complete


def test_a_message_of_somebody_else_has_no_seal(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("select pg_logical_emit_message(true, 'respaldo.ddl', repeat('0', 64) || E'\\n{}')")
    assert [type(c) for c in commands(session)] == [FailedCapture]


def test_a_command_tells_what_it_saw_when_it_began(
    session: psycopg.Connection, app: psycopg.Connection, postgres: PostgresServer, database: str
) -> None:
    """Not what it saw when it ended: others may have committed while it waited."""
    app.execute("create table t (a int)")
    with postgres.connect(database) as other:
        other.execute("begin; lock table t")
        (xid,) = other.execute("select pg_current_xact_id()::text::bigint").fetchone() or (0,)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(app.execute, "alter table t add b int")
            while not other.execute("select 1 from pg_locks where not granted").fetchone():
                assert not waiting.done()
            other.execute("commit")
            waiting.result()
    app.execute("create index on t (a)")
    _, altered, indexed = (c.snapshot for c in captured(session))
    assert altered is not None
    assert indexed is not None
    assert not altered.sees(xid)
    assert indexed.sees(xid)


def test_a_command_of_a_transaction_with_one_snapshot_does_not_tell_that(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    """The command saw more."""
    app.execute("begin isolation level repeatable read; create table t (a int); commit")
    assert only(session).snapshot is None
