"""What random workloads found on one major version, told again to newer ones."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from include.respaldo.errors import LogDiverged
from include.respaldo.postgres.capture import prepare
from include.respaldo.postgres.connect import connect
from tests.jobs import test_at_the_same_time as together
from tests.jobs import test_chosen_names as names
from tests.jobs import test_regressions as found
from tests.jobs.exactness import differences_of, empty_tenant, run
from tests.jobs.site import Site
from tests.postgres import test_capture_commands as capture
from tests.versions.conftest import MakeSite, Server

MAJORS = (17, 18) if os.environ.get("RESPALDO_FULL") else (18,)
#: what rests on texts of the server, or on its catalogs
STORIES = (
    found.test_what_functions_in_sql_change_is_replayed,
    found.test_values_older_than_a_domains_check_that_was_not_validated_are_written_again,
    found.test_a_partition_made_after_a_column_was_renamed_names_its_indexes_as_it_did,
    together.test_what_others_have_renamed_meanwhile_is_found_by_its_former_name,
    names.test_a_name_that_avoided_one_which_was_given_up_since_is_restored,
    names.test_a_partitions_indexes_are_named_in_the_order_in_which_its_parents_were_made,
    found.test_an_inherited_column_is_stored_as_it_was,
    found.test_a_negative_number_is_the_same_after_a_dump,
)


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_story_ends_alike_on_a_newer_major(
    story: Callable[[Site], None], major: int, make_site: MakeSite, server: Server
) -> None:
    story(make_site(server(major)))


@pytest.mark.parametrize("major", [17, 18])
def test_a_command_tells_what_it_saw_when_it_began(
    major: int, make_site: MakeSite, server: Server
) -> None:
    site = make_site(server(major))
    tenant = empty_tenant(site)
    with connect(site.postgres.connection(), tenant) as session:
        prepare(session)
        with site.postgres.connect(tenant) as app:
            capture.test_a_command_tells_what_it_saw_when_it_began(
                session, app, site.postgres, tenant
            )


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
