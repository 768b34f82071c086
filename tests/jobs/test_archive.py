"""Archiving: what one run covers, of which databases, and what it refuses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from embedded.installation import Installation
from embedded.postgres import PostgresServer
from include.respaldo.errors import RestoreRefused, SomeFailed, SourceError
from include.respaldo.jobs import drain_server
from include.respaldo.jobs.archive_query_log import servers_with_work
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.model.catalog import recovery_window
from include.respaldo.model.target import TargetTime
from tests.conftest import drop_database
from tests.jobs.archiving import confirmed, following, wait_for
from tests.jobs.query_log import archived_inserts
from tests.jobs.site import Site


def test_of_an_idle_database_time_is_covered_without_objects_and_no_log_is_held(
    site: Site,
) -> None:
    idle, busy = site.tenant("idle"), site.tenant("busy")
    site.archive()
    site.insert(busy, 20)
    before = confirmed(site, idle)
    at = site.now()
    report = site.archive()
    assert (report.segments, report.transactions) == (1, 20)
    assert site.window(idle).intervals[-1].end >= at
    assert site.catalog(idle).chains[0].segments == ()
    site.archive()  # confirmed is what the coverage before has recorded
    assert confirmed(site, idle) > before


def test_one_archiving_makes_every_moment_before_it_restorable(site: Site) -> None:
    tenant = site.tenant()
    site.archive()
    site.insert(tenant, 2)
    at = site.now()
    site.archive()
    planned = plan(
        site.deployment(), RestoreRequest(site.source(tenant), TargetTime(at), "x", site.name)
    )
    assert len(planned.routes[0].segments) == 1


def test_a_database_that_fails_for_a_while_loses_neither_coverage_nor_its_chain(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = site.tenant("good"), site.tenant("bad")
    site.archive()
    site.archive()
    end = site.window(bad).intervals[-1].end
    opened = drain_server.open_log

    def refuse(deployment, source, *rest):  # type: ignore[no-untyped-def]
        if source.name == bad:
            raise SourceError("something is wrong with it")
        return opened(deployment, source, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(drain_server, "open_log", refuse)
        with pytest.raises(SomeFailed, match="something is wrong with it") as failed:
            site.archive()
    assert set(failed.value.failures) == {str(site.source(bad))}
    assert site.window(bad).intervals[-1].end >= end
    assert site.window(good).intervals[-1].end > end
    assert site.archive().begun == {}


def test_a_database_that_is_gone_keeps_its_recovery_window(site: Site) -> None:
    site.tenant("stays")
    gone = site.tenant("gone")
    site.archive()
    site.insert(gone, 2)
    at = site.now()
    site.archive()
    drop_database(site.postgres, gone)
    site.databases.remove(gone)
    site.archive()
    assert site.window(gone).intervals[-1].end >= at
    done = site.json("restore", gone, "--to", at.isoformat())
    assert site.order_ids(done["database"]) == [1, 2]


def test_a_tenant_created_meanwhile_is_picked_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_server, "_REDISCOVER", 0.5)
    site.tenant("old")
    with following(site):
        new = site.tenant("new")
        wait_for(lambda: new in site.sealed("replica"))
        site.insert(new, 3)
        wait_for(lambda: bool(site.catalog(new).chains[0].segments))
    assert archived_inserts(site, new)["orders"] == Counter([1, 2, 3])


def test_a_changed_large_object_can_refuse_later_moments_until_the_next_full_backup(
    site: Site,
) -> None:
    tenant = site.tenant()
    site.postgres.execute("select lo_from_bytea(4711, 'old')", tenant)
    site.archive()
    site.archive()
    before = site.window(tenant).intervals[-1].end
    site.postgres.execute("select lo_put(4711, 0, 'new')", tenant)
    at = site.now()
    report = site.archive()
    assert report.segments == 1
    window = recovery_window(site.catalog(tenant), with_large_objects=True)
    assert window.intervals[-1].end < before + timedelta(seconds=1)
    assert "large object" in window.intervals[-1].ends_because
    wanted = RestoreRequest(
        site.source(tenant), TargetTime(at), "x", site.name, with_large_objects=True
    )
    with pytest.raises(RestoreRefused, match="large object change"):
        plan(site.deployment(), wanted)
    site.backup(tenant)
    later = site.now()
    site.archive()
    assert plan(site.deployment(), replace(wanted, target=TargetTime(later)))


def test_there_is_work_where_rows_were_written_or_coverage_is_due(site: Site) -> None:
    site.config_path.write_text(
        site.config_path.read_text().replace("coverage_interval: 1s", "coverage_interval: 10min")
    )
    tenant = site.tenant()
    deployment = site.deployment()
    assert servers_with_work(deployment, None).servers == (site.name,)
    site.archive()
    quiet = servers_with_work(deployment, None)
    assert quiet.servers == ()
    site.insert(tenant)
    wait_for(lambda: servers_with_work(deployment, quiet.activity).servers == (site.name,))


def test_a_server_that_is_not_ready_is_refused_with_what_to_change(
    installation: Installation, tmp_path: Path
) -> None:
    folder = installation.postgres.folder.with_name("plain")
    with PostgresServer(folder, settings={"wal_level": "replica"}, durable=False) as plain:
        site = Site(installation, tmp_path, "plain", postgres=plain)
        site.tenant()
        with pytest.raises(SomeFailed, match=r"(?s)wal_level is replica.*restart"):
            site.archive()
