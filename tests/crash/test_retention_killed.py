"""Retention is killed at each step: nothing half removed is listed, and the next run ends it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from include.respaldo import failpoints
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.read_catalog import read_catalog
from include.respaldo.jobs.retain import retain
from include.respaldo.model.catalog import recovery_window
from include.respaldo.model.moments import iso
from include.respaldo.ports import Vault
from tests.jobs.old_days import SERVER, OldDays, in_memory, plant
from tests.jobs.site import Site

STEPS = (
    failpoints.BACKUPS_UNSEALED,
    failpoints.BACKUPS_REMOVED,
    failpoints.LOG_TRIMMED,
    failpoints.SEGMENTS_REMOVED,
    failpoints.CHAIN_EMPTIED,
    failpoints.RETAINED_IN_PRIMARY,
)


class Killed(BaseException):
    """Nothing may catch it, as nothing survives a kill."""


def promised(deployment: Deployment, made: OldDays) -> list[tuple[str, str]]:
    """Return the stretches of the recovery window in the last six days."""
    since = iso(made.midnight(6))
    intervals = recovery_window(read_catalog(deployment, made.source)).intervals
    return [(max(iso(i.start), since), iso(i.end)) for i in intervals if iso(i.end) >= since]


def listed(vault: Vault) -> set[str]:
    return {o.key for part in ("backups/", "query_log/") for o in vault.list(part)}


def assert_what_is_listed_is_whole(deployment: Deployment, made: OldDays) -> None:
    catalog = read_catalog(deployment, made.source)
    assert not catalog.notes
    assert made.backup_id(0) in {b.backup_id for b in catalog.backups}
    objects = listed(deployment.vaults.primary) | listed(deployment.vaults.replica)
    for backup in catalog.backups:
        assert [k for k in objects if k.endswith(f"/{backup.backup_id}/dump.pgc.zst")]


def assert_the_next_run_ends_it(
    deployment: Deployment, made: OldDays, before: list[tuple[str, str]]
) -> None:
    retain(deployment)
    assert promised(deployment, made) == before
    catalog = read_catalog(deployment, made.source)
    assert not catalog.notes
    assert len(catalog.chains) == 1
    assert {b.backup_id for b in catalog.backups} >= {made.backup_id(n) for n in range(8)}
    assert listed(deployment.vaults.primary) == listed(deployment.vaults.replica)
    assert not retain(deployment).plans[0].removes_anything


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("failpoint", STEPS)
def test_stopped_at_a_step_the_window_stays_and_the_next_run_removes_the_rest(
    tmp_path: Path, failpoint: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`times`: stopped in the primary, or when it comes there in the replica or the next chain."""
    deployment = in_memory(tmp_path)
    made = plant(deployment.vaults, SERVER, "acme", days=40, broken=9)
    before = promised(deployment, made)
    left = times

    def reach(name: str) -> None:
        nonlocal left
        left -= name == failpoint
        if not left:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reach", reach)
        with pytest.raises(Killed):
            retain(deployment)
    assert promised(deployment, made) == before
    assert_what_is_listed_is_whole(deployment, made)
    assert_the_next_run_ends_it(deployment, made, before)


def test_killed_as_by_the_kernel_the_next_process_ends_it(site: Site) -> None:
    deployment = site.deployment()
    made = plant(deployment.vaults, site.name, "acme", days=10, broken=9)
    before = promised(deployment, made)
    done = site.run("retain", failpoint=failpoints.LOG_TRIMMED)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert promised(deployment, made) == before
    assert_what_is_listed_is_whole(deployment, made)
    assert_the_next_run_ends_it(deployment, made, before)
