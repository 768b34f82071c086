"""Retention is killed at each step: nothing half removed is listed, and the next run ends it."""

from __future__ import annotations

import signal

import pytest

from include.respaldo import failpoints
from include.respaldo.jobs.retain import retain
from include.respaldo.model.catalog import RecoveryWindow
from include.respaldo.model.moments import iso
from tests.jobs.old_days import plant
from tests.jobs.site import Site
from tests.jobs.test_retain import TENANT, kept_days


def promised(window: RecoveryWindow, since: str) -> list[tuple[str, str]]:
    """Return the stretches of the window from then on."""
    return [(max(iso(i.start), since), iso(i.end)) for i in window.intervals if iso(i.end) >= since]


class Killed(BaseException):
    """Nothing may catch it, as nothing survives a kill."""


def kill(site: Site, failpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retention end at a failpoint: one of them by a real signal, which takes far longer."""
    if failpoint == failpoints.LOG_TRIMMED:
        done = site.run("retain", failpoint=failpoint)
        assert done.returncode == -signal.SIGKILL, done.stderr
        return

    def reach(name: str) -> None:
        if name == failpoint:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reach", reach)
        with pytest.raises(Killed):
            retain(site.deployment())


@pytest.mark.parametrize(
    "failpoint",
    [
        failpoints.BACKUPS_UNSEALED,
        failpoints.BACKUPS_REMOVED,
        failpoints.LOG_TRIMMED,
        failpoints.SEGMENTS_REMOVED,
        failpoints.CHAIN_EMPTIED,
        failpoints.RETAINED_IN_PRIMARY,
    ],
)
def test_killed_at_a_step_the_window_stays_and_the_next_run_removes_the_rest(
    site: Site, failpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plant(site, TENANT, days=10, broken=9)
    since = iso(made.midnight(6))
    before = promised(site.window(TENANT), since)

    kill(site, failpoint, monkeypatch)

    catalog = site.catalog(TENANT)
    assert not catalog.notes
    assert promised(site.window(TENANT), since) == before
    sealed = {b.backup_id for b in catalog.backups}
    objects = site.objects("primary").keys() | site.objects("replica").keys()
    for backup in catalog.backups:
        place = f"/{backup.backup_id}/dump.pgc.zst"
        assert [key for key in objects if key.endswith(place)], "what is listed is whole"
    assert made.backup_id(0) in sealed

    retain(site.deployment())
    assert promised(site.window(TENANT), since) == before
    assert not site.catalog(TENANT).notes
    left = {key for key in site.objects("primary") if key.startswith(("backups/", "query_log/"))}
    assert left == {
        key for key in site.objects("replica") if key.startswith(("backups/", "query_log/"))
    }
    assert kept_days(site, made) >= set(range(8))
    assert len(site.catalog(TENANT).chains) == 1
