"""The archiver is killed at each step of durability, or anywhere: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from include.respaldo import failpoints
from include.respaldo.errors import Busy
from include.respaldo.jobs.plan_restore import RestoreRequest
from include.respaldo.jobs.restore_database import restore_database
from include.respaldo.model.target import TargetTime
from tests.jobs.query_log import archived_inserts
from tests.jobs.site import Site, insert_order

BEGINNING = (failpoints.SLOT_CREATED, failpoints.CHAIN_BEGUN)
LATER = (
    failpoints.SEGMENT_WRITTEN,
    failpoints.SEGMENT_IN_PRIMARY,
    failpoints.SEGMENT_IN_REPLICA,
    failpoints.SEGMENT_CONFIRMED,
    failpoints.COVERAGE_RECORDED,
)
ROUNDS = 8 if os.environ.get("RESPALDO_FULL") else 3


def archive_and_die(site: Site, failpoint: str) -> None:
    done = site.run("archive", "--once", failpoint=failpoint)
    assert done.returncode == -signal.SIGKILL, done.stderr


def assert_restores_as_it_is(site: Site, tenant: str) -> None:
    """Restore the state of now: orders and visits must be those of the live database."""
    at = site.now()
    site.archive()
    new = f"{tenant}_as_of_now"
    source = site.source(tenant)
    restore_database(
        site.deployment(), RestoreRequest(source, TargetTime(at), new, site.name, "test")
    )
    for content in ("select * from orders order by 1", "select * from visits order by 1, 2"):
        assert site.postgres.execute(content, new) == site.postgres.execute(content, tenant)


@pytest.mark.parametrize("failpoint", BEGINNING)
def test_killed_while_a_chain_begins_it_begins_again(site: Site, failpoint: str) -> None:
    tenant = site.tenant()
    site.insert(tenant, 2)
    archive_and_die(site, failpoint)
    site.insert(tenant, 2)
    site.archive()
    site.insert(tenant, 2)
    assert_restores_as_it_is(site, tenant)
    chains = site.catalog(tenant).chains
    assert len(chains) == 1
    assert len(site.catalog(tenant).backups) == 1
    assert site.objects("replica").keys() == site.objects("primary").keys()


@pytest.mark.parametrize("failpoint", LATER)
def test_killed_at_a_step_of_durability_the_segment_is_repeated_or_adopted(
    site: Site, failpoint: str
) -> None:
    tenant = site.tenant()
    site.archive()
    site.insert(tenant, 3)
    archive_and_die(site, failpoint)
    site.insert(tenant, 3)
    site.archive()
    once = Counter(site.order_ids(tenant))
    assert archived_inserts(site, tenant) == {"orders": once, "visits": once}
    (chain,) = site.catalog(tenant).chains
    assert chain.path == chain.segments, "no overlap: what was stored was adopted"
    assert site.objects("replica").keys() == site.objects("primary").keys()


def test_killed_anywhere_while_writers_go_on(site: Site) -> None:
    seed = int(os.environ.get("RESPALDO_CRASH_SEED") or Random().getrandbits(32))
    print(f"to try the same again: RESPALDO_CRASH_SEED={seed}")
    random = Random(seed)
    tenant = site.tenant()
    site.archive()
    done = threading.Event()

    def write() -> None:
        with site.postgres.connect(tenant) as conn:
            while not done.wait(0.002):
                insert_order(conn)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(ROUNDS):
            before = len(site.objects("primary"))
            follower = site.spawn("archive", "--follow", quiet=True)
            while len(site.objects("primary")) < before + 2 and follower.poll() is None:
                time.sleep(0.05)
            time.sleep(random.uniform(0, 1.5))
            follower.kill()
            follower.wait()
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert_restores_as_it_is(site, tenant)
    once = Counter(site.order_ids(tenant))
    assert archived_inserts(site, tenant) == {"orders": once, "visits": once}
    assert len(site.catalog(tenant).chains) == 1


def test_a_second_archiver_of_the_same_server_says_that_it_is_busy(site: Site) -> None:
    site.tenant()
    first = site.spawn("archive", "--follow", quiet=True)
    try:
        wait_for_coverage(site, first)
        with pytest.raises(Busy, match="another archiver"):
            site.archive()
        assert site.json("archive", code=5)["error"] == "Busy"
    finally:
        first.terminate()
        assert first.wait() == 0


def test_told_to_stop_it_ends_at_a_safe_point_with_everything_recorded(site: Site) -> None:
    tenant = site.tenant()
    archiver = site.spawn("archive", "--follow", quiet=True)
    wait_for_coverage(site, archiver)
    site.insert(tenant, 3)
    archiver.send_signal(signal.SIGINT)
    assert archiver.wait() == 0
    site.archive()
    assert archived_inserts(site, tenant)["orders"] == Counter([1, 2, 3])
    assert len(site.catalog(tenant).chains) == 1
    assert not [p for p in Path(site.folder, "scratch").rglob("*") if p.is_file()]


def wait_for_coverage(site: Site, archiver: subprocess.Popen[str]) -> None:
    while not [key for key in site.objects("primary") if key.startswith("coverage/")]:
        assert archiver.poll() is None
        time.sleep(0.1)
