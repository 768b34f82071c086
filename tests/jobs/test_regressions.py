"""What random workloads found, each as the smallest story that shows it."""

from __future__ import annotations

import psycopg
import pytest

from include.respaldo.errors import RestoreRefused
from tests.jobs.exactness import differences, differences_of, empty_tenant, run
from tests.jobs.site import Site


def test_privileges_on_the_schema_public_are_restored(site: Site) -> None:
    """pg_restore leaves out what belongs to no entry of the dump once schemas are selected."""
    tenant = empty_tenant(site)
    before = [
        "grant all on schema public to pg_monitor",
        "revoke execute on function pg_catalog.pg_sleep(double precision) from public",
        "comment on schema public is 'ours'",
        "create table t (a int)",
    ]
    assert differences(site, tenant, before, ["insert into t values (1)"]) == []


def test_a_table_that_the_application_publishes_is_replayed_without_a_key(site: Site) -> None:
    """Its own publication refuses updates and deletes of a table without a replica identity."""
    tenant = empty_tenant(site)
    before = [
        "create table t (a int); insert into t values (1), (2), (3)",
        "create publication app for table t",
    ]
    after = ["update t set a = 7 where a = 1", "delete from t where a = 2"]
    assert differences(site, tenant, before, after) == []


def test_an_identity_that_the_application_sets_to_full_itself_stays_full(site: Site) -> None:
    """We had set it already: that it is the application's from then on is in no catalog."""
    tenant = empty_tenant(site)
    names = ("t", '"T 2  x"', '"semi;colon--"', '"back\\slash"', "other", "t_x", '"Cased"', "cased")
    before = [f"create table {name} (a int)" for name in names]
    after = [
        *(f"alter table {name}\n  Replica identity full" for name in names[:4]),
        "alter table t_x add b int; do 'begin alter table public.other replica identity full; end'",
        'do $$begin alter table "Cased" add b int; alter table cased replica identity full; end$$',
    ]
    assert differences(site, tenant, before, after) == []
    ((left,),) = site.postgres.execute(
        "select array_agg(c.relname) from respaldo.replica_identity r"
        " join pg_class c on c.oid = r.relation",
        tenant,
    )
    assert sorted(left) == ["Cased", "t_x"]


def test_a_table_that_became_unlogged_is_empty(site: Site) -> None:
    """As after a physical recovery; until it is logged again."""
    tenant = empty_tenant(site)
    before = ["create table t (a int primary key); create table u (b text)"]
    after = [
        "insert into t values (1); insert into u values ('x')",
        "alter table t set unlogged; alter table u set unlogged",
        "insert into t values (2); insert into u values ('y')",
        "alter table u set logged",
    ]
    assert differences(site, tenant, before, after) == []


def test_names_outside_ascii_in_a_latin1_database_are_restored(site: Site) -> None:
    tenant = empty_tenant(site, options="encoding 'LATIN1' locale 'C' template template0")
    before = ['create table "ñandú" ("é" text primary key); insert into "ñandú" values (\'ü\')']
    after = ['update "ñandú" set "é" = \'ß\'', "insert into \"ñandú\" values ('ÿ')"]
    assert differences(site, tenant, before, after) == []


def test_a_materialized_view_that_its_owner_may_not_compute_stops_no_restore(site: Site) -> None:
    """pg_restore computes as the owner does, and ends where that fails."""
    tenant = empty_tenant(site)
    before = [
        "create table t (a int); insert into t values (1)",
        "create materialized view barred as select * from t",
        "create materialized view allowed_later as select * from t",
        "alter materialized view barred owner to pg_monitor",
        "alter materialized view allowed_later owner to pg_database_owner",
    ]
    after = ["grant select on t to pg_database_owner"]
    assert differences(site, tenant, before, after) == []
    populated = "select relname::text, relispopulated from pg_class where relkind = 'm' order by 1"
    assert site.postgres.execute(populated, f"restored_{tenant}") == [
        ("allowed_later", True),
        ("barred", False),
    ]


def test_a_foreign_key_goes_along_with_the_index_that_it_rested_on(site: Site) -> None:
    """Of several that would do, a dump does not keep which one that was."""
    tenant = empty_tenant(site)
    before = [
        "create table t (id int, constraint b_first unique (id))",
        "create table u (a int references t (id))",
        "alter table t add constraint a_second unique (id)",
    ]
    after = ["insert into t values (1)", "alter table t drop constraint b_first cascade"]
    assert differences(site, tenant, before, after) == []


def test_rows_that_went_while_a_table_was_unlogged_stop_no_later_command(site: Site) -> None:
    """They are in no log: what stands there from before must not stay."""
    tenant = empty_tenant(site)
    before = ["create table t (a int); insert into t values (null), (1)"]
    after = [
        "alter table t set unlogged",
        "delete from t where a is null",
        "alter table t add primary key (a)",
        "insert into t values (3)",
        "alter table t set logged",
        "create table u (a int)",
    ]
    assert differences(site, tenant, before, after) == []


def test_a_default_that_a_dump_writes_as_null_is_none(site: Site) -> None:
    """For a child's column that has none where its parent's has one."""
    tenant = empty_tenant(site)
    before = [
        "create table p (a int default 3, b int)",
        "create table c (b int, x int, a int); alter table c inherit p",
    ]
    after = ["insert into c values (1, 2, 3)", "alter table c add d int"]
    assert differences(site, tenant, before, after) == []


def test_backslashes_in_a_definition_are_compared_whatever_the_setting(site: Site) -> None:
    """PostgreSQL writes constants as standard_conforming_strings has them."""
    tenant = empty_tenant(site)
    before = ["create table t (a text default 'a\\b')"]
    after = [
        "set standard_conforming_strings to off",
        "alter table t alter column a set not null",
        "comment on table t is 'it\\'s; \\\\ so'",
        "drop table if exists v; create table u (a text default '\\t' -- on\n 'x\\'')",
    ]
    assert differences(site, tenant, before, after) == []


def test_an_identity_is_the_applications_own_whatever_the_setting_of_backslashes(
    site: Site,
) -> None:
    """Our functions are read under the caller's settings."""
    tenant = empty_tenant(site)
    after = [
        "set standard_conforming_strings to off",
        'set standard_conforming_strings to off; alter table "a/b" replica identity full',
    ]
    assert differences(site, tenant, ['create table "a/b" (a int)'], after) == []


def test_a_negative_number_is_the_same_after_a_dump(site: Site) -> None:
    """PostgreSQL keeps -1::integer as the negative of 1, and reads that again as the number -1."""
    tenant = empty_tenant(site)
    before = ["create table t (a int default -1::int, b numeric[] default array[-1.5::numeric, 2])"]
    assert differences(site, tenant, before, ["alter table t add c int"]) == []


def test_numbers_that_a_rolled_back_transaction_took_are_not_handed_out_again(site: Site) -> None:
    """No row and no segment tells of them: the archive looks, and notes the sequences alone."""
    tenant = empty_tenant(site)
    run(site, tenant, "create table t (a serial primary key)")

    def after() -> None:
        run(site, tenant, "insert into t default values")
        site.archive()
        run(site, tenant, "begin; insert into t select from generate_series(1, 40); rollback")
        assert site.archive().segments == 1
        assert site.archive().segments == 0  # nothing more

    assert differences_of(site, tenant, lambda: None, after) == []
    with site.postgres.connect(f"restored_{tenant}") as conn:
        (number,) = conn.execute("insert into t default values returning a").fetchone() or (0,)
    assert number >= 42


def test_an_inherited_check_is_as_valid_as_a_dump_makes_it(site: Site) -> None:
    """A check that is not valid is so in an empty child, but not after a dump."""
    tenant = empty_tenant(site)
    before = [
        "create table p (a int); insert into p values (1)",
        "alter table p add constraint c check (a > 5) not valid",
        "create table t (b int) inherits (p)",
    ]
    after = ["alter table t add d int; insert into t values (7, 1, 1)"]
    assert differences(site, tenant, before, after) == []


def test_words_that_make_a_child_leave_its_parent_are_data_elsewhere(site: Site) -> None:
    tenant = empty_tenant(site)
    before = ["create table p (a int); create table c (b int, a int); alter table c inherit p"]

    def after() -> None:
        with site.postgres.connect(tenant) as late:
            late.execute(
                "begin isolation level repeatable read;"
                "alter table c add check (b > 1) no inherit not valid,"
                " add constraint d check (b > 2) no inherit;"
                "create function f() returns void language sql"
                " as 'alter table c no inherit p'; commit"
            )

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []


def test_an_inherited_column_is_stored_as_it_was(site: Site) -> None:
    """A dump makes it as its parent's, which was altered alone."""
    tenant = empty_tenant(site)
    before = [
        "create table p (a text, b text); create table c () inherits (p)",
        "create table d (a text, b text) inherits (p); create table e () inherits (c)",
        "alter table only p alter a set storage external, alter b set compression pglz",
    ]
    after = ["alter table p add x int; insert into c values ('a')", "alter table c no inherit p"]
    assert differences(site, tenant, before, after) == []


def test_a_null_in_a_rule_is_the_same_after_a_dump(site: Site) -> None:
    """PostgreSQL shows a null of a rule's SELECT as NULL::unknown, and that, read again, named."""
    tenant = empty_tenant(site)
    before = [
        "create table t (a int); create table u (a time, b int)",
        "create rule r as on update to t do also insert into u select null, i"
        " from generate_series(1, 2) i",
    ]
    assert differences(site, tenant, before, ["alter table t add c int"]) == []


def test_values_older_than_a_domains_check_that_was_not_validated_are_written_again(
    site: Site,
) -> None:
    tenant = empty_tenant(site)
    before = [
        "create domain d as int; create domain e as d",
        "create table t (a int primary key, b d, c e[]); insert into t values (1, -1, '{-5,7}')",
        "create table u (b d); insert into u values (-2)",
        "alter domain d add constraint c check (value > 0) not valid",
    ]
    after = ["update t set a = 2", "insert into t values (3, 4)", "alter table t add x float"]
    assert differences(site, tenant, before, [*after, "update t set x = 1", "delete from u"]) == []
    with pytest.raises(psycopg.errors.CheckViolation):
        site.postgres.execute("insert into t values (4, -4)", f"restored_{tenant}")


def test_a_partition_made_after_a_column_was_renamed_names_its_indexes_as_it_did(
    site: Site,
) -> None:
    """They are named after the columns of the parent's index, which keep the names of before."""
    tenant = empty_tenant(site)
    before = [
        "create table t (k int, v text, w int, unique (k, v), unique (v, w, k))"
        " partition by list (k)",
        "create index on t (lower(v), w)",
        "alter table t rename k to d; alter table t rename w to x; alter table t rename v to w;"
        " alter table t rename x to v",
    ]
    after = [
        "create table p partition of t for values in (1)",
        "create table q (like t including indexes); alter table t rename v to y",
        "create table r partition of t for values in (2)",
    ]
    assert differences(site, tenant, before, after) == []


def test_rows_older_than_a_check_that_was_not_validated_survive_a_rewrite(site: Site) -> None:
    tenant = empty_tenant(site)
    before = [
        "create table t (a int primary key, b text, c int check (c > 0))",
        "insert into t select i, i::text, i from generate_series(1, 20) i",
        "alter table t add constraint old check (a > 10) not valid, add check (b <> '')",
    ]
    after = ["alter table t alter b type text using b || random()", "delete from t where a = 3"]
    assert differences(site, tenant, before, after) == []
    (restored,) = site.restored_databases()
    for values in ("1, 'b', 1", "90, '', 1", "90, 'b', 0"):
        with pytest.raises(psycopg.errors.CheckViolation):
            site.postgres.execute(f"insert into t values ({values})", restored)


def test_what_functions_in_sql_change_is_replayed(site: Site) -> None:
    """Their context shows no text: it is taken from the function."""
    tenant = empty_tenant(site)
    before = [
        "create table t (a int)",
        'create function "f ""1"() returns int language sql as '
        "$$alter table t add b text default '\\x'; /* ; */ create table u (c int default 7);"
        " select 1$$",
        "create procedure p(a int) language sql as 'drop table u; create table v (a int)'",
    ]
    after = [
        'select "f ""1"()',
        "insert into t values (2), (3)",
        "do $$begin call p(1); create table w (); end$$",
    ]
    assert differences(site, tenant, before, after) == []


def test_what_one_of_several_functions_of_a_name_changes_is_refused(site: Site) -> None:
    tenant = empty_tenant(site)
    before = [
        "create table t (); create table u ()",
        "create function f(int) returns void language sql as 'drop table t'",
        "create function f(text) returns void language sql as 'drop table u'",
    ]
    with pytest.raises(RestoreRefused, match='its text is not shown by: SQL function "f"'):
        differences(site, tenant, before, ["select f(1)"])


def test_an_identity_columns_sequence_of_another_type_is_no_difference(site: Site) -> None:
    """A dump gives it its column's type."""
    tenant = empty_tenant(site)
    before = [
        "create table t (a int generated by default as identity primary key)",
        "alter sequence t_a_seq as bigint cache 5",
    ]
    after = ["comment on sequence t_a_seq is 'x'", "insert into t default values"]
    assert differences(site, tenant, before, after) == []


def test_a_percent_sign_in_a_columns_name_is_data(site: Site) -> None:
    tenant = empty_tenant(site)
    before = ["create table t (a int); insert into t values (1)"]
    after = ['alter table t add "100%" timestamptz default now(), add "%s" text default \'%s\'']
    assert differences(site, tenant, before, after) == []


def test_what_the_applications_event_triggers_write_comes_after_the_command(site: Site) -> None:
    """Into a table that the command has just changed, too; what we change they do not notice."""
    tenant = empty_tenant(site)
    before = [
        "create table ddl_log (tag text)",
        "create function app_ddl() returns event_trigger language plpgsql as"
        " $$begin insert into public.ddl_log values (tg_tag); end$$",
        "create event trigger app_ddl on ddl_command_end execute function app_ddl()",
    ]
    after = [
        "alter table ddl_log add column at timestamptz default now()",
        "alter table ddl_log add column b int default 7; alter table ddl_log drop column at",
        "create table t as select 1 as a; alter table t add column b serial",
        "alter table ddl_log add column key bigserial primary key",
        "alter table ddl_log drop column key; insert into ddl_log values ('x')",
    ]
    assert differences(site, tenant, before, after) == []
    told = [tag for (tag,) in site.postgres.execute("select tag from ddl_log", tenant)]
    assert sorted(told) == ["ALTER TABLE"] * 6 + ["CREATE SCHEMA", "CREATE TABLE AS", "x"]
