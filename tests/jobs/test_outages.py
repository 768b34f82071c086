"""A region or the server is down while archiving: nothing is lost, and it is caught up with."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from embedded.installation import Installation
from embedded.postgres import PostgresServer
from include.respaldo.errors import SomeFailed, VaultUnreachable
from include.respaldo.jobs import drain_server
from tests.jobs.archiving import confirmed, following, lose_slot, wait_for
from tests.jobs.query_log import archived_inserts
from tests.jobs.site import Site


def test_with_the_replica_down_archiving_goes_on_and_catches_up_later(site: Site) -> None:
    tenant = site.tenant()
    site.archive()
    for _ in range(2):
        site.insert(tenant, 2)
        report = site.archive(down=["replica"])
        assert report.segments == 1
        assert any("replica vault lags" in note for note in report.notes)
    lose_slot(site, tenant)
    with pytest.raises(SomeFailed, match="replica vault"):
        site.archive(down=["replica"])  # the new chain's full backup is not in both regions
    assert len(site.sealed("primary")) == 1
    assert len(site.objects("replica")) < len(site.objects("primary"))
    report = site.archive()
    assert not report.notes
    query_log = {k for k in site.objects("primary") if not k.startswith("backups/")}
    assert query_log <= site.objects("replica").keys()
    site.backup(tenant)
    assert site.objects("replica").keys() == site.objects("primary").keys()


def test_with_the_primary_down_nothing_is_confirmed_and_nothing_is_lost(site: Site) -> None:
    tenant = site.tenant()
    site.archive()
    before, objects = confirmed(site, tenant), site.objects("replica")
    site.insert(tenant, 3)
    with pytest.raises((SomeFailed, VaultUnreachable)):
        site.archive(down=["primary"])
    assert confirmed(site, tenant) == before
    assert site.objects("replica") == objects
    assert site.archive().begun == {}
    assert archived_inserts(site, tenant)["orders"] == Counter([1, 2, 3])


def test_a_primary_region_that_stops_meanwhile_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_server, "_BACK_OFF", 0.2)
    tenant = site.tenant()
    site.archive()
    with following(site):
        site.insert(tenant)
        wait_for(lambda: bool(site.catalog(tenant).chains[0].segments))
        site.installation.primary.stop()
        try:
            site.insert(tenant, 2)
            time.sleep(1)  # long enough to try, and fail
        finally:
            site.installation.primary.start()
        site.insert(tenant)
        wait_for(lambda: sum(archived_inserts(site, tenant)["orders"].values()) == 4)
    assert archived_inserts(site, tenant)["orders"] == Counter([1, 2, 3, 4])
    assert len(site.catalog(tenant).chains) == 1


def test_a_server_that_crashes_meanwhile_is_gone_on_with(
    installation: Installation, tmp_path: Path
) -> None:
    # durable: what was committed must be there after the crash
    with PostgresServer(installation.postgres.folder.with_name("crashing")) as server:
        site = Site(installation, tmp_path, "crashing", postgres=server)
        tenant = site.tenant()
        with following(site):
            wait_for(lambda: bool(site.sealed("replica")))
            site.insert(tenant, 3)
            server.kill9()
            server.start()
            site.insert(tenant, 3)
            wait_for(lambda: sum(archived_inserts(site, tenant)["orders"].values()) == 6)
        assert archived_inserts(site, tenant)["orders"] == Counter(site.order_ids(tenant))
        assert len(site.catalog(tenant).chains) == 1
