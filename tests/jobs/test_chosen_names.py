"""What a command left to PostgreSQL, which chose by what it saw at the source."""

from __future__ import annotations

from tests.jobs.exactness import differences, differences_of, empty_tenant, run
from tests.jobs.site import Site


def test_a_name_that_avoided_one_which_was_given_up_since_is_restored(site: Site) -> None:
    """PostgreSQL avoids names that others are just making, whether they are kept or not."""
    tenant = empty_tenant(site)
    run(site, tenant, "create table other (x int)")

    def after() -> None:
        with site.postgres.connect(tenant) as late:
            late.execute("begin; create index t_a_idx on other (x); create sequence t_b_seq")
            run(site, tenant, "create table t (a int, b serial)", "create index on t (a)")
            late.execute("rollback")
        run(site, tenant, "insert into t values (1)", "drop index t_a_idx1")

    assert differences_of(site, tenant, lambda: None, after) == []


def test_a_partitions_indexes_are_named_in_the_order_in_which_its_parents_were_made(
    site: Site,
) -> None:
    """A dump makes them in the order of their names."""
    tenant = empty_tenant(site)
    before = [
        "create table p (a int, b int) partition by list (a)",
        "create index p_z on p (a); create index p_b on p (a); create index p_a on p (a)",
        "create index p_c on p (b)",
    ]
    after = [
        "create table p1 partition of p for values in (1)",
        "insert into p values (1, 2); comment on index p1_a_idx is 'that of p_z'",
    ]
    assert differences(site, tenant, before, after) == []


def test_a_copy_has_no_index_that_was_still_being_made(site: Site) -> None:
    """LIKE copies the indexes that it sees; the other one committed before the copy did."""
    tenant = empty_tenant(site)
    before = ["create table t (a int primary key, b int)", "create index on t (b)"]

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as copying:
            late.execute("begin; create index made_meanwhile on t (b, a)")
            copying.execute("begin; create table u (like t including all)")
            late.execute("commit")
            copying.execute("commit")

    assert differences_of(site, tenant, lambda: run(site, tenant, *before), after) == []
