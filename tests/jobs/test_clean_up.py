"""What interrupted work left behind is removed, never what is or can become a backup."""

from __future__ import annotations

import os
from hashlib import sha256

from include.respaldo.jobs.clean_up import clean_up
from tests.jobs.site import Site

OLD, YOUNG = "20200101T020000.000000Z", "20991231T020000.000000Z"


def test_only_what_is_old_and_sealed_nowhere_is_removed(site: Site) -> None:
    deployment = site.deployment()
    vaults = deployment.vaults

    def put(region: str, source: str, run: str, name: str) -> str:
        key = f"backups/tenant_databases/{site.name}/{source}/{run}/{name}"
        vault = vaults.primary if region == "primary" else vaults.replica
        vault.put(key, b"x", sha256=sha256(b"x").hexdigest())
        return key

    never_sealed = put("primary", "never", OLD, "dump.pgc.zst")
    under_way = put("primary", "now", YOUNG, "dump.pgc.zst")
    half_copied = put("replica", "copied", OLD, "dump.pgc.zst")
    kept = {put("primary", "copied", OLD, n) for n in ("dump.pgc.zst", "manifest.json")}
    scratch = deployment.scratch("restore-killed")
    (scratch / "dump").write_bytes(b"x")
    os.utime(scratch, (0, 0))
    alive = deployment.scratch("restore-alive")
    forgotten = deployment.landing_zone.path("tenant_databases", OLD, site.name, "x")

    done = clean_up(site.deployment())

    assert (done.objects, done.landings, done.scratch) == (1, 1, 1)
    assert "1 objects of backups that were never sealed" in done.text
    assert site.objects("primary").keys() == {under_way, *kept}
    assert never_sealed not in site.objects("primary")
    assert site.objects("replica").keys() == {half_copied}
    assert alive.exists()
    assert not scratch.exists()
    assert not forgotten.parent.exists()
    assert not clean_up(site.deployment()).text
