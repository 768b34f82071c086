"""Continuity is proven, or a new chain and a full backup begin at once; gaps are shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.installation import Installation
from embedded.postgres import PostgresServer
from include.respaldo.errors import RestoreRefused, SomeFailed, SourceError
from include.respaldo.jobs import anchor_chains, drain_server
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.model.catalog import is_anchored
from include.respaldo.model.target import TargetTime
from tests.conftest import drop_database
from tests.jobs.archiving import following, lose_slot, slot_of, wait_for
from tests.jobs.site import Site


def move_slot(site: Site, tenant: str) -> None:
    site.insert(tenant)
    site.postgres.execute(
        "select pg_replication_slot_advance(%s, pg_current_wal_lsn())",
        tenant,
        [slot_of(site, tenant)],
    )


def make_anew(site: Site, tenant: str) -> None:
    drop_database(site.postgres, tenant)
    site.databases.remove(tenant)
    site.tenant(tenant.removeprefix(f"{site.name}_"))


def disable_capture(site: Site, tenant: str) -> None:
    site.postgres.execute('alter event trigger "00_respaldo_ddl" disable', tenant)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lose_slot, "slot is gone"),
        (move_slot, "somebody else moved the replication slot"),
        (make_anew, "dropped and created again"),
        (disable_capture, "event triggers were missing or disabled"),
    ],
)
def test_where_continuity_is_lost_a_new_chain_and_a_full_backup_begin_at_once(
    site: Site, happens: Callable[[Site, str], None], reason: str
) -> None:
    tenant = site.tenant()
    site.archive()
    site.insert(tenant, 2)
    in_first = site.now()
    site.archive()
    happens(site, tenant)
    report = site.archive()
    assert reason in report.begun[tenant]
    site.insert(tenant, 2)
    in_second = site.now()
    site.archive()

    catalog = site.catalog(tenant)
    first, second = catalog.chains
    assert first.end is not None
    assert reason in first.end.reason
    assert second.end is None
    assert [is_anchored(b, c) for b, c in zip(catalog.backups, catalog.chains, strict=True)] == [
        True,
        True,
    ]
    window = site.window(tenant)
    one, two = window.intervals
    assert one.start < in_first <= one.end < two.start < in_second <= two.end
    (gap,) = window.gaps
    assert reason in gap.reason
    lost = RestoreRequest(
        site.source(tenant), TargetTime(gap.start + (gap.end - gap.start) / 2), "x", site.name
    )
    with pytest.raises(RestoreRefused, match="lies in a gap"):
        plan(site.deployment(), lost)
    assert site.objects("replica").keys() == site.objects("primary").keys()


def test_a_slot_that_the_server_gave_up_begins_a_new_chain_without_a_human(
    installation: Installation, tmp_path: Path
) -> None:
    folder = installation.postgres.folder.with_name("small")
    with PostgresServer(
        folder,
        max_slot_wal_keep_size="16MB",
        settings={"min_wal_size": "32MB", "max_wal_size": "32MB"},
        durable=False,
    ) as small:
        site = Site(installation, tmp_path, "small", postgres=small)
        tenant = site.tenant()
        site.archive()
        site.insert(tenant, 2)
        for _ in range(5):
            small.execute("select pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
        small.execute("checkpoint")
        ((status,),) = small.execute("select wal_status from pg_replication_slots")
        assert status == "lost"
        report = site.archive()
        assert "kept too little of its log" in report.begun[tenant]
        site.insert(tenant)
        at = site.now()
        site.archive()
        assert site.window(tenant).intervals[-1].end >= at
        assert len(site.catalog(tenant).backups) == 2


def test_a_slot_moved_under_a_running_archiver_begins_a_new_chain(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_server, "_BACK_OFF", 0.2)
    tenant = site.tenant()
    with following(site):
        wait_for(lambda: bool(site.sealed("replica")))
        name = slot_of(site, tenant)
        while True:
            try:  # between two visits nobody reads it
                site.postgres.execute("select pg_drop_replication_slot(%s)", parameters=[name])
                break
            except Exception:  # noqa: BLE001 - it is being read
                time.sleep(0.05)
        site.insert(tenant)
        wait_for(lambda: len(site.catalog(tenant).chains) == 2)
        wait_for(lambda: len(site.catalog(tenant).backups) == 2)
    first, second = site.catalog(tenant).chains
    assert first.end is not None
    assert second.end is None


def test_while_the_full_backup_of_a_new_chain_is_taken_archiving_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = site.tenant()
    may_go_on = threading.Event()
    take_backup = anchor_chains.take_backup

    def slow(*arguments):  # type: ignore[no-untyped-def]
        assert may_go_on.wait(60)
        return take_backup(*arguments)

    monkeypatch.setattr(anchor_chains, "take_backup", slow)
    with following(site):
        wait_for(lambda: bool(site.catalog(tenant).chains))
        site.insert(tenant, 2)
        wait_for(lambda: bool(site.catalog(tenant).chains[0].segments))
        assert site.sealed("primary") == set()
        may_go_on.set()
        wait_for(lambda: site.sealed("replica") == {tenant})


def test_a_full_backup_of_a_new_chain_that_failed_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = site.tenant()
    with monkeypatch.context() as patch:
        patch.setattr(anchor_chains, "take_backup", fail)
        with pytest.raises(SomeFailed, match="no room") as raised:
            site.archive()
    assert set(raised.value.failures) == {str(site.source(tenant))}
    report = site.archive()
    assert report.begun == {}, "the chain goes on: only the full backup was missing"
    assert site.sealed("replica") == {tenant}


def fail(*_: object) -> None:
    raise SourceError("no room")
