"""A backup is killed at each step of durability: it is no backup until it is sealed."""

from __future__ import annotations

import signal

import pytest

from include.respaldo import failpoints
from tests.jobs.site import Site

ID = "20991122T020000.000000Z"


@pytest.mark.parametrize(
    ("failpoint", "is_sealed"),
    [
        (failpoints.DUMP_LANDED, False),
        (failpoints.DUMP_UPLOADED, False),
        (failpoints.BACKUP_SEALED_IN_PRIMARY, True),
    ],
)
def test_killed_at_a_step_it_is_listed_only_once_sealed_and_the_same_run_completes_it(
    site: Site, failpoint: str, is_sealed: bool
) -> None:
    tenant = site.tenant()
    done = site.run("backup", tenant, "--id", ID, failpoint=failpoint)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert f"backup --id {ID}" in done.stderr
    assert [b.backup_id for b in site.catalog(tenant).backups] == [ID] * is_sealed
    assert site.sealed("replica") == set()

    assert site.json("backup", tenant, "--id", ID)["backup_id"] == ID
    assert [b.backup_id for b in site.catalog(tenant).backups] == [ID]
    assert site.sealed("replica") == {tenant}
    assert site.objects("replica").keys() == site.objects("primary").keys()
    landing = site.deployment().landing_zone.root
    assert not [path for path in landing.rglob("*") if path.is_file()]
