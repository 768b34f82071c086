"""Archiving: continuity is proven or a new chain begins; regions and databases come and go."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from embedded.installation import Installation
from embedded.postgres import PostgresServer
from include.respaldo.errors import RestoreRefused, SomeFailed, SourceError, VaultUnreachable
from include.respaldo.jobs import drain_server
from include.respaldo.jobs.archive_query_log import ArchiveMode, archive, servers_with_work
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.model.catalog import is_anchored
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.target import TargetTime
from tests.conftest import drop_database
from tests.jobs.query_log import archived_inserts
from tests.jobs.site import Site


def slot_of(site: Site, tenant: str) -> str:
    ((name,),) = site.postgres.execute(
        "select slot_name from pg_replication_slots where database = %s", parameters=[tenant]
    )
    return str(name)


def confirmed(site: Site, tenant: str) -> Lsn:
    ((position,),) = site.postgres.execute(
        "select confirmed_flush_lsn::text from pg_replication_slots where database = %s",
        parameters=[tenant],
    )
    return Lsn.parse(position)


def lose_slot(site: Site, tenant: str) -> None:
    site.postgres.execute("select pg_drop_replication_slot(%s)", parameters=[slot_of(site, tenant)])


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
    site.postgres.execute("alter event trigger respaldo_ddl disable", tenant)


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


@contextmanager
def following(site: Site, down: tuple[str, ...] = ()) -> Iterator[None]:
    """Archive in a thread until the block ends."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def follow() -> None:
        try:
            archive(site.deployment(down), site.name, mode=ArchiveMode.FOLLOW, stop=stop)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    for failure in failures:
        raise failure


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll; the test's own time limit ends it."""
    while not condition():
        time.sleep(0.1)


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


def test_a_primary_region_that_stops_meanwhile_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_server, "_BACK_OFF", 0.2)
    tenant = site.tenant()
    with following(site):
        wait_for(lambda: bool(site.sealed("replica")))
        site.installation.primary.stop()
        try:
            site.insert(tenant, 3)
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


def test_a_changed_large_object_refuses_later_moments_by_name_until_the_next_full_backup(
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
    window = site.window(tenant)
    assert window.intervals[-1].end < before + timedelta(seconds=1)
    assert "large object" in window.intervals[-1].ends_because
    wanted = RestoreRequest(site.source(tenant), TargetTime(at), "x", site.name)
    with pytest.raises(RestoreRefused, match="large object change"):
        plan(site.deployment(), wanted)
    site.backup(tenant)
    later = site.now()
    site.archive()
    assert plan(site.deployment(), RestoreRequest(wanted.source, TargetTime(later), "x", site.name))


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
