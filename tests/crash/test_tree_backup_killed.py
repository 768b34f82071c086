"""A backup of a tree is killed at each step of durability: nothing doubled, nothing half listed."""

from __future__ import annotations

import signal

import pytest

from include.respaldo import failpoints
from tests.jobs.site import Site
from tests.jobs.trees import UPLOADS, Trees, landed

ID = "20991122T020000.000000Z"


@pytest.mark.parametrize(
    ("failpoint", "is_stored", "is_sealed"),
    [
        (failpoints.TREE_LANDED, False, False),
        (failpoints.TREE_LISTED, False, False),
        (failpoints.TREE_STORED, True, False),
        (failpoints.BACKUP_SEALED_IN_PRIMARY, True, True),
        (failpoints.REPOSITORY_COPIED, True, True),
    ],
)
def test_killed_at_a_step_it_is_listed_only_once_sealed_and_the_same_run_completes_it(
    site: Site, failpoint: str, is_stored: bool, is_sealed: bool
) -> None:
    trees = Trees(site)
    trees.fill()
    backup = ("backup", "--category", "files", "--id", ID)
    done = site.run(*backup, failpoint=failpoint)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(trees.snapshots()) == is_stored
    assert [p["backup_id"] for p in site.json("window", "uploads")["points"]] == [ID] * is_sealed
    assert site.sealed("replica") == set()
    assert len(trees.snapshots("replica")) == (failpoint == failpoints.REPOSITORY_COPIED)

    if is_stored and not is_sealed:  # the tree goes on living; the snapshot is that of before
        (trees.uploads / "folder 0/0.txt").write_text("changed after the crash")
    assert site.json(*backup)["backup_id"] == ID
    for region in ("primary", "replica"):
        assert site.sealed(region) == {"uploads"}
        assert len(trees.snapshots(region)) == 1
    assert trees.restored(ID) == []
    text = (trees.last_restored / "folder 0/0.txt").read_text()
    assert text == "file 0\n" * 50
    assert trees.tree(ID).problem_counts == {}
    assert trees.repository_objects("primary").keys() == trees.repository_objects("replica").keys()
    assert not list(landed(site))
    assert trees.manifest(ID).source == UPLOADS
