"""Retention and the geo-redundancy check over real repositories of restic in two regions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from embedded.process import wait_until
from include.respaldo import failpoints
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.restic import Repository
from include.respaldo.jobs.deployment import Silence
from include.respaldo.jobs.tend_repository import repository_is_whole
from include.respaldo.model import keys
from include.respaldo.model.backup import Category
from tests.jobs.old_trees import midnight, seal_tree, tree_manifest
from tests.jobs.site import Site
from tests.restic_keys import store_repository

PASSWORD = "what encrypts the repository"
PREFIX = keys.repository_prefix(Category.FILES)


class Uploads:
    """A folder that was backed up on each of so many days, sealed in both regions."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        folder.mkdir()
        self.snapshots: list[str] = []
        with site.config_path.open("a") as config:
            config.write(
                "\nrepository: {connection: repository}"
                "\nretention: {daily: 2, weekly: 0, monthly: 0}"
                "\nredundancy: {settle: 0s}\n"
            )
        site.more["AIRFLOW_CONN_REPOSITORY"] = json.dumps({
            "conn_type": "generic",
            "password": PASSWORD,
        })
        store_repository(site.deployment().vaults.primary, Category.FILES, PASSWORD)

    @property
    def repository(self) -> Repository:
        return self.site.deployment().repository(Category.FILES)

    def back_up(self, days_ago: int) -> None:
        """Change a file, store the folder in the primary, seal it in both."""
        for number in range(3):
            (self.folder / f"of {days_ago} days ago {number}").write_bytes(os.urandom(90_000))
        at = midnight(days_ago)
        stored = self.repository.backup(
            self.folder,
            patterns=Patterns(),
            host="local",
            tags=["category=files"],
            at=at,
            one_file_system=True,
            progress=Silence(),
        )
        self.snapshots.append(stored.id)
        for path in self.folder.iterdir():
            path.unlink()
        seal_tree(self.site.deployment().vaults, tree_manifest(at, stored.id))

    def objects(self, region: str) -> set[str]:
        found = {k for k in self.site.objects(region) if k.startswith(PREFIX)}
        return {k for k in found if not k.startswith(PREFIX + "locks/")}

    @property
    def replica(self) -> Repository:
        """The replica's repository, opened by itself, as after a disaster."""
        return self.site.deployment().repository(Category.FILES, "replica")


@pytest.fixture
def uploads(site: Site, tmp_path: Path) -> Uploads:
    made = Uploads(site, tmp_path / "uploads")
    for days_ago in (6, 5, 4, 1, 0):
        made.back_up(days_ago)
    done = site.run("check-redundancy")
    assert done.returncode == 0, done.stderr
    assert made.objects("replica") == made.objects("primary")
    return made


def test_the_repositories_lose_what_retention_removes_killed_or_not(
    site: Site, uploads: Uploads, tmp_path: Path
) -> None:
    before = uploads.objects("primary")
    done = site.run("retain", failpoint=failpoints.REPOSITORY_PRUNED)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert uploads.objects("replica") == before

    # what was pruned in the primary alone is not copied back to it
    pruned = uploads.objects("primary")
    said = site.json("check-redundancy")
    assert said["left_to_retention"] >= len(before - pruned) > 0
    assert uploads.objects("primary") == pruned

    done = site.run("retain")
    assert done.returncode == 0, done.stderr
    assert uploads.objects("primary") == uploads.objects("replica")
    repository = uploads.replica
    repository.check(read_data="all")
    assert {s.id for s in repository.snapshots()} == set(uploads.snapshots[-2:])
    repository.restore(uploads.snapshots[-1], str(uploads.folder), (), tmp_path / "back", Silence())
    assert len(list((tmp_path / "back").iterdir())) == 3


def test_a_primary_that_lost_packs_or_snapshots_gets_them_back(
    site: Site, uploads: Uploads
) -> None:
    before = uploads.objects("primary")
    vaults = site.deployment().vaults
    assert repository_is_whole(site.deployment(), Category.FILES)
    # packs of content, not of folders: restic asks again and again for those before it gives up
    packs = [o.key for o in vaults.primary.list(f"{PREFIX}data/") if o.size > 200_000][:3]
    assert len(packs) == 3
    snapshot = f"{PREFIX}snapshots/{uploads.snapshots[0]}"
    for some in (packs, [snapshot], sorted(before)):
        vaults.primary.delete_all(some)
        assert site.json("check-redundancy")["ok"]
        assert uploads.objects("primary") == before
        assert repository_is_whole(site.deployment(), Category.FILES)


def test_a_damaged_pack_is_brought_back_from_the_region_that_has_it_whole(
    site: Site, uploads: Uploads
) -> None:
    whole = site.objects("primary")
    packs = [key for key in whole if "/data/" in key]
    (pack,) = site.damage("primary", packs[0])
    (other,) = site.damage("replica", packs[1])
    said = site.json("check-redundancy")
    assert {(f["key"], f["region"]) for f in said["healed"]} == {
        (pack, "primary"),
        (other, "replica"),
    }
    assert site.objects("primary") == site.objects("replica") == whole


def test_a_repository_that_is_being_written_to_is_left_for_the_next_day(
    site: Site, uploads: Uploads
) -> None:
    before = uploads.objects("primary")
    location = uploads.repository.location
    backup = subprocess.Popen(
        ["restic", "-r", location.uri, *location.options, "--no-cache", "backup", "--stdin"],
        env={**os.environ, **location.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: is_locked(site), 60)
        done = site.run("retain")
        assert done.returncode == 0, done.stderr
        assert "in use, what is left goes the next time" in done.stdout
        assert uploads.objects("replica") == before
        assert len(site.sealed("primary")) == 1
    finally:
        assert backup.stdin is not None
        backup.stdin.close()
        backup.wait()
    done = site.run("retain")
    assert "3 snapshots forgotten" in done.stdout
    assert uploads.objects("replica") == uploads.objects("primary") != before


def is_locked(site: Site) -> bool:
    return any(key.startswith(PREFIX + "locks/") for key in site.objects("primary"))
