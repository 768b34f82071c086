"""Transactions of every shape come back: in two phases, long, huge; with rows of any size."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path

import pytest

from embedded.installation import Installation
from embedded.postgres import PostgresServer
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.jobs.restore_database import replay, restore, verify
from include.respaldo.model.target import TargetTime
from tests.conftest import drop_database
from tests.jobs.exactness import differences_of, empty_tenant, run
from tests.jobs.site import Site

_numbers = count(1)
FULL = bool(os.environ.get("RESPALDO_FULL"))
ROWS = 5_000_000
#: of memory, for any process of ours, whatever the size of a transaction
LIMIT = 1 << 30


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Return one that knows two-phase commits."""
    folder = Path(tempfile.mkdtemp(prefix="respaldo-transactions-"))
    folder.chmod(0o755)
    settings = {"max_prepared_transactions": "5"}
    with PostgresServer(folder / "server", settings=settings, durable=False) as made:
        yield made
    shutil.rmtree(folder)


@pytest.fixture
def site(installation: Installation, server: PostgresServer, tmp_path: Path) -> Iterator[Site]:
    made = Site(installation, tmp_path, f"shapes{next(_numbers)}", postgres=server)
    yield made
    for database in [*made.databases, *made.restored_databases()]:
        drop_database(server, database)


def moment(site: Site) -> datetime:
    """Return the time now, once a later commit will be later."""
    at = site.now()
    time.sleep(0.01)
    return at


def restored_to(site: Site, tenant: str, at: datetime, name: str) -> list[str]:
    """Restore from the newest full backup that leads there, and the oldest; return the names."""
    planned = plan(
        site.deployment(), RestoreRequest(site.source(tenant), TargetTime(at), name, site.name)
    )
    names = []
    for number, route in enumerate((planned.routes[0], planned.routes[-1])):
        one = f"{name}_{number}"
        alone = replace(planned, routes=(route,), request=replace(planned.request, new_name=one))
        restore(site.deployment(), alone)
        replay(site.deployment(), alone)
        verify(site.deployment(), alone)
        site.databases.append(one)
        names.append(one)
    return names


def test_a_transaction_in_two_phases_counts_from_its_second(site: Site) -> None:
    tenant = empty_tenant(site)
    run(site, tenant, "create table t (a int primary key)")
    site.archive()
    run(
        site,
        tenant,
        "begin; insert into t values (1); create table made (a int); insert into made values (7);"
        " prepare transaction 'kept'",
        "begin; insert into t values (2); create table never (a int); prepare transaction 'gone'",
    )
    site.backup(tenant)
    prepared = moment(site)
    run(site, tenant, "insert into t values (3)", "commit prepared 'kept'")
    run(site, tenant, "rollback prepared 'gone'", "insert into t values (4)")
    ended = moment(site)
    run(site, tenant, "insert into t values (5)")
    site.archive()
    tables = (
        "select string_agg(relname, ' ' order by relname) from pg_class where relkind = 'r'"
        " and relnamespace = 'public'::regnamespace"
    )
    for at, name, rows, made in (
        (prepared, "one", [], "t"),
        (ended, "two", [1, 3, 4], "made t"),
    ):
        found = restored_to(site, tenant, at, f"{site.name}_{name}")
        for database in found:
            assert site.postgres.execute("select a from t order by 1", database) == [
                (row,) for row in rows
            ]
            assert site.postgres.execute(tables, database) == [(made,)]


def test_a_transaction_outlives_segments_and_full_backups(site: Site) -> None:
    tenant = empty_tenant(site)
    run(
        site,
        tenant,
        "create table t (a int primary key, b text); create table other (a int);"
        "insert into t values (0, 'x')",
    )
    site.archive()
    with site.postgres.connect(tenant) as long:
        long.execute("begin")
        for number in (1, 2):
            long.execute(
                f"insert into t values ({number}, 'long'); update t set b = b || '!' where a = 0;"
                f"create table made{number} as select {number} as a; savepoint s{number}"
            )
            run(site, tenant, f"insert into other values ({number})")
            assert site.archive().segments == 1
            site.backup(tenant)
        long.execute("alter table t add c text default clock_timestamp(); insert into t values (4)")
        before = moment(site)
        run(site, tenant, "insert into other values (77)")
        long.execute("commit")
    after = moment(site)
    run(site, tenant, "insert into other values (78)")
    site.archive()
    for name in restored_to(site, tenant, before, f"{site.name}_before"):
        assert site.postgres.execute("select * from t", name) == [(0, "x")]
    wanted = "select t::text from t union all select t::text from made2 t order by 1"
    found = restored_to(site, tenant, after, f"{site.name}_after")
    for name in found:
        assert site.postgres.execute(wanted, name) == site.postgres.execute(wanted, tenant)


def test_what_pg_restore_loads_into_a_live_database_comes_back(site: Site) -> None:
    other = f"{site.name}_other"
    site.postgres.execute(f"create database {other}")
    try:
        run(
            site,
            other,
            "create table loaded (id serial primary key, b text, j json);"
            "create table bare (a int); insert into loaded (b, j)"
            " select md5(i::text), '{\"a\" :  1}' from generate_series(1, 2000) i;"
            "insert into bare select 1 from generate_series(1, 99);"
            "create index on loaded (b); create view v as select * from loaded; create"
            " materialized view m as select count(*) from bare;"
            "create function f() returns trigger language plpgsql as 'begin return null; end';"
            "create trigger never before insert on bare for each row execute function f()",
        )
        dumped = subprocess.run(
            [site.postgres.bin("pg_dump"), "-Fc"],
            env=site.postgres.environment(other), capture_output=True, check=True,
        ).stdout  # fmt: skip
    finally:
        drop_database(site.postgres, other)
    tenant = empty_tenant(site)

    def load() -> None:
        subprocess.run(
            [site.postgres.bin("pg_restore"), f"--dbname={tenant}", "--exit-on-error"],
            env=site.postgres.environment(tenant), input=dumped, capture_output=True, check=True,
        )  # fmt: skip
        run(site, tenant, "update loaded set b = 'x' where id < 5; delete from bare")

    assert differences_of(site, tenant, lambda: None, load) == []


@pytest.mark.skipif(not FULL, reason="takes minutes: RESPALDO_FULL")
@pytest.mark.timeout(1800)
def test_a_transaction_of_millions_of_rows_takes_bounded_memory(site: Site) -> None:
    tenant = empty_tenant(site)
    run(site, tenant, "create table t (a bigint primary key, b text); create table u (a int)")
    site.archive()
    run(
        site,
        tenant,
        f"begin; insert into t select i, md5(i::text) from generate_series(1, {ROWS}) i;"
        "update t set b = 'x' where a % 1000 = 0; commit",
    )
    at = moment(site)
    run(site, tenant, "insert into u values (1)")
    name = f"{site.name}_restored"
    for command in (
        ("archive", "--server", site.name, "--once"),
        ("restore", tenant, "--to", at.isoformat(), "--as", name),
    ):
        process = site.spawn(*command, quiet=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        print(f"{command[0]}: {usage.ru_maxrss // 1024} MiB")
        assert usage.ru_maxrss * 1024 < LIMIT, command
    digest = "select count(*), sum(hashtextextended(t::text, 0)) from t"
    assert site.postgres.execute(digest, name) == site.postgres.execute(digest, tenant)


@pytest.mark.skipif(not FULL, reason="takes minutes: RESPALDO_FULL")
@pytest.mark.timeout(1800)
def test_a_row_of_200_megabytes_comes_back(site: Site) -> None:
    tenant = empty_tenant(site)
    run(site, tenant, "create table t (a int primary key, b text, c bytea); create table u (a int)")
    site.archive()
    run(
        site,
        tenant,
        "insert into t values (1, repeat(md5('x'), 200 * 1024 * 1024 / 32), null)",
        "insert into t values (2, null, decode(repeat('00ff27', 30 * 1024 * 1024), 'hex'))",
        "update t set a = a + 10; update t set c = '' where a = 11",
    )
    at = moment(site)
    run(site, tenant, "insert into u values (1)")
    site.archive()
    for name in restored_to(site, tenant, at, f"{site.name}_restored"):
        digest = "select a, length(b), md5(b), length(c), md5(c) from t order by a"
        assert site.postgres.execute(digest, name) == site.postgres.execute(digest, tenant)
