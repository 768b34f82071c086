"""What random workloads found, each as the smallest story that shows it."""

from __future__ import annotations

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
    names = ("t", '"T 2  x"', '"semi;colon--"', '"back\\slash"', "other", "t_x")
    before = [f"create table {name} (a int)" for name in names]
    after = [
        *(f"alter table {name}\n  Replica identity full" for name in names[:4]),
        "alter table t_x add b int; do 'begin alter table public.other replica identity full; end'",
    ]
    assert differences(site, tenant, before, after) == []
    ((left,),) = site.postgres.execute(
        "select array_agg(c.relname) from respaldo.replica_identity r"
        " join pg_class c on c.oid = r.relation",
        tenant,
    )
    assert left == ["t_x"]


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
