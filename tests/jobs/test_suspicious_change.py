"""A suspicious change, from the backup to the day somebody has looked: real files and regions."""

from __future__ import annotations

import os

import pytest

from include.respaldo.jobs.acknowledge import suspicious_backups
from tests.jobs.site import Site
from tests.jobs.trees import Trees


@pytest.fixture
def trees(site: Site) -> Trees:
    made = Trees(site)
    made.configure(redundancy={"settle": "0s"}, retention={"daily": 1, "weekly": 0, "monthly": 0})
    made.fill(40)
    return made


def test_it_is_kept_and_seen_and_holds_the_good_ones_until_somebody_has_looked(
    site: Site, trees: Trees
) -> None:
    good = trees.back_up()
    for path in trees.uploads.rglob("*.txt"):
        path.write_bytes(os.urandom(4000))
    bad = trees.back_up()
    last = trees.back_up()
    assert [b.backup_id for b in suspicious_backups(site.deployment())] == [bad]
    same = site.json("check-redundancy")
    assert (same["healed"], same["not_healed"], same["compared_by_size"]) == ([], {}, 0)

    assert "40 of 40 files were modified" in site.run("check").stdout
    done = site.run("retain")
    assert done.returncode == 0, done.stderr
    assert f"nothing from before {bad} goes" in done.stdout
    assert trees.restored(good, region="replica") == []

    done = site.run("acknowledge", "uploads", bad, "--by", "Ana", "--note", "encrypted: restored")
    assert done.returncode == 0, done.stderr
    assert "by Ana (encrypted: restored); retention goes on" in done.stdout
    assert "suspicious" not in site.run("check").stdout
    done = site.run("retain")
    assert done.returncode == 0, done.stderr
    assert "2 snapshots forgotten" in done.stdout
    assert len(trees.snapshots("primary")) == len(trees.snapshots("replica")) == 1
    assert trees.repository_objects("primary") == trees.repository_objects("replica")
    assert trees.restored(last, region="replica") == []
    again = trees.back_up()
    assert trees.restored(again) == []
