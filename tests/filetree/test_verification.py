"""A tree held against its list: whatever differs is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from include.respaldo.filetree.listing import list_tree
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.verification import differences
from include.respaldo.model.file_tree import Entry, Problem
from tests.filetree.conftest import Silent


@pytest.fixture
def entries(odd_tree: Path) -> list[Entry]:
    return list(
        list_tree(odd_tree, Patterns(), one_file_system=True, known=None, progress=Silent())
    )


def test_a_tree_fits_its_own_list(odd_tree: Path, entries: list[Entry]) -> None:
    assert differences(entries, odd_tree) == []


def _rewrite(root: Path) -> None:
    status = (root / "plain.txt").stat()
    (root / "plain.txt").write_text("other\n" * 1000)
    os.utime(root / "plain.txt", ns=(0, status.st_mtime_ns))


def _relink(root: Path) -> None:
    status = os.lstat(root / "link")
    (root / "link").unlink()
    (root / "link").symlink_to("elsewhere")
    os.chown(root / "link", 77, 78, follow_symlinks=False)
    os.utime(root / "link", ns=(0, status.st_mtime_ns), follow_symlinks=False)
    os.utime(root, ns=(0, root.stat().st_mtime_ns))


def _copy(root: Path) -> None:
    shutil.copy2(root / "plain.txt", root / "copy")
    (root / "copy").rename(root / "folder" / "another name")
    os.chown(root / "folder" / "another name", 1234, 4321)


@pytest.mark.parametrize(
    ("change", "name", "what"),
    [
        (_rewrite, "plain.txt", "content differs"),
        (lambda r: (r / "noise").write_text("short"), "noise", "expected 200000 bytes, found 5"),
        (lambda r: (r / "modes").chmod(0o600), "modes", "expected mode 6751, found 0600"),
        (lambda r: os.chown(r / "empty", 5, 6), "empty", "expected owner 0:0, found 5:6"),
        (lambda r: os.utime(r / "empty"), "empty", "expected the time"),
        (_relink, "link", "expected a link to plain.txt, found elsewhere"),
        (_copy, "plain.txt", "expected to be one file with folder/another name"),
        (lambda r: os.setxattr(r / "noise", "user.note", b"x"), "noise", "attributes or ACLs"),
        (lambda r: os.removexattr(r / "folder", "user.folder"), "folder", "attributes or ACLs"),
        (lambda r: (r / "a new\nline").unlink(), "a new\\nline", "is missing"),
        (lambda r: (r / "fifo").unlink() or (r / "fifo").touch(), "fifo", "expected a other"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_differs_is_named(
    odd_tree: Path, entries: list[Entry], change: Callable[[Path], object], name: str, what: str
) -> None:
    change(odd_tree)
    found = differences(entries, odd_tree)
    assert [line for line in found if line.startswith(f"{name}: ") and what in line], found


def test_owners_are_left_out_where_they_cannot_be_given(
    odd_tree: Path, entries: list[Entry]
) -> None:
    os.chown(odd_tree / "empty", 5, 6)
    assert differences(entries, odd_tree, owners=False) == []


def test_what_could_not_be_read_is_not_expected(odd_tree: Path, entries: list[Entry]) -> None:
    (odd_tree / "dangling").unlink()
    os.utime(odd_tree, ns=(0, next(e.mtime_ns for e in entries if not e.path)))
    known = [replace(e, problem=Problem.VANISHED) if e.path == "dangling" else e for e in entries]
    assert differences(known, odd_tree) == []


def test_the_number_of_differences_is_bounded(odd_tree: Path, entries: list[Entry]) -> None:
    shutil.rmtree(odd_tree)
    found = differences(entries, odd_tree, limit=3)
    assert len(found) == 4
    assert found[-1] == "… and more"
