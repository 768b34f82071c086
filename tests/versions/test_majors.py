"""The whole way, on each major version: prepare, archive, restore, also onto a newer one."""

from __future__ import annotations

import re
import time
from datetime import datetime

import pytest

from embedded.postgres import PostgresServer
from include.respaldo.errors import RestoreRefused
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.jobs.prepare import unprepare_databases
from include.respaldo.jobs.restore_database import restore_database
from include.respaldo.model.target import TargetTime
from tests.jobs.site import Site
from tests.postgres.compare import connect, content_differences, database_content, schema_text
from tests.versions.conftest import MAJORS, MakeSite, Server

TABLES = """
create type mood as enum ('sad', 'ok');
create table people (
    id int generated always as identity primary key, name text not null, feels mood,
    upper_name text generated always as (upper(name)) stored, born timestamptz default now());
create table parts (region text, n int, primary key (region, n)) partition by list (region);
create table parts_north partition of parts for values in ('north');
create table parts_rest partition of parts default;
create table papers (id int primary key, body text);
create view sad_people as select * from people where feels = 'sad';
"""
#: what came with a version
MORE_TABLES = {
    16: "create table stored (id int primary key, body text storage external);",
    17: """
        create table counted (id int generated always as identity, region text)
            partition by list (region);
        create table counted_north partition of counted for values in ('north');
        """,
    18: """
        create table computed (id int primary key, a int, twice int generated always as (a * 2));
        create table bookings (
            room int4range, during tsrange, who text,
            primary key (room, during without overlaps));
        create table checked (id int primary key, n int constraint filled not null);
        alter table checked add constraint positive check (n > 0) not enforced;
        """,
}
ROWS = """
insert into people (name, feels) select 'p' || i, 'ok' from generate_series(1, 20) i;
insert into parts select case when i % 2 = 0 then 'north' else 'south' end, i
  from generate_series(1, 10) i;
insert into papers
select i, (select string_agg(md5((i * j)::text), '') from generate_series(1, 500) j)
  from generate_series(1, 3) i;
insert into visits (what) select i % 3 from generate_series(1, 9) i;
insert into orders (item) values ('a'), ('b');
"""
MORE_ROWS = {
    16: "insert into stored select i, repeat('x', 9000) from generate_series(1, 3) i;",
    17: "insert into counted (region) values ('north'), ('north');",
    18: """
        insert into computed values (1, 1), (2, 2);
        insert into bookings values ('[1,2)', '[2026-01-01,2026-02-01)', 'a'),
                                    ('[1,2)', '[2026-02-01,2026-03-01)', 'b'),
                                    ('[2,3)', '[2026-01-01,2026-02-01)', 'c'),
                                    ('[7,9)', '[2026-01-01,2026-02-01)', 'overlaps'),
                                    ('[8,10)', '[2026-01-01,2026-02-01)', 'the room above'),
                                    ('[8,12)', '[2026-01-01,2026-02-01)', 'and so does this');
        insert into checked values (1, -1);
        """,
}
CHANGES = """
insert into people (name) values ('new');
insert into parts values ('south', 30), ('north', 31);
insert into visits (what) values (7);
update people set name = name || '!', feels = 'sad' where id % 5 = 0;
delete from people where id = 3;
update parts set region = 'north' where n = 3;
update papers set id = id + 10 where id = 1;
delete from visits where what = 1;
truncate orders;
insert into orders (item) values ('c');
"""
MORE_CHANGES = {
    16: "update stored set id = id + 10;",
    17: "delete from counted where id = 1;",
    18: """
        update computed set a = 7 where id = 1;
        update bookings set during = '[2026-01-01,2026-01-15)' where who = 'a';
        update bookings set during = '[2026-01-15,2026-03-01)' where who = 'b';
        delete from bookings where who = 'c';
        update bookings set who = who || '!' where room = '[7,9)';
        delete from bookings where room = '[8,12)';
        update checked set n = -2;
        """,
}


def new_with(major: int, what: dict[int, str]) -> str:
    return "".join(statements for since, statements in what.items() if since <= major)


def tenant_with_a_log(site: Site, major: int) -> tuple[str, datetime]:
    """Return a tenant whose log goes on past the moment that is returned too."""
    name = site.tenant()
    site.postgres.psql(TABLES + new_with(major, MORE_TABLES), name)
    site.postgres.psql(ROWS + new_with(major, MORE_ROWS), name)
    site.archive()
    site.postgres.psql(CHANGES + new_with(major, MORE_CHANGES), name)
    at = site.now()
    time.sleep(0.01)  # the next commit is later than that
    return name, at


def content(server: PostgresServer, database: str) -> dict[tuple[str, str], list[str]]:
    with connect(server.connection(), database) as conn:
        return database_content(conn)


def schema(server: PostgresServer, database: str, as_of: int) -> list[str]:
    """Return the schema's lines, without the identities that preparing has set.

    Before 16 a view's columns are shown with its table's name.
    """
    text = re.sub(r"(?<=[ (])people\.", "", schema_text(server.connection(), database, as_of))
    return [line for line in text.splitlines() if not line.endswith("REPLICA IDENTITY FULL;")]


@pytest.mark.parametrize("major", MAJORS)
def test_a_moment_comes_back_exactly_and_nothing_of_ours_stays(
    server: Server, make_site: MakeSite, major: int
) -> None:
    site = make_site(server(major))
    name, at = tenant_with_a_log(site, major)
    wanted = content(site.postgres, name)
    site.postgres.psql(
        "delete from people; update parts set n = n + 100; drop view sad_people", name
    )
    site.archive()
    target = f"{name}_restored"
    restore_database(
        site.deployment(),
        RestoreRequest(site.source(name), TargetTime(at), target, site.name),
    )
    assert not content_differences(wanted, content(site.postgres, target))
    site.postgres.psql("create view sad_people as select * from people where feels = 'sad'", name)
    assert schema(site.postgres, target, major) == schema(site.postgres, name, major)
    site.insert(target)  # its sequences go on
    unprepare_databases(site.deployment(), [site.source(name)])
    assert site.postgres.execute(
        "select (select count(*) from pg_namespace where nspname = 'respaldo'),"
        " (select count(*) from pg_event_trigger), (select count(*) from pg_publication),"
        " (select count(*) from pg_replication_slots where database = current_database())",
        name,
    ) == [(0, 0, 0, 0)]


@pytest.mark.parametrize(("older", "newer"), [(15, 17), (16, 18)])
def test_a_moment_comes_back_on_a_newer_server(
    server: Server, make_site: MakeSite, older: int, newer: int
) -> None:
    site = make_site(server(older), server(newer))
    name, at = tenant_with_a_log(site, older)
    wanted = content(site.postgres, name)
    site.insert(name)
    site.archive()
    restore_database(
        site.deployment(), RestoreRequest(site.source(name), TargetTime(at), name, "elsewhere")
    )
    assert not content_differences(wanted, content(server(newer), name))
    assert schema(server(newer), name, newer) == schema(site.postgres, name, newer)
    site.insert(name)


def test_an_older_server_is_refused_before_anything_is_done(
    server: Server, make_site: MakeSite
) -> None:
    site = make_site(server(17), server(15))
    name = site.tenant()
    site.archive()
    request = RestoreRequest(site.source(name), TargetTime(site.now()), name, "elsewhere")
    site.insert(name)
    site.archive()
    with pytest.raises(RestoreRefused, match="is PostgreSQL 15, the backup was taken from") as e:
        plan(site.deployment(), request)
    assert "PostgreSQL 17 or newer" in e.value.hint
