"""Loading a dump into a new database, and making that like the original."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import psycopg
import pytest

from embedded.postgres import PostgresServer
from include.respaldo.errors import Busy, RestoreRefused, ToolFailed
from include.respaldo.model.backup import DatabaseProperties
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.dump import dump_database
from include.respaldo.postgres.introspect import read_properties
from include.respaldo.postgres.load import load_dump
from include.respaldo.postgres.matviews import MaterializedViews
from include.respaldo.postgres.new_database import (
    create_database,
    database_comment,
    database_exists,
    drop_database,
    rename_database,
    restore_identities,
    set_comment,
    set_properties,
)
from include.respaldo.postgres.replay_context import ReplayContext
from tests.conftest import drop_database as drop_any
from tests.postgres.compare import assert_same_database, schema_text

_numbers = count(1)

SCHEMA = """
create extension citext;
create schema "Odd ""Schema";
create type mood as enum ('sad', 'ok');
create domain positive as int not null check (value > 0);
create table customers (
    id int generated always as identity primary key,
    name citext unique, mood mood, balance numeric(12,2), born timestamptz, tags text[]
);
create table orders (
    id bigserial primary key, customer int references customers, total positive,
    vat numeric generated always as (1.25) stored, payload jsonb
) partition by range (id);
alter table orders drop constraint orders_pkey;
create table orders_1 partition of orders for values from (1) to (1000);
create table orders_2 partition of orders for values from (1000) to (100000);
create table "Odd ""Schema"."no key; -- %s" (a boolean, "100%" float8, x xml, j json, p point);
create table images (id int primary key, data bytea);
create unlogged table caches (a int);
create view totals as select customer, sum(total) from orders group by 1;
create materialized view busy as select customer, count(*) from orders group by 1;
create function touch() returns trigger language plpgsql as
    $$begin new.name := new.name; return new; end$$;
create trigger touch before update on customers for each row execute function touch();
create policy own on customers using (true);
alter table customers enable row level security;
insert into customers (name, mood, balance, born, tags)
    select 'c' || i, 'ok', i / 7.0, timestamptz '2020-01-01 00:00+02' + i * interval '1 min',
           array['a', null, '']
      from generate_series(1, 500) i;
insert into orders (customer, total, payload)
    select 1 + i % 500, i, '{"a": 1}' from generate_series(1, 3000) i;
insert into "Odd ""Schema"."no key; -- %s" values
    (true, 'NaN', '<a/>', '{"b":  2}', '(1,2)'), (null, 0.1, null, null, null);
insert into images select i, decode(repeat('00ff', 5000), 'hex') from generate_series(1, 20) i;
refresh materialized view busy;
select lo_from_bytea(0, 'large');
"""

RESPALDO = """
create schema respaldo;
create table respaldo.replica_identity (relation oid primary key, was "char" not null);
create function respaldo.capture() returns event_trigger language plpgsql as 'begin end';
create event trigger respaldo_ddl on ddl_command_end execute function respaldo.capture();
create event trigger "00_respaldo_ddl" on ddl_command_end execute function respaldo.capture();
comment on schema respaldo is 'ours';
comment on event trigger respaldo_ddl is 'ours';
comment on event trigger "00_respaldo_ddl" is 'ours';
grant usage on schema respaldo to public;
create publication respaldo for all tables;
comment on publication respaldo is 'ours';
create publication theirs for table images;
create table respaldos (a int); create schema "A respaldo"; create table "A respaldo".kept (a int);
"""


@contextmanager
def restored(
    server: PostgresServer, database: str, folder: Path, jobs: int = 1
) -> Iterator[tuple[str, DatabaseProperties, list[str]]]:
    """Yield the name of a copy through dump and load, the properties, and the notes."""
    path = folder / "dump.pgc.zst"
    properties = dump_database(server.connection(), database, path).properties
    assert properties is not None
    copy = f"respaldo_restoring_{next(_numbers)}"
    with server.connect() as admin:
        notes = list(create_database(admin, copy, properties, "respaldo: restoring"))
        try:
            loaded = load_dump(
                server.connection(), copy, path, folder, jobs, extensions=properties.extensions
            )
            notes += loaded.notes
            with connect(server.connection(), copy) as conn:
                views = MaterializedViews(conn, loaded.views)
                notes += views.refresh(ReplayContext(conn, database))
            yield copy, properties, notes
        finally:
            drop_any(server, copy)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_loaded_database_equals_its_original(
    postgres: PostgresServer, database: str, tmp_path: Path, jobs: int
) -> None:
    postgres.execute(SCHEMA, database)
    with restored(postgres, database, tmp_path, jobs) as (copy, _, notes):
        assert_same_database(postgres.connection(), database, copy)
        assert notes == []
        large = "select string_agg(lo_get(oid)::text, ',') from pg_largeobject_metadata"
        assert postgres.execute(large, copy) == postgres.execute(large, database)
    assert [p.name for p in tmp_path.iterdir()] == ["dump.pgc.zst"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_extensions_come_in_the_version_that_they_had(
    postgres: PostgresServer, database: str, tmp_path: Path, jobs: int
) -> None:
    """A dump does not tell it: pg_restore makes the newest."""
    postgres.execute(
        """create schema "of ""others"; grant usage on schema "of ""others" to public;
        create extension hstore schema "of ""others" version '1.4';
        create extension cube; create extension earthdistance;
        create table t (a "of ""others".hstore, b earth)""",
        database,
    )
    of_extensions = "select extname, extversion, extnamespace::regnamespace from pg_extension"
    with restored(postgres, database, tmp_path, jobs) as (copy, _, notes):
        assert_same_database(postgres.connection(), database, copy)
        there, here = (set(postgres.execute(of_extensions, d)) for d in (database, copy))
    assert there == here
    assert ("hstore", "1.4") in {row[:2] for row in here}
    assert notes == []


def test_an_extensions_version_that_the_server_does_not_have_is_told(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute("create extension hstore; create extension cube version '1.2'", database)
    path = tmp_path / "dump.pgc.zst"
    properties = dump_database(postgres.connection(), database, path).properties
    assert properties is not None
    extensions = [
        replace(e, version="0.9") if e.name == "hstore" else e for e in properties.extensions
    ]
    copy = f"respaldo_restoring_{next(_numbers)}"
    with postgres.connect() as admin:
        create_database(admin, copy, properties, "respaldo: restoring")
    try:
        loaded = load_dump(postgres.connection(), copy, path, tmp_path, extensions=extensions)
        versions = dict(postgres.execute("select extname, extversion from pg_extension", copy))
    finally:
        drop_any(postgres, copy)
    assert versions["cube"] == "1.2"
    (note,) = loaded.notes
    assert note.startswith("extension hstore was version 0.9, which this server does not have")
    assert note.endswith(f": it is {versions['hstore']} here")


@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_that_violate_a_foreign_key_come_as_they_are(
    postgres: PostgresServer, database: str, tmp_path: Path, jobs: int
) -> None:
    """With its triggers off an application may write what it likes; the constraint stays valid."""
    postgres.execute(
        """
        create table a (a int primary key, b int references a);
        create table "ñ; --\nalter table" (a int constraint "k ""ñ" references a deferrable);
        create table c (a int, b int references a on delete cascade);
        alter table c add foreign key (a) references a not valid;
        comment on constraint "k ""ñ" on "ñ; --\nalter table" is 'ours';
        insert into a values (1, null), (2, 1);
        set session_replication_role to replica;
        insert into "ñ; --\nalter table" values (7), (1); insert into a values (3, 8);
        insert into c values (9, 2)
        """,
        database,
    )
    with restored(postgres, database, tmp_path, jobs) as (copy, _, notes):
        assert_same_database(postgres.connection(), database, copy)
        for values in ("a values (5, 6)", '"ñ; --\nalter table" values (5)', "c values (5, 5)"):
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                postgres.execute(f"insert into {values}", copy)
    assert sorted(notes) == [
        "rows violate the foreign key a_b_fkey of a, as they did at the source",
        'rows violate the foreign key k "ñ of ñ; --\nalter table, as they did at the source',
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_foreign_key_has_its_name_though_one_of_a_partition_has_taken_it(
    postgres: PostgresServer, database: str, tmp_path: Path, jobs: int
) -> None:
    """PostgreSQL adds keys for partitions of the other table, and of the own, under free names."""
    postgres.execute(
        """
        create table "P" (a int primary key) partition by range (a);
        create table p1 partition of "P" for values from (0) to (10);
        create table p2 partition of "P" for values from (10) to (20);
        create table t (b int);
        alter table t add foreign key (b) references "P";
        alter table t add constraint "fk ñ8" foreign key (b) references "P";
        create table q (a int, b int) partition by range (a);
        create table "Q1" partition of q for values from (0) to (10);
        alter table "Q1" add foreign key (b) references "P" on delete cascade;
        alter table "Q1" add constraint "A" foreign key (b) references "P" deferrable;
        alter table q add constraint "Q1_b_fkey" foreign key (b) references "P";
        insert into "P" values (1), (11); insert into t values (1); insert into q values (1, 11);
        """,
        database,
    )
    names = "select conrelid::regclass::text, conname from pg_constraint where conparentid = 0"
    with restored(postgres, database, tmp_path, jobs) as (copy, _, notes):
        assert_same_database(postgres.connection(), database, copy)
        assert sorted(postgres.execute(names, copy)) == sorted(postgres.execute(names, database))
        for values in ("t values (5)", '"Q1" values (5, 5)'):
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                postgres.execute(f"insert into {values}", copy)
    assert notes == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_trigger_fires_while_rows_are_loaded(
    postgres: PostgresServer, database: str, tmp_path: Path, jobs: int
) -> None:
    postgres.execute(
        """
        create table fired (what text);
        create function note() returns trigger language plpgsql as
            $$begin insert into public.fired values (tg_table_name); return new; end$$;
        create table p (i int) partition by range (i);
        create table p1 partition of p for values from (0) to (10);
        create table plain (i int);
        insert into p select 1; insert into plain values (1);
        create trigger note before insert on p for each row execute function note();
        create trigger note before insert on plain for each row execute function note();
        """,
        database,
    )
    with restored(postgres, database, tmp_path, jobs) as (copy, _, _):
        assert postgres.execute("select * from fired", copy) == []
        assert_same_database(postgres.connection(), database, copy)


@pytest.mark.parametrize("jobs", [1, 2])
def test_triggers_of_a_partitioned_table_do_not_fire_while_its_rows_are_loaded(
    postgres: PostgresServer, database: str, tmp_path: Path, jobs: int
) -> None:
    postgres.execute(
        """
        create table movements (id int, what text) partition by range (id);
        create table movements_1 partition of movements for values from (0) to (10000);
        create table movements_2 partition of movements for values from (10000) to (30000);
        create table stock (on_hand int); insert into stock values (0);
        create function move() returns trigger language plpgsql as
            $$begin update public.stock set on_hand = on_hand + 1; return null; end$$;
        create trigger moved after insert on movements for each row
            when (new.id % 1000 = 0) execute function move();
        insert into movements select i, repeat('x', 100) from generate_series(1, 20000) i;
        update stock set on_hand = 42
        """,
        database,
    )
    with restored(postgres, database, tmp_path, jobs) as (copy, _, _):
        assert postgres.execute("select on_hand from public.stock", copy) == [(42,)]


def test_respaldos_own_objects_stay_out_and_the_customers_alike_come(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute(SCHEMA, database)
    postgres.execute(RESPALDO, database)
    with restored(postgres, database, tmp_path) as (copy, _, _):
        own = "select nspname from pg_namespace where nspname = 'respaldo'"
        assert postgres.execute(own, copy) == []
        assert postgres.execute("select evtname from pg_event_trigger", copy) == []
        assert postgres.execute("select pubname from pg_publication", copy) == [("theirs",)]
        assert postgres.execute("select count(*) from respaldos", copy) == [(0,)]
        assert_same_database(postgres.connection(), database, copy)


def test_owner_locale_settings_privileges_and_limit_are_carried(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    name = "carried"
    postgres.execute('create role "the owner"; create role clerk; create role "o\'d=d/"')
    postgres.execute(
        f"create database {name} template template0 encoding utf8 locale_provider icu"
        " icu_locale 'de-AT' locale 'C' owner \"the owner\" connection limit 7"
    )
    for statement in (
        'set search_path to "$user", "Odd ""Schema", public',
        "set app.tenant to 'a, b''c'",
        "set datestyle to 'German'",
        "set timezone to 'Europe/Vienna'",
    ):
        postgres.execute(f"alter database {name} {statement}")
    postgres.execute(f"alter role clerk in database {name} set work_mem to '8MB'")
    postgres.execute(f"revoke all on database {name} from public")
    postgres.execute(f"grant connect on database {name} to clerk with grant option")
    postgres.execute(f'grant create, temporary on database {name} to "o\'d=d/"')
    try:
        with restored(postgres, name, tmp_path) as (copy, properties, notes):
            with postgres.connect() as admin:
                notes.extend(set_properties(admin, copy, properties))
            with postgres.connect(copy) as conn:
                found = read_properties(conn)
            assert notes == []
            ignored = {"size": 0, "comment": None}
            assert replace(found, **ignored) == replace(properties, **ignored)
            assert (found.owner, found.icu_locale, found.connection_limit) == (
                "the owner",
                "de-AT",
                7,
            )
            assert len(found.settings) == 5
    finally:
        drop_any(postgres, name)
        postgres.execute('drop role "the owner"; drop role clerk; drop role "o\'d=d/"')


def test_what_belongs_to_missing_roles_is_left_out_and_said(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute('create role stays; create role "leaves, soon"')
    postgres.execute(
        """
        create table a (i int); alter table a owner to "leaves, soon";
        create table b (i int); alter table b owner to stays;
        grant select on a to stays; grant select on b to "leaves, soon", stays;
        create policy p on b to "leaves, soon", stays using (i > 0);
        create policy q on b to "leaves, soon" using (i > 0);
        alter default privileges for role "leaves, soon" grant select on tables to stays;
        alter default privileges for role stays grant select on tables to "leaves, soon";
        insert into a values (1);
        """,
        database,
    )
    postgres.execute(f'alter database {database} owner to "leaves, soon"')
    postgres.execute(f"alter role \"leaves, soon\" in database {database} set work_mem to '8MB'")
    path = tmp_path / "dump.pgc.zst"
    properties = dump_database(postgres.connection(), database, path).properties
    assert properties is not None
    drop_any(postgres, database)
    postgres.execute('drop role "leaves, soon"')
    copy = "respaldo_restoring_roles"
    try:
        with postgres.connect() as admin:
            notes = list(create_database(admin, copy, properties))
            notes += load_dump(postgres.connection(), copy, path, tmp_path, jobs=2).notes
            notes += set_properties(admin, copy, properties)
        owners = "select relname, relowner::regrole::text from pg_class where relname in ('a', 'b')"
        assert sorted(postgres.execute(owners, copy)) == [("a", "postgres"), ("b", "stays")]
        allowed = "select has_table_privilege('stays', 'a', 'select')"
        assert postgres.execute(allowed, copy) == [(True,)]
        policies = "select policyname::text, roles::text from pg_policies"
        assert postgres.execute(policies, copy) == [("p", "{stays}")]
        assert len([note for note in notes if "leaves, soon" in note]) == 3
        roles = "select count(*) from pg_roles where rolname = 'leaves, soon'"
        assert postgres.execute(roles) == [(0,)]
    finally:
        drop_any(postgres, copy)
        postgres.execute("drop role stays")


def test_a_missing_extension_is_named_before_anything_is_loaded(
    postgres: PostgresServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.execute("create extension citext; create table t (a citext)", database)
    monkeypatch.setattr(
        "include.respaldo.postgres.contents.Contents.extensions", ("citext", "postgis-x", "rare")
    )
    with (
        pytest.raises(RestoreRefused, match="postgis-x, rare"),
        restored(postgres, database, tmp_path),
    ):
        pass


def test_materialized_views_are_left_empty_and_named(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """Whether they can be computed is seen at the end; a load must not fail because of one."""
    latin = "in_latin1"
    postgres.execute(f"create database {latin} encoding 'LATIN1' locale 'C' template template0")
    try:
        postgres.execute(
            """
            set client_encoding to utf8; create schema "S;
2";
            create table t (a int); insert into t values (1);
            create materialized view "ñandú" as select * from t;
            create materialized view "S;
2"."m ""x;
" as select * from "ñandú";
            create materialized view unfilled as select * from t with no data;
            create materialized view barred as select * from t;
            alter materialized view barred owner to pg_monitor;
            """,
            latin,
        )
        path = tmp_path / "dump.pgc.zst"
        properties = dump_database(postgres.connection(), latin, path).properties
        assert properties is not None
        copy = "respaldo_restoring_views"
        with postgres.connect() as admin:
            create_database(admin, copy, properties)
            try:
                loaded = load_dump(postgres.connection(), copy, path, tmp_path, jobs=2)
                assert set(loaded.views) == {
                    ("public", "ñandú"),
                    ("S;\n2", 'm "x;\n'),
                    ("public", "barred"),
                }
                filled = "select count(*) from pg_class where relkind = 'm' and relispopulated"
                assert postgres.execute(filled, copy) == [(0,)]
                with connect(postgres.connection(), copy) as conn:
                    views = MaterializedViews(conn, loaded.views)
                    (note,) = views.refresh(ReplayContext(conn, latin))
                assert "barred could not be computed (permission denied for table t)" in note
                assert postgres.execute(filled, copy) == [(2,)]
            finally:
                drop_any(postgres, copy)
    finally:
        drop_any(postgres, latin)


def test_a_load_that_fails_says_why_and_leaves_no_file(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute("create table t as select 1 as a", database)
    path = tmp_path / "dump.pgc.zst"
    dump_database(postgres.connection(), database, path)
    with pytest.raises(ToolFailed, match='relation "t" already exists') as caught:
        load_dump(postgres.connection(), database, path, tmp_path, jobs=2)
    assert "CREATE TABLE" not in str(caught.value)  # a command may hold a secret
    assert [p.name for p in tmp_path.iterdir()] == ["dump.pgc.zst"]


def test_a_name_that_is_taken_refuses_and_changes_nothing(
    postgres: PostgresServer, database: str
) -> None:
    with postgres.connect() as admin:
        with postgres.connect(database) as conn:
            properties = read_properties(conn)
        with pytest.raises(RestoreRefused, match="already"):
            create_database(admin, database, properties)
        create_database(admin, "respaldo_restoring_x", properties, "respaldo: restoring")
        try:
            assert database_comment(admin, "respaldo_restoring_x") == "respaldo: restoring"
            with pytest.raises(RestoreRefused, match="already"):
                rename_database(admin, "respaldo_restoring_x", database)
            assert database_exists(admin, "respaldo_restoring_x")
        finally:
            drop_database(admin, "respaldo_restoring_x")
        assert not database_exists(admin, "respaldo_restoring_x")
        drop_database(admin, "respaldo_restoring_x")


def test_a_finished_restore_takes_its_final_name_and_comment(postgres: PostgresServer) -> None:
    final = 'acme "restored" %s'
    with postgres.connect() as admin:
        with postgres.connect() as conn:
            properties = read_properties(conn)
        create_database(admin, "respaldo_restoring_y", properties)
        try:
            set_comment(admin, "respaldo_restoring_y", "respaldo: restored from 'acme' %s")
            rename_database(admin, "respaldo_restoring_y", final)
            assert database_comment(admin, final) == "respaldo: restored from 'acme' %s"
        finally:
            drop_any(postgres, final)
            drop_any(postgres, "respaldo_restoring_y")


@pytest.mark.parametrize("name", ["acme", "postgres", "my_respaldo_restoring_x"])
def test_nothing_but_an_unfinished_restore_is_ever_dropped_or_renamed(
    postgres: PostgresServer, name: str
) -> None:
    with postgres.connect() as admin:
        with pytest.raises(RestoreRefused, match="left alone"):
            drop_database(admin, name)
        with pytest.raises(RestoreRefused, match="left alone"):
            rename_database(admin, name, "other")


def test_an_unknown_locale_is_refused_with_its_name(postgres: PostgresServer) -> None:
    like = DatabaseProperties("postgres", "UTF8", "xx_NO.UTF-8", "xx_NO.UTF-8")
    with postgres.connect() as admin, pytest.raises(RestoreRefused, match="locale") as caught:
        create_database(admin, "respaldo_restoring_z", like)
    assert "xx_NO" in caught.value.hint


def test_tables_get_back_the_replica_identity_that_we_had_replaced(
    postgres: PostgresServer, database: str
) -> None:
    postgres.execute(
        """
        create table a (i int); create table b (i int); create table "C%s" (i int);
        create table left_alone (i int);
        """,
        database,
    )
    before = schema_text(postgres.connection(), database)
    for table in ("a", "b", '"C%s"', "left_alone"):
        postgres.execute(f"alter table {table} replica identity full", database)
    postgres.execute(
        """
        create function log_ddl() returns event_trigger language plpgsql as
            'begin raise exception ''woken''; end';
        create event trigger loud on ddl_command_end execute function log_ddl();
        create event trigger louder on ddl_command_end execute function log_ddl();
        """,
        database,
    )
    postgres.execute("alter event trigger louder enable always", database)
    with postgres.connect(database) as conn:
        restore_identities(
            conn,
            (("public", "a", "d"), ("public", "b", "n"), ("public", "C%s", "d"), ("no", "no", "d")),
        )
    identities = "select relname::text, relreplident::text from pg_class where relkind = 'r'"
    found = dict(postgres.execute(identities + " and oid >= 16384", database))
    assert found == {"a": "d", "b": "n", "C%s": "d", "left_alone": "f"}
    enabled = "select evtname::text, evtenabled::text from pg_event_trigger order by 1"
    assert postgres.execute(enabled, database) == [("loud", "O"), ("louder", "A")]
    assert "loud" not in before


def test_a_connected_session_is_told_not_waited_for(postgres: PostgresServer) -> None:
    with postgres.connect() as admin:
        with postgres.connect() as conn:
            properties = read_properties(conn)
        create_database(admin, "respaldo_restoring_w", properties)
        try:
            with (
                postgres.connect("respaldo_restoring_w"),
                pytest.raises(Busy, match="cannot be renamed"),
            ):
                rename_database(admin, "respaldo_restoring_w", "acme_w")
        finally:
            drop_database(admin, "respaldo_restoring_w")


def test_names_of_any_kind_are_quoted_in_settings(postgres: PostgresServer, database: str) -> None:
    copy = "respaldo_restoring_q"
    like = DatabaseProperties(
        "postgres",
        "UTF8",
        "C.UTF-8",
        "C.UTF-8",
        settings=(("", "search_path="), ("", 'my.set"ting=x; drop'), ("", "work_mem=nonsense")),
        acl=("=Tc/postgres", "no_such=c/postgres", "postgres=CTc/postgres"),
    )
    with postgres.connect() as admin:
        create_database(admin, copy, like)
        try:
            notes = set_properties(admin, copy, like)
        finally:
            drop_database(admin, copy)
    assert any("work_mem" in note for note in notes)
    assert any("no_such" in note for note in notes)
