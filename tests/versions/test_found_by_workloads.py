"""What random workloads found on one major version, told again to newer ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from include.respaldo.errors import LogDiverged
from tests.jobs import test_regressions as found
from tests.jobs.exactness import differences_of, empty_tenant, run
from tests.jobs.site import Site
from tests.versions.conftest import MakeSite, Server

#: what rests on texts of the server, or on its catalogs
STORIES = (
    found.test_what_functions_in_sql_change_is_replayed,
    found.test_values_older_than_a_domains_check_that_was_not_validated_are_written_again,
    found.test_a_partition_made_after_a_column_was_renamed_names_its_indexes_as_it_did,
    found.test_what_others_have_renamed_meanwhile_is_found_by_its_former_name,
    found.test_a_negative_number_is_the_same_after_a_dump,
)


@pytest.mark.parametrize("major", [17, 18])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_story_ends_alike_on_a_newer_major(
    story: Callable[[Site], None], major: int, make_site: MakeSite, server: Server
) -> None:
    story(make_site(server(major)))


@pytest.mark.parametrize("major", [17, 18])
def test_rows_under_both_names_of_a_renamed_schema_are_refused(
    major: int, make_site: MakeSite, server: Server
) -> None:
    """The log of 15 goes on under the name that it has begun with; these tell the new one, too."""
    site = make_site(server(major))
    tenant = empty_tenant(site)
    before = "create schema shop; create table shop.orders (a int primary key)"

    def after() -> None:
        with site.postgres.connect(tenant) as late, site.postgres.connect(tenant) as other:
            late.execute("begin; insert into shop.orders values (1)")
            other.execute("alter schema shop rename to shop_old")
            late.execute("commit")
            other.execute("insert into shop_old.orders values (2)")

    with pytest.raises(LogDiverged, match=r"expected one definition of shop\w*\.orders"):
        differences_of(site, tenant, lambda: run(site, tenant, before), after)
