"""What random workloads found of commands and rows that were under way at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from include.respaldo.errors import LogDiverged
from tests.jobs.exactness import differences_of, empty_tenant, run
from tests.jobs.site import Site


def test_a_transaction_of_one_snapshot_changes_a_table_that_another_has_changed_since(
    site: Site,
) -> None:
    """What its capture reads of the catalog is a mixture of both moments."""
    tenant = empty_tenant(site)
    before = "create table t (a int); create table u (a int)"

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            for isolation in ("repeatable read", "serializable"):
                late.execute(f"begin isolation level {isolation}; select 1")
                other.execute(
                    f"alter table t set (fillfactor = {len(isolation)});"
                    "alter table t add column b timestamptz default now()"
                )
                late.execute("alter table t add column c int unique; insert into u values (1)")
                late.execute("alter table t drop column b; commit")
                other.execute("alter table t drop column c")

    assert differences_of(site, tenant, lambda: run(site, tenant, before), after) == []


def while_a_row_is_under_way(
    site: Site, change: str, *, is_in_backup: bool = False
) -> Callable[[], list[str]]:
    """Return what restores and compares a row that was written before `change`, committed after."""
    tenant = empty_tenant(site)
    before = [
        "create type y as (a int, b int); create type e as enum ('a', 'b')",
        "create table r (a int, b int); create type other as enum ('a')",
        "create table q (a int, b int)",
        "create domain d as y; create table t (k int primary key, v d[], x e, z r)",
    ]

    def after() -> None:
        with site.postgres.connect(tenant) as late:
            late.execute("begin; insert into t values (1, '{\"(3,4)\"}', 'a', '(1,2)')")
            run(site, tenant, change)
            if is_in_backup:
                site.backup()
            late.execute("commit")

    return lambda: differences_of(site, tenant, lambda: run(site, tenant, *before), after)


@pytest.mark.parametrize(
    "change",
    [
        "alter type y drop attribute b; alter type y add attribute c int",
        "alter type e rename value 'a' to 'z'; alter type e rename value 'b' to 'a'",
        "alter table r drop column a, add c text",
        "alter type e rename value 'a' to 'z'; alter type e add value 'a'",
    ],
)
def test_a_value_under_way_that_its_changed_type_would_read_as_another_is_refused(
    site: Site, change: str
) -> None:
    """A type changes without a lock; the decoder shows such values as of any moment."""
    with pytest.raises(LogDiverged, match="written before"):
        while_a_row_is_under_way(site, change)()


@pytest.mark.parametrize(
    "change",
    [
        "alter type y drop attribute b; alter type y add attribute c int",
        # which type is meant cannot be told from what the backup shows
        "alter table q drop column a; alter table q add column a int",
    ],
)
def test_a_value_under_way_is_refused_also_where_the_backup_shows_the_changed_type(
    site: Site, change: str
) -> None:
    with pytest.raises(LogDiverged, match="written before"):
        while_a_row_is_under_way(site, change, is_in_backup=True)()


@pytest.mark.parametrize(
    "change",
    [
        "alter table r alter b drop not null; alter table r add check (a > 0)",
        "alter table q drop column a; alter table q add column a int",
        "alter type other rename value 'a' to 'b'; alter type e add value 'c'",
        "alter type y rename attribute a to d",
    ],
)
def test_a_value_under_way_is_exact_where_its_type_reads_it_as_it_was(
    site: Site, change: str
) -> None:
    assert while_a_row_is_under_way(site, change)() == []


@pytest.mark.parametrize(
    "change",
    [
        "alter table r drop column a",
        "alter type e rename value 'a' to 'x'",
        "alter type y drop attribute b",
        "alter type y add attribute b2 int",
    ],
)
def test_a_value_under_way_that_its_changed_type_cannot_read_is_exact_or_refused(
    site: Site, change: str
) -> None:
    """The decoder shows it as before the change, or as after it: the first fits, or shows."""
    try:
        found = while_a_row_is_under_way(site, change)()
    except LogDiverged as error:
        found = [] if "does not fit" in str(error) else [str(error)]
    assert found == []


def test_what_others_committed_while_a_command_ran_is_no_difference(site: Site) -> None:
    """A replay goes by commits; what the command left did not show their changes yet."""
    tenant = empty_tenant(site)
    before = [
        "create table r (a int primary key); create table t (a int references r, b int)",
        "create schema s; create type s.y as enum ('a'); create table w (a s.y)",
    ]
    steps = [
        ("comment on table t is 'one'", "alter table r rename to renamed"),
        ("comment on table t is 'two'", "grant select on t to pg_monitor, public"),
        ("comment on table t is 'three'", "grant select (b) on t to pg_monitor"),
        ("create table u (a int)", "alter default privileges grant all on tables to pg_monitor"),
        ("comment on table w is 'four'", "alter type s.y rename to z"),
        ("comment on table w is 'five'", "alter schema s rename to s2"),
    ]

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            for mine, theirs in steps:
                late.execute(f"begin; {mine}")
                other.execute(theirs)
                late.execute("commit")

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []


def test_a_table_is_changed_just_before_the_index_that_was_made_concurrently_commits(
    site: Site,
) -> None:
    """PostgreSQL gives its lock back first: the change sees an index that is not valid yet."""
    tenant = empty_tenant(site)
    before = [
        "create table t (a int, b int); insert into t values (1, 2)",
        """
        create function wait() returns event_trigger language plpgsql as $$begin
            perform pg_sleep(1);
        end$$;
        create event trigger wait on ddl_command_end when tag in ('CREATE INDEX')
        execute function wait()
        """,
    ]
    is_waiting = """
        select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()
    """

    def after() -> None:
        with ThreadPoolExecutor(1) as pool, site.postgres.connect(tenant) as other:
            made = pool.submit(run, site, tenant, "create index concurrently i on t (a)")
            while other.execute(is_waiting).fetchone() is None:
                assert not made.done()
            other.execute("alter table t add column c int default 3, drop column b")
            assert not made.done()
            made.result()

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []


def test_a_child_that_leaves_its_parent_unseen_is_refused(site: Site) -> None:
    """A dump puts inherited columns first, and without a fingerprint nothing tells the order."""
    tenant = empty_tenant(site)
    before = ["create table p (a int); create table c (b int, a int); alter table c inherit p"]

    def after() -> None:
        with site.postgres.connect(tenant) as late:
            late.execute("begin isolation level repeatable read; select 1")
            run(site, tenant, "alter table p add x int")
            late.execute("alter table c no inherit p; commit")

    with pytest.raises(LogDiverged, match="inherited columns first"):
        differences_of(site, tenant, lambda: run(site, tenant, *before), after)


def test_rows_named_by_the_old_name_of_their_schema_find_their_table(site: Site) -> None:
    """Renaming a schema waits for nobody who is changing rows in it."""
    tenant = empty_tenant(site)
    before = [
        "create schema shop; create table shop.orders (a int primary key, b text)",
        "create schema shop_new; create table shop_new.orders (a int primary key, b text)",
        "insert into shop.orders values (1, 'old'); insert into shop_new.orders values (1, 'new')",
    ]

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            late.execute("begin; insert into shop.orders values (2, 'late')")
            other.execute("alter schema shop rename to shop_old")
            late.execute("insert into shop_old.orders values (3, 'later')")
            late.execute("commit")
            other.execute("insert into shop_new.orders values (2, 'new')")
            late.execute("begin; update shop_old.orders set b = 'latest' where a = 3")
            other.execute("alter schema shop_new rename to shop")
            other.execute("insert into shop.orders values (3, 'newer')")
            late.execute("commit")

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []


def test_a_name_that_may_mean_either_of_two_tables_is_refused(site: Site) -> None:
    tenant = empty_tenant(site)
    before = ["create schema s; create table s.t (a int primary key)"]

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            late.execute("begin; insert into s.t values (1)")
            other.execute("alter schema s rename to s2")
            other.execute("create schema s; create table s.t (a int primary key)")
            late.execute("commit")

    with pytest.raises(LogDiverged, match="of the two tables rows belong to"):
        differences_of(site, tenant, lambda: run(site, tenant, *before), after)


@pytest.mark.parametrize(
    ("kind", "theirs", "made"),
    [
        ("tables", "create table u (a int)", r"public\.u"),
        ("functions", "create extension citext", "citext"),
    ],
)
def test_a_right_on_all_that_a_schema_holds_is_refused_while_more_is_made(
    site: Site, kind: str, theirs: str, made: str
) -> None:
    """Whether it was among all cannot be told: PostgreSQL names nothing that it granted on."""
    tenant = empty_tenant(site)

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            late.execute(f"begin; grant all on all {kind} in schema public to pg_monitor")
            other.execute(theirs)
            late.execute("commit")

    with pytest.raises(LogDiverged, match=f"{made} was made at the same time"):
        differences_of(site, tenant, lambda: run(site, tenant, "create table t (a int)"), after)


def test_a_right_on_all_is_replayed_while_what_it_does_not_name_is_made(site: Site) -> None:
    tenant = empty_tenant(site)
    before = [
        "create table t (a int)",
        "create function f() returns trigger language plpgsql as 'begin return new; end'",
    ]

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            late.execute(
                "begin; grant select on all sequences in schema public to pg_monitor;"
                "create function g() returns void language sql"
                " as 'grant select on all tables in schema public to pg_monitor'"
            )
            other.execute(
                "create trigger x before insert on t execute function f();"
                "create policy y on t; create type public.z as (a int); create table u (a int)"
            )
            late.execute("commit")

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []


def _extension_beside(site: Site, tenant: str, theirs: str) -> list[str]:
    """Make an extension while another transaction changes default privileges, and ends first."""

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            late.execute("begin; create extension citext")
            other.execute(theirs)
            late.execute("commit")
            late.execute("comment on extension citext is 'ours'")

    return differences_of(site, tenant, lambda: run(site, tenant, "create table t (a int)"), after)


def test_an_extension_made_while_its_default_privileges_change_is_refused(site: Site) -> None:
    """A replay has changed them before, and its objects get other rights than they had."""
    tenant = empty_tenant(site)
    theirs = "alter default privileges grant execute on functions to pg_monitor"
    with pytest.raises(LogDiverged, match="privileges of extension citext are others"):
        _extension_beside(site, tenant, theirs)


def test_an_extension_made_while_other_default_privileges_change_is_replayed(site: Site) -> None:
    tenant = empty_tenant(site)
    theirs = "alter default privileges grant select on sequences to pg_monitor"
    assert _extension_beside(site, tenant, theirs) == []


def test_a_comment_is_replayed_though_what_it_is_on_has_changed_meanwhile(site: Site) -> None:
    """What it left shows the domain as it was when it ran; a replay has changed that before."""
    tenant = empty_tenant(site)
    before = ["create domain d as int not null", "create table t (a d)"]

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            late.execute("begin; comment on domain d is 'mine'")
            other.execute("set lock_timeout = '20s'; alter domain d drop not null")
            late.execute("commit")

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []


def test_what_others_have_renamed_meanwhile_is_found_by_its_former_name(site: Site) -> None:
    """Renaming a type or a schema waits for nobody; a replay has done that before."""
    tenant = empty_tenant(site)
    before = [
        "create type y as enum ('a'); create schema s; create table s.t (a y, b int)",
        "create schema s5; create function s5.f() returns int language sql as 'select 1'",
    ]
    steps = [
        ("comment on type y is 'mine'", "alter type y rename to z"),
        ("create view v as select a from s.t", "alter schema s rename to s2"),
        ("alter table s2.t add c int", "alter schema s2 rename to s3"),
        ("alter schema s3 owner to pg_monitor", "alter type z rename to x"),
        ("alter function s5.f() cost 7", "alter schema s5 rename to s6"),
    ]

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            for mine, theirs in steps:
                late.execute(f"begin; {mine}")
                other.execute(f"set lock_timeout = '9s'; {theirs}")
                late.execute("commit")

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []


def test_a_domain_that_two_transactions_change_at_a_time_is_replayed(site: Site) -> None:
    """ALTER DOMAIN waits for nobody: what each left does not show what the other did."""
    tenant = empty_tenant(site)
    before = ["create domain d as int default 7 constraint c check (value > 0)"]

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            late.execute("begin; alter domain d drop default")
            other.execute("set lock_timeout = '9s'; alter domain d drop constraint c")
            late.execute("commit")

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []


def test_a_tables_sequences_go_along_certainly_or_the_restore_is_refused(site: Site) -> None:
    """PostgreSQL has noted them before it waits for a sequence that another table gets."""
    tenant = empty_tenant(site)
    before = ["create table t (a serial)", "create table u (a int)"]

    def after() -> None:
        with (
            site.postgres.connect(tenant) as first,
            site.postgres.connect(tenant) as second,
            ThreadPoolExecutor(1) as pool,
        ):
            first.execute("begin; alter sequence t_a_seq owned by u.a")
            changing = pool.submit(second.execute, "alter table t owner to pg_monitor")
            while not site.postgres.execute("select 1 from pg_locks where not granted"):
                time.sleep(0.02)
                assert not changing.done()
            first.execute("commit")
            changing.result()

    with pytest.raises(LogDiverged, match="which sequences went along"):
        differences_of(site, tenant, lambda: run(site, tenant, *before), after)


def test_a_new_sequence_certainly_goes_along_with_the_table_that_waited_for_it(site: Site) -> None:
    tenant = empty_tenant(site)
    before = ["create table t (a int, b int)", "create schema s"]

    def after() -> None:
        with (
            site.postgres.connect(tenant) as first,
            site.postgres.connect(tenant) as second,
            ThreadPoolExecutor(1) as pool,
        ):
            first.execute("begin; create sequence q owned by t.a; create sequence r owned by t.b")
            changing = pool.submit(second.execute, "alter table t set schema s")
            while not site.postgres.execute("select 1 from pg_locks where not granted"):
                time.sleep(0.02)
                assert not changing.done()
            first.execute("commit")
            changing.result()

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []
