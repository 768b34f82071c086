"""Every kind of change to rows comes back: each has a schema of its own in one tenant's database.

docs/FORMAT.md, "Every kind of change", points here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from embedded.installation import Installation
from embedded.postgres import PostgresServer
from tests.conftest import drop_database
from tests.jobs.exactness import differences_of, empty_tenant
from tests.jobs.site import Site
from tests.postgres.compare import content_differences, database_content

FULL = bool(os.environ.get("RESPALDO_FULL"))
ICU = "locale_provider icu icu_locale 'de' template template0"
Step = str | Callable[[psycopg.Connection[Any]], object]
_numbers = count(1)


@dataclass(frozen=True)
class Kind:
    """What happens in a schema of its own, before and after the first full backup."""

    before: tuple[Step, ...]
    after: tuple[Step, ...]


def copied_in(conn: psycopg.Connection[Any]) -> None:
    with conn.cursor().copy("copy t from stdin") as copy:
        for number in range(500):
            copy.write_row((number, f"tab\t new\n line \\ {number}"))


def of_an_origin(conn: psycopg.Connection[Any]) -> None:
    """Change rows as a subscription's worker does: with an origin, and in replica mode."""
    conn.execute("select pg_replication_origin_create('elsewhere')")
    conn.execute("select pg_replication_origin_session_setup('elsewhere')")
    conn.execute(
        "begin; set local session_replication_role to replica;"
        "select pg_replication_origin_xact_setup('0/1234', now());"
        "insert into t values (7, 'from elsewhere'); update t set b = 'x' where a = 1;"
        "alter table t add column c int default 5; insert into t values (8, 'y', 9); commit"
    )
    conn.execute("select pg_replication_origin_session_reset()")


#: every byte that text can have, in a UTF-8 database; and what JSON, arrays and rows quote
BYTES = (
    "(select string_agg(chr(i), '') from generate_series(1, 1200) i)"
    " || U&'\\+01F40D\\+10FFFF\\FEFF\\2028' || E'\\\\N\\\\.\\r\\n\"{}()'"
)
WIDE = ", ".join(f"c{i} int" for i in range(1500))

KINDS = {
    "rows": Kind(
        ("create table t (a int primary key, b text); insert into t select i, 'b'"
         " from generate_series(1, 9) i; create table other (like t)",),
        ("insert into t values (10, null); update t set b = 'c' where a < 4; delete from t"
         " where a = 5; merge into t using (values (6), (66)) v (a) on t.a = v.a when matched then"
         " delete when not matched then insert values (v.a, 'merged')",
         "insert into t values (7, 'again') on conflict (a) do update set b = excluded.b",
         "insert into other select * from t; update other set b = 'all'; delete from other"
         " where a = 2"),
    ),
    "truncated": Kind(
        ("create table t (a serial primary key, b text); create table u (a int references t);"
         "insert into t (b) values ('x'), ('y'); insert into u values (1)",),
        ("truncate t restart identity cascade; insert into t (b) values ('z')",
         "begin; insert into t (b) values ('w'); truncate u, t; insert into t values (77); commit"),
    ),
    "copied": Kind(("create table t (a int primary key, b text)",), (copied_in,)),
    "keys that change": Kind(
        ("create table t (a int primary key deferrable, b text); insert into t values (1, 'one'),"
         " (2, 'two'), (3, 'three'); create table u (a int primary key, b text);"
         "alter table u alter b set storage external; insert into u"
         " select i, repeat(i::text, 9000) from generate_series(1, 4) i",),
        ("update t set a = 3 - a where a < 3",
         "begin; update u set a = -1 where a = 1; update u set a = 1 where a = 2; update u set"
         " a = 2 where a = -1; commit",
         "update u set a = a + 10; update u set a = 100 - a where a > 11; delete from u where a ="
         " 11;"
         "insert into u values (11, 'new')"),
    ),
    "unique values that swap": Kind(
        ("create table t (a int primary key, b text unique, c int unique deferrable initially"
         " deferred); insert into t values (1, 'x', 1), (2, 'y', 2), (3, 'z', 3)",),
        ("begin; update t set b = '' where a = 1; update t set b = 'x' where a = 2; update t set"
         " b = 'y' where a = 1; update t set c = 4 - c; commit",),
    ),
    "deferred constraints": Kind(
        ("create table t (a int primary key, next int references t deferrable initially deferred);"
         "create function f() returns trigger language plpgsql as $$ begin"
         " insert into log values (new.a); return null; end $$; create table log (a int);"
         "create constraint trigger late after insert on t deferrable initially deferred"
         " for each row execute function f()",),
        ("begin; set constraints all deferred; insert into t values (1, 2); insert into t"
         " values (2, 1); update t set next = 3 where a = 1; insert into t values (3, 1); commit",),
    ),
    "exclusion constraints": Kind(
        ("create table t (during int4range primary key, who text, exclude using gist"
         " (during with &&)); insert into t values ('[1,5)', 'a'), ('[5,9)', 'b')",),
        ("begin; delete from t where who = 'a'; update t set during = '[1,6)' where who = 'b';"
         " insert into t values ('[6,9)', 'a'); commit",
         "alter table t add constraint more exclude using gist (during with &&) deferrable"
         " initially"
         " deferred; update t set during = int4range(lower(during) + 10, upper(during) + 10)"),
    ),
    "dropped and made again": Kind(
        ("create table t (a int primary key, b text); insert into t values (1, 'old')",),
        ("update t set b = 'older'; drop table t; create table t (b numeric, a text);"
         "insert into t values (1.50, 'new')",
         "begin; alter table t rename to t_old; create table t (a int primary key); insert into t"
         " values (7); drop table t_old; commit",
         "drop table t; create table t as select 1 as a; update t set a = 2"),
    ),
    "columns that change between": Kind(
        ("create table t (a int primary key, b text, c int); insert into t values (1, 'x', 1)",),
        ("begin; insert into t values (2, 'y', 2); alter table t rename b to bb; update t set"
         " bb = 'z' where a = 2; alter table t drop column c; update t set a = 3 where a = 2;"
         " alter table t add column c text default clock_timestamp(); update t set bb = null;"
         " commit",
         "insert into t values (4); alter table t alter a type text using a::text || random();"
         " update t"
         " set c = 'last' where bb is null"),
    ),
    "rewritten": Kind(
        ("create table t (a int primary key, b int, u text); insert into t select i, i, 'u'"
         " from generate_series(1, 200) i",),
        ("vacuum full t", "cluster t using t_pkey", "reindex table t", "analyze t",
         "update t set b = 7 where a < 9", "alter table t add r float8 default random()",
         "alter table t add at timestamptz default clock_timestamp()",
         "alter table t add s bigserial", "update t set u = s || ' ' || r where a < 50"),
    ),
    "generated and identity": Kind(
        ("create table t (a int generated always as identity primary key, b int,"
         " c int generated always as (b * 2) stored); insert into t (b) values (1), (2)",),
        ("insert into t (b) values (3); update t set b = 5 where a = 1;"
         "insert into t (a, b) overriding system value values (99, 9)",
         "alter table t alter c drop expression; update t set c = 1 where a = 2;"
         "alter table t alter a set generated by default; insert into t (a, b) values (50, 5)"),
    ),
    "temporary": Kind(
        ("create table t (a int)",),
        ("create temp table t as select 1 as a; insert into pg_temp.t values (2);"
         "insert into \"temporary\".t values (3); alter table pg_temp.t add b int default random();"
         "drop table pg_temp.t",),
    ),
    "partitions": Kind(
        ("create table t (a int, r text, primary key (r, a)) partition by list (r);"
         "create table t1 partition of t for values in ('x'); create table t2 partition of t"
         " default;"
         "insert into t values (1, 'x'), (2, 'y')",),
        ("update t set r = 'y' where a = 1; insert into t values (3, 'x'); alter table t detach"
         " partition t1; insert into t1 values (4, 'x'), (5, 'free'); update t1 set r = 'x';"
         "alter table t attach partition t1 for values in ('x'); update t set a = a + 10",),
    ),
    "inherited": Kind(
        ("create table t (a int primary key, b text); create table kid (c int) inherits (t);"
         "insert into t values (1, 'p'); insert into kid values (1, 'k', 3)",),
        ("update t set b = b || '!'; insert into kid values (1, 'k', 3); delete from only t;"
         "alter table kid no inherit t; alter table t add d int default 4; update kid set c = 5",),
    ),
    "savepoints": Kind(
        ("create table t (a int primary key, b text)",),
        ("begin; insert into t values (1, 'x'); savepoint s; insert into t values (2, 'y');"
         "alter table t add c int default 1; rollback to s; insert into t values (3, 'z');"
         "savepoint r; alter table t add d int default 2; update t set d = a; release r; commit",
         "begin; create table gone (a int); insert into t values (9); rollback",
         "do $$ begin insert into t values (4); begin insert into t values (4); exception when"
         " unique_violation then alter table t add e int default 8; end; end $$"),
    ),
    "session_replication_role": Kind(
        ("create table t (a int primary key, b text); create table u (a int references t);"
         "create function f() returns trigger language plpgsql as $$ begin new.b := 'fired';"
         " return new; end $$; create trigger f before insert or update on t for each row"
         " execute function f()",),
        ("insert into t values (1); set session_replication_role to replica; insert into t"
         " values (2, 'quiet'); insert into u values (404); alter table t add c int default 3;"
         "set session_replication_role to local; insert into t values (3, 'loud');"
         "reset session_replication_role",),
    ),
    "from elsewhere": Kind(
        ("create table t (a int primary key, b text); insert into t values (1, 'here')",),
        (of_an_origin,),
    ),
    "1,500 columns": Kind(
        (f"create table t ({WIDE}, primary key (c0)); insert into t (c0, c1499) values (1, 1)",),
        ("insert into t (c0, c750) values (2, 2); update t set c1 = 9, c1499 = null where c0 = 1;"
         "alter table t add last text default now(); delete from t where c0 = 2;"
         "insert into t (c0, last) values (3, 'x')",),
    ),
    "values": Kind(
        ("create type pair as (a int, \"b c\" text); create type mood as enum ('low', 'it''s');"
         "create domain short as text check (length(value) < 2000); create table t (id int"
         " primary key,"
         " s short, raw json, data jsonb, bytes bytea, f float8, r real, n numeric, d date,"
         " at timestamptz, ts timestamp, i interval, texts text[], grid int[][], span tstzrange,"
         " many int4multirange, p pair, ps pair[], m mood, ip inet, bits varbit, x xml, c char(5),"
         " paid money, v tsvector, pt point, o oid, rc regclass)",),
        (f"insert into t (id, s, texts) values (1, {BYTES}, array[{BYTES}, null, 'NULL', ''])",
         "insert into t (id, raw, data, bytes, f, r, n, d, at, ts) values"
         " (2, ' {\"b\" :1,  \"b\": [ ] }', '{\"b\": 1.00}', '\\x00ff27', 'NaN', '-Infinity',"
         " 'NaN',"
         " '0044-03-15 BC', '-infinity', '4713-01-01 BC'),"
         " (3, 'null', 'null', '', '-0', 'NaN', '1.50', 'infinity', '0001-01-01 00:00 BC',"
         " 'infinity'),"
         " (4, '1e2', '\"\\u00f1\"', null, 5e-324, 1e-40, '-Infinity', '5874897-12-31',"
         " '294276-12-31 23:59:59.999999+00', '1883-11-18 12:03:58.123456')",
         "insert into t (id, i, grid, span, many, p, ps, m, ip, bits, x, c, paid, v, pt, o, rc)"
         " values"
         " (5, '1 mon -3 days 04:05:06.7', '{{1,2},{3,null}}', '[2026-01-01 00:00+00,)',"
         " '{[1,3),[7,9)}', row(1, 'a \"b\", (c)'), array[row(null, ''), null]::pair[], 'it''s',"
         " '192.168.1.5/24', b'0101', '<a> &amp; <b/></a>', 'a', '-0.01', $$'it''s':1A$$,"
         " '(-0,NaN)', 4294967295, 'pg_class')",
         "update t set s = s || 'x', n = n * 1.0, c = 'b ' where id in (1, 3, 5)"),
    ),
    "extension types": Kind(
        ("create extension hstore; create extension citext; create extension cube;"
         "create extension ltree; create table t (k citext primary key, h hstore, c cube, l"
         " ltree)",),
        ("insert into t values ('Key', 'a=>1, \"x y\"=>NULL', '(1,2),(3,4)', 'top.sub');"
         "update t set k = 'KEY', h = h || 'b=>\"\\\"\"'; insert into t values ('other'); delete"
         " from t"
         " where k = 'OTHER'; create extension isn; alter table t add i isbn default"
         " '039304002X'",),
    ),
    "collations": Kind(
        ("create collation german (provider = icu, locale = 'de-u-co-phonebk');"
         "create collation equal (provider = icu, locale = 'und-u-ks-level2', deterministic ="
         " false);"
         "create table t (a text collate german primary key, b text collate equal unique)",),
        ("insert into t values ('Ä', 'Foo'), ('ae', 'bar'), ('z', 'ñ'); update t set b = 'FOO'"
         " where b = 'foo'; update t set a = 'AE' where a = 'ae'; delete from t where b = 'BAR'",),
    ),
    "sequences": Kind(
        ("create sequence s; create table t (a int default nextval('s') primary key, b int"
         " generated by default as identity (increment -5))",),
        ("insert into t default values; select nextval('s') from generate_series(1, 100);"
         "alter sequence s restart 5000; insert into t default values;"
         "select setval('s', 9000); create sequence down increment -1; select nextval('down')",),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    differences: list[str]
    lived: dict[tuple[str, str], list[str]]
    restored: dict[tuple[str, str], list[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Return one that knows two-phase commits."""
    folder = Path(tempfile.mkdtemp(prefix="respaldo-kinds-"))
    folder.chmod(0o755)
    settings = {"max_prepared_transactions": "5", "log_min_messages": "fatal"}
    with PostgresServer(folder / "server", settings=settings, durable=False) as made:
        yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def site(
    installation: Installation, server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    made = Site(installation, tmp_path_factory.mktemp("kinds"), "kinds", postgres=server)
    yield made
    for database in [*made.databases, *made.restored_databases()]:
        drop_database(server, database)


@pytest.fixture(scope="module")
def outcome(site: Site) -> Outcome:
    """Let all kinds happen in one tenant, and restore it once."""
    tenant = empty_tenant(site, options=ICU)

    def happen(part: Callable[[Kind], tuple[Step, ...]]) -> None:
        for name, kind in KINDS.items():
            with site.postgres.connect(tenant, client_encoding="utf8") as conn:
                conn.execute(f'create schema if not exists "{name}"')  # type: ignore[arg-type]
                conn.execute(f'set search_path to "{name}", public')  # type: ignore[arg-type]
                for step in part(kind):
                    if callable(step):
                        step(conn)
                    else:
                        cursor = conn.execute(step)  # type: ignore[arg-type]
                        while cursor.nextset():
                            pass

    found = differences_of(
        site, tenant, lambda: happen(lambda k: k.before), lambda: happen(lambda k: k.after)
    )
    with (
        site.postgres.connect(f"copy_of_{tenant}") as live,
        site.postgres.connect(f"restored_{tenant}") as restored,
    ):
        return Outcome(found, database_content(live), database_content(restored))


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_of_change_comes_back(outcome: Outcome, name: str) -> None:
    lived, restored = (
        {table: rows for table, rows in content.items() if table[0] == name}
        for content in (outcome.lived, outcome.restored)
    )
    assert lived
    assert content_differences(lived, restored) == []


def test_nothing_else_differs(outcome: Outcome) -> None:
    assert outcome.differences == []
