"""The geo-redundancy check is killed while it heals: the next one ends it."""

from __future__ import annotations

import signal

import pytest

from include.respaldo import failpoints
from tests.jobs.old_days import plant
from tests.jobs.old_trees import plant_trees
from tests.jobs.site import Site


@pytest.mark.parametrize("failpoint", [failpoints.DAMAGED_REMOVED, failpoints.OBJECT_HEALED])
def test_killed_as_by_the_kernel_the_next_check_heals_the_rest(site: Site, failpoint: str) -> None:
    vaults = site.deployment().vaults
    plant(vaults, site.name, "acme", days=2)
    plant_trees(vaults, days=2)
    with site.config_path.open("a") as config:
        config.write("\nredundancy: {settle: 0s}\n")
    whole = site.objects("primary")
    damaged = site.damage("primary", "/files.parquet")
    lost = [key for key in whole if key.endswith("/manifest.json")]
    vaults.replica.delete_all(lost)

    done = site.run("check-redundancy", failpoint=failpoint)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert all(site.objects("replica")[key] == whole[key] for key in damaged)

    said = site.json("check-redundancy")
    assert said["ok"]
    assert said["healed"]
    assert site.objects("primary") == site.objects("replica") == whole
