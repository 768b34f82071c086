"""A version of an application brought back beside the running one, and put in its place."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from include.respaldo.errors import RestoreRefused
from include.respaldo.filetree.verification import differences
from include.respaldo.jobs import restore_application as job
from include.respaldo.jobs.restore_application import ApplicationRequest
from include.respaldo.jobs.stored_trees import end_of_day
from include.respaldo.jobs.take_backup import take_backup
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.tree_restore_plan import TreeRestored, TreeRestorePlan
from tests.jobs.site import Site
from tests.jobs.trees import Trees

ERP = Source(Category.APPLICATIONS, "local", "erp")


class Shop:
    """An ERP in a folder of this machine, kept in every version."""

    def __init__(self, site: Site) -> None:
        self.site, self.trees = site, Trees(site)
        self.opt = site.folder / "opt"
        self.erp = self.opt / "erp"
        self.trees.configure(
            applications=[{"name": "erp", "path": str(self.erp), "version": {"file": "VERSION"}}]
        )

    def release(self, version: str) -> str:
        """Install a version and back it up; return the backup's id."""
        (self.erp / "bin").mkdir(parents=True, exist_ok=True)
        (self.erp / "VERSION").write_text(f"{version}\n")
        (self.erp / "bin/erp").write_text(f"#!/bin/sh\necho {version}\n")
        (self.erp / "bin/erp").chmod(0o750)
        batches = self.trees.plan(category=Category.APPLICATIONS)
        take_backup(self.site.deployment(), batches)
        return batches[0].backup_id

    def plan(self, **more: Any) -> TreeRestorePlan:
        return job.plan(self.site.deployment(), ApplicationRequest(ERP, **more))

    def restore(self, **more: Any) -> TreeRestored:
        """Plan, hand the plan over as tasks do, restore."""
        handed = TreeRestorePlan.from_json(self.plan(**more).to_json())
        return job.restore(self.site.deployment(), handed)

    def day(self, run: str) -> str:
        started = self.trees.manifest(run, ERP).started_at
        return f"{started.astimezone(self.site.deployment().config.zone):%Y%m%d}"

    def beside(self) -> set[str]:
        return {path.name for path in self.opt.iterdir()}


@pytest.fixture
def shop(site: Site) -> Shop:
    return Shop(site)


def test_a_version_comes_back_beside_the_running_one_and_is_put_in_its_place(
    site: Site, shop: Shop
) -> None:
    old = shop.release("ERP 1.4.2 (β)")
    new = shop.release("ERP 1.5.0")
    planned = shop.plan(version="v1.4.2", reason="ticket 4711")
    assert shop.beside() == {"erp"}
    assert (planned.request.backup_id, planned.version) == (old, "ERP 1.4.2 (β)")
    restored = shop.restore(version="v1.4.2", reason="ticket 4711")
    name = f"erp.restored_ERP-1.4.2_{shop.day(old)}"
    assert restored.places == (f"{shop.opt}/{name}",)
    assert differences(shop.trees.entries(old, ERP).values(), shop.opt / name) == []
    assert (shop.erp / "VERSION").read_text() == "ERP 1.5.0\n"
    text = job.text_of(planned, restored)
    assert "every file compared" in text
    last = text.splitlines()[-1]
    assert f"switch-application local/erp {name}" in last

    second = shop.restore(version="1.4.2")
    assert second.places[0].startswith(f"{shop.opt}/{name}_")
    assert shop.plan(version="ERP 1.5.0").request.backup_id == new
    assert shop.plan().request.backup_id == new

    switched = site.json("switch-application", "erp", name)
    assert (shop.erp / "VERSION").read_text() == "ERP 1.4.2 (β)\n"
    replaced = Path(switched["plan"]["switch"]["replaced"])
    assert (replaced / "VERSION").read_text() == "ERP 1.5.0\n"


def test_the_newest_of_a_version_is_taken_or_that_of_a_day_or_an_id(site: Site, shop: Shop) -> None:
    first, second = shop.release("1.4.2"), shop.release("1.4.2")
    shop.release("1.5.0")
    assert shop.plan(version="1.4.2").request.backup_id == second
    assert shop.plan(backup_id=first).request.backup_id == first
    started = shop.trees.manifest(second, ERP).started_at
    assert shop.plan(version="1.4.2", before=started).request.backup_id == first
    assert shop.plan(before=started).request.backup_id == first
    with pytest.raises(RestoreRefused, match=r"is of version 1\.4\.2, not 1\.5"):
        shop.plan(version="1.5.0", backup_id=first)


def test_what_cannot_be_had_names_the_versions_and_days_that_can(site: Site, shop: Shop) -> None:
    with pytest.raises(RestoreRefused, match="no backup of applications/local/erp"):
        shop.plan(version="1.0")
    run = shop.release("ERP 1.4.2 a")
    shop.release("ERP 1.4.2 b")
    with pytest.raises(RestoreRefused, match=r"is of version '1\.4'") as refused:
        shop.plan(version="1.4")
    day = shop.trees.manifest(run, ERP).started_at.astimezone(site.deployment().config.zone).date()
    assert f"ERP 1.4.2 b ({day}); ERP 1.4.2 a ({day})" in refused.value.hint
    with pytest.raises(RestoreRefused, match="more than one version") as refused:
        shop.plan(version="1.4.2")
    assert "ERP 1.4.2 b; ERP 1.4.2 a" in refused.value.hint
    before = end_of_day(site.deployment(), str(day - timedelta(days=1)))
    with pytest.raises(RestoreRefused, match="begun before") as refused:
        shop.plan(version="1.4.2", before=before)
    assert "ERP 1.4.2 a" in refused.value.hint
    with pytest.raises(RestoreRefused, match="no application is called 'shop'") as refused:
        job.find_application(site.deployment(), "shop")
    assert "local/erp" in refused.value.hint


def test_a_lost_one_comes_back_and_the_report_says_so(site: Site, shop: Shop) -> None:
    run = shop.release("1.4.2")
    shutil.rmtree(shop.opt)
    shop.opt.mkdir()
    dry = site.run("restore-application", "erp", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "nothing runs there" in dry.stdout
    assert shop.beside() == set()
    done = site.run("restore-application", "local/erp", "--version", "1.4.2")
    assert done.returncode == 0, done.stderr
    name = f"erp.restored_1.4.2_{shop.day(run)}"
    assert f"switch-application --lost local/erp {name}" in done.stdout
    assert site.run("switch-application", "erp", name).returncode == 3
    switched = site.run("switch-application", "erp", name, "--lost")
    assert switched.returncode == 0, switched.stderr
    assert shop.beside() == {"erp"}
    assert site.json("restore-application", "erp", "--version", "2", code=3)["hint"]
