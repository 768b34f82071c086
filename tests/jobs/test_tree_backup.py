"""Backups of trees: listed, stored, sealed last, mirrored object by object."""

from __future__ import annotations

import os

import pytest

from tests.jobs.site import REGIONS, Site
from tests.jobs.trees import Trees, landed


@pytest.fixture
def trees(site: Site) -> Trees:
    return Trees(site)


def test_a_tree_is_sealed_in_both_regions_and_comes_back_from_either_as_it_was(
    site: Site, trees: Trees
) -> None:
    trees.fill()
    odd = trees.uploads / os.fsdecode(b"no \xff utf-8\nand a line")
    odd.write_bytes(b"odd")
    (trees.uploads / "link").symlink_to("nowhere")
    os.link(odd, trees.uploads / "hard")
    os.mkfifo(trees.uploads / "fifo")
    (trees.uploads / ("x" * 255)).touch(mode=0o4750)
    run = trees.back_up()
    for region in REGIONS:
        assert site.sealed(region) == {"uploads"}
        assert trees.restored(run, region=region) == []
        assert (trees.last_restored / odd.name).read_bytes() == b"odd"
    assert trees.repository_objects("primary").keys() == trees.repository_objects("replica").keys()
    tree = trees.manifest(run).tree
    assert tree is not None
    assert (tree.files, tree.folders, tree.links, tree.others) == (13, 4, 1, 1)
    assert tree.problem_counts == {}
    assert not list(landed(site))
