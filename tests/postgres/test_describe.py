"""A fingerprint is that of the definition: the same after a dump and a restore, else different."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import pairwise

import psycopg
import pytest

from embedded.postgres import PostgresServer
from include.respaldo.model.schema_change import ObjectAddress
from include.respaldo.postgres.connect import connect, libpq_environment
from include.respaldo.postgres.describe import fingerprint, same_definition
from tests.conftest import drop_database

SCHEMA = """
create schema s; create schema "We ird";
create type s.e as enum ('b', 'a'); create type s.c as (x int, y text collate "C");
create domain s.d as varchar(9) default 'q' not null constraint k check (value in ('q', 'r'));
create type s.r as range (subtype = float8);
create sequence s.q as int increment 5 cycle maxvalue 50;
create table s.t (id serial primary key, v varchar(20) check (v in ('a', 'b')),
  n numeric(10, 2) default 1.5 + 1, e s.e default 'a', j jsonb, at timestamptz default '2026-01-02',
  i int generated always as identity, g int generated always as (i * (2 + 1)) stored,
  gone int, "We ird" text collate "C", d s.d);
alter table s.t drop column gone;
alter table s.t alter v set statistics 7, alter v set storage external,
  alter v set (n_distinct = 3);
alter table s.t set (fillfactor = 70, toast.autovacuum_enabled = off);
alter sequence s.q owned by s.t.n;
comment on column s.t.j is 'x'; comment on table s.t is 'y';
create unique index ui on s.t using btree (lower(v) desc) include (j)
  where n > 3 and v in ('a', 'b');
alter table s.t cluster on t_pkey;
create table s.child (x int, primary key (x)) inherits (s.t);
alter table s.t add column late int default 7;
create table s.p (a int, b date, primary key (a, b)) partition by range (b);
create table s.p1 partition of s.p for values from ('2020-01-01') to ('2021-01-01');
create table s.p2 (b date not null, a int not null);
alter table s.p attach partition s.p2 default;
create table s.f (id int, a int, b date, constraint fk foreign key (a, b) references s.p)
  partition by list (id);
create table s.f1 partition of s.f for values in (1, null);
alter table s.t add constraint nv foreign key (i) references s.child not valid;
alter table s.t add constraint ex exclude using gist (int4range(i, i + 1) with &&) deferrable;
create function s.fn(a int default 3, variadic b text[] default '{}') returns setof s.t
  language sql stable set search_path = s as 'select * from t';
create function s.at(a int) returns int language sql return a + 1;
create procedure s.pr(inout x int) language plpgsql as 'begin end';
create aggregate s.ag(int) (sfunc = int4pl, stype = int4, initcond = '0');
create function s.tr() returns trigger language plpgsql as 'begin return new; end';
create trigger g before insert or update of v on s.t for each row when (new.v in ('a', 'b'))
  execute function s.tr();
alter table s.t enable always trigger g;
create trigger gp after insert on s.p for each row execute function s.tr();
alter table s.t enable row level security;
create policy po on s.t for select to public using (v in ('x', 'y'));
create view s.v with (security_barrier) as select id, v as vv, n * (2 + n) as nn from s.t
  where v in ('c', 'd') and at > now() - interval '1 day';
create rule ru as on insert to s.v do instead insert into s.t (v) values (new.vv);
create materialized view s.m as select * from s.v; create index on s.m (id);
create operator s.=== (leftarg = int, rightarg = int, function = int4eq,
  commutator = operator(s.===));
create operator class s.oc for type int using btree as operator 1 <, operator 2 <=, operator 3 =,
  operator 4 >=, operator 5 >, function 1 btint4cmp(int, int);
create cast (s.c as text) with inout as assignment;
create collation s.co from "C";
create text search configuration s.cfg (copy = pg_catalog.english);
create text search dictionary s.dic (template = simple, accept = false);
alter text search configuration s.cfg alter mapping for asciiword with s.dic, simple;
create statistics s.st (mcv) on id, v, (n + 1) from s.t;
create foreign data wrapper w options (a 'b'); create server srv foreign data wrapper w;
create foreign table s.ft (a int options (x 'y')) server srv options (k 'v');
create user mapping for public server srv options (u 'v');
create extension hstore schema s; create publication pub for table s.t;
create access method am type table handler heap_tableam_handler;
grant usage on schema s to {role}; grant select on s.t to {role} with grant option;
set role {role}; grant select on s.t to public; reset role;
grant update (v) on s.t to {role}; revoke execute on function s.at from public;
alter table s.p owner to {role};
alter default privileges in schema s grant select on tables to {role};
"""

OBJECTS = """
select a.type, a.object_names, a.object_args
  from (select 'pg_class'::regclass as c, oid from pg_class
         where relkind <> 't' and relnamespace <> 'pg_toast'::regnamespace
  {others}) o, lateral pg_identify_object_as_address(o.c, o.oid, 0) a
 where o.oid >= 16384 and a.type not in ('table constraint', 'domain constraint')
   and not exists (select from pg_trigger t where t.oid = o.oid and t.tgisinternal)
   and not exists (select from pg_type t where t.oid = o.oid and t.typcategory = 'A')
"""
CATALOGS = """
pg_proc pg_type pg_namespace pg_operator pg_opclass pg_opfamily pg_cast pg_collation pg_ts_config
pg_ts_dict pg_statistic_ext pg_foreign_data_wrapper pg_foreign_server pg_user_mapping pg_extension
pg_publication pg_am pg_trigger pg_policy pg_rewrite pg_attrdef pg_default_acl pg_publication_rel
"""


def addresses(conn: psycopg.Connection) -> list[ObjectAddress]:
    others = " ".join(f"union all select '{c}'::regclass, oid from {c}" for c in CATALOGS.split())
    found = conn.execute(OBJECTS.format(others=others)).fetchall()
    return [ObjectAddress(kind, tuple(names), tuple(args)) for kind, names, args in found]


@pytest.fixture
def restored(
    postgres: PostgresServer, database: str, session: psycopg.Connection, app: psycopg.Connection
) -> Iterator[psycopg.Connection]:
    """A copy, by dump and restore, of the test's database with all kinds of objects."""
    postgres.execute(SCHEMA.replace("{role}", app.info.user), database)
    name = f"{database}_copy"
    postgres.execute(f"create database {name}")
    environment = os.environ | libpq_environment(postgres.connection(), database)
    with tempfile.NamedTemporaryFile() as dump:
        for arguments in (
            ["pg_dump", "--format=custom", f"--file={dump.name}"],
            ["pg_restore", "--exit-on-error", f"--dbname={name}", dump.name],
        ):
            command = [postgres.bin(arguments[0]), *arguments[1:]]
            subprocess.run(command, env=environment, check=True)
    try:
        with connect(postgres.connection(), name) as conn:
            yield conn
    finally:
        drop_database(postgres, name)


def test_every_object_has_the_same_fingerprint_after_dump_and_restore(
    session: psycopg.Connection, restored: psycopg.Connection
) -> None:
    wanted = addresses(session)
    assert len({a.type for a in wanted}) >= 30
    different = []
    for address in wanted:
        here, there = fingerprint(session, address), fingerprint(restored, address)
        assert here is not None, address
        if here != there:
            different.append((address, there and same_definition(here, there)))
    assert not different, "\n".join(map(str, different))


CHANGES: list[tuple[str, str, tuple[str, ...]]] = [
    ("alter table s.t drop column late", "table", ("s", "t")),
    ("alter table s.t alter j set not null", "table", ("s", "t")),
    ("alter table s.t alter v drop default, alter n set default 4", "table", ("s", "t")),
    ("alter table s.t alter v set statistics 8", "table", ("s", "t")),
    ("alter table s.t set (fillfactor = 71)", "table", ("s", "t")),
    ("alter table s.t disable row level security", "table", ("s", "t")),
    ("alter table s.t disable trigger g", "trigger", ("s", "t", "g")),
    ("alter policy po on s.t using (v in ('x', 'z'))", "policy", ("s", "t", "po")),
    ("alter table s.t validate constraint nv", "table constraint", ("s", "t", "nv")),
    ("comment on column s.t.j is 'xx'", "table column", ("s", "t", "j")),
    ("alter table s.p detach partition s.p2", "table", ("s", "p2")),
    ("alter view s.v set (security_barrier = off)", "view", ("s", "v")),
    ("alter view s.v alter vv set default 'x'", "view column", ("s", "v", "vv")),
    ("alter type s.e add value 'z' after 'b'", "type", ("s.e",)),
    ("alter type s.c add attribute z int", "composite type", ("s", "c")),
    ("alter domain s.d drop constraint k", "type", ("s.d",)),
    ("alter sequence s.q no cycle", "sequence", ("s", "q")),
    ("alter sequence s.q owned by none", "sequence", ("s", "q")),
    ("alter extension hstore set schema public", "extension", ("hstore",)),
    (
        "alter text search configuration s.cfg drop mapping for email",
        "text search configuration",
        ("s", "cfg"),
    ),
    ("alter statistics s.st set statistics 5", "statistics object", ("s", "st")),
    ("alter server srv options (add k 'w')", "server", ("srv",)),
]


def test_every_change_of_the_definition_changes_the_fingerprint(
    session: psycopg.Connection, restored: psycopg.Connection
) -> None:
    unseen = []
    for change, kind, name in CHANGES:
        address = ObjectAddress(kind, name)
        before = fingerprint(restored, address)
        restored.execute(change)
        after = fingerprint(restored, address)
        assert before is not None
        assert after is not None
        if same_definition(before, after):
            unseen.append(change)
    assert unseen == []


def test_owner_and_rights_are_in_the_second_half(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute("create table t (a int)")
    address = ObjectAddress("table", ("public", "t"))
    found = [fingerprint(session, address)]
    for change in (
        "grant select on t to public",
        "grant select (a) on t to public",
        "create policy p on t to current_user",
        "alter table t owner to postgres",
    ):
        session.execute(f"set search_path to public; {change}; set search_path to pg_catalog")
        found.append(fingerprint(session, address))
    assert len(set(found)) == len(found)
    assert [same_definition(a, b) for a, b in pairwise(found)] == [True, True, False, True]


def test_a_fingerprint_depends_on_no_setting_and_leaves_nothing_behind(
    session: psycopg.Connection, app: psycopg.Connection
) -> None:
    app.execute(
        "create schema s; create table s.t (a int default 1.5, d date default '2026-01-02')"
    )
    app.execute("create view s.v as select * from s.t where d > '2026-03-04'")
    for address in (ObjectAddress("table", ("s", "t")), ObjectAddress("view", ("s", "v"))):
        plain = fingerprint(session, address)
        with session.transaction():
            session.execute(
                f"set local role {app.info.user}; set local search_path to s, public;"
                "set local datestyle to german; set local quote_all_identifiers to on"
            )
            assert fingerprint(session, address) == plain
            assert session.execute(
                "select current_user, current_setting('search_path'),"
                " to_regproc('pg_temp.respaldo_describe')"
            ).fetchone() == (app.info.user, "s, public", None)


@pytest.mark.parametrize(
    ("kind", "name", "args"),
    [
        ("table", ("public", "none"), ()),
        ("table", ("none", "none"), ()),
        ("table column", ("public", "t", "none"), ()),
        ("function", ("public", "none"), ("integer",)),
        ("type", ("public.none",), ()),
        ("policy", ("public", "t", "none"), ()),
        ("view", ("public", "t"), ()),
        ("extension", ("none",), ()),
        ("schema", ("none",), ()),
        ("operator", ("public", "+++"), ("integer", "integer")),
        ("cast", ("integer",), ("json",)),
    ],
)
def test_what_does_not_exist_has_no_fingerprint(
    session: psycopg.Connection,
    app: psycopg.Connection,
    kind: str,
    name: tuple[str, ...],
    args: tuple[str, ...],
) -> None:
    app.execute("create table t (a int)")
    assert fingerprint(session, ObjectAddress(kind, name, args)) is None
