"""What happens between a list and its snapshot is noticed; what does not, costs nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from include.respaldo.filetree.listing import ListedTree, list_tree
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.restic import Repository, Snapshot
from include.respaldo.filetree.second_look import is_as_listed
from tests.filetree.conftest import AT, Silent


def listing(root: Path, before: ListedTree | None = None) -> ListedTree:
    return list_tree(
        root,
        Patterns(),
        one_file_system=True,
        known=before.digests if before else None,
        progress=Silent(),
    )


def store(repository: Repository, root: Path, day: int) -> Snapshot:
    return repository.backup(
        root,
        patterns=Patterns(),
        host="shop",
        tags=["t"],
        at=AT + timedelta(days=day),
        one_file_system=True,
        progress=Silent(),
    )


@pytest.mark.parametrize("settles", [-(10**12), 10**15], ids=["reused", "read again"])
def test_a_tree_that_stays_is_what_was_listed_day_after_day(
    odd_tree: Path, local: Repository, monkeypatch: pytest.MonkeyPatch, settles: int
) -> None:
    monkeypatch.setattr("include.respaldo.filetree.listing._SETTLED_AFTER", settles)
    first = listing(odd_tree)
    assert is_as_listed(odd_tree, first.digests, store(local, odd_tree, 0))
    (odd_tree / "modes").write_text("another day")
    second = listing(odd_tree, first)
    assert second.files_read == (1 if settles < 0 else first.files_read)
    assert is_as_listed(odd_tree, second.digests, store(local, odd_tree, 1))


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda root: (root / "noise").write_bytes(os.urandom(200_000)),
        lambda root: (root / "noise").unlink(),
        lambda root: (root / "new").touch(),
        lambda root: (root / "folder" / "new").mkdir(),
        lambda root: (root / "noise").chmod(0o600),
        lambda root: os.setxattr(root / "folder", "user.folder", b"other"),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("other")),
    ],
    ids=["content", "gone", "new", "new folder", "mode", "attributes", "link"],
)
@pytest.mark.parametrize("when", ["before the snapshot", "after it"])
def test_a_change_between_list_and_snapshot_is_noticed(
    odd_tree: Path,
    local: Repository,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[Path], object],
    when: str,
) -> None:
    """What comes after it, and could have been before, as well: unless it was read on no day."""
    monkeypatch.setattr("include.respaldo.filetree.listing._SETTLED_AFTER", -(10**12))
    first = listing(odd_tree)
    if when == "after it":
        snapshot = store(local, odd_tree, 0)
        meanwhile(odd_tree)
        assert not is_as_listed(odd_tree, first.digests, snapshot)
        return
    store(local, odd_tree, 0)
    second = listing(odd_tree, first)
    assert second.files_read == 0
    meanwhile(odd_tree)
    assert not is_as_listed(odd_tree, second.digests, store(local, odd_tree, 1))
