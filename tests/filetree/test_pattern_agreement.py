"""Patterns mean the same to our walk, to restic and to rsync: all three on the same trees."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.restic import Repository
from include.respaldo.filetree.walk import walk
from include.respaldo.model.file_tree import Kind
from tests.filetree.conftest import AT, Silent

_NAMES = ["a", "b", "ab", "a.tmp", "b.tmp", "cache", "x y", "a[b]", "*", "c?", "-", "back\\slash"]
_ODD = ["é", "aé", "ñb.tmp", "日本"]
_PARTS = [
    *["a", "b", "ab", "*", "?", "a*", "*.tmp", "[ab]", "[!a]*", "[^b]", "??", "*b", "cache"],
    *[
        r"a\[b\]",
        r"\*",
        r"c\?",
        "[*]",
        "[a-c]?",
        "**",
        "**",
        "x y",
        "[-a]",
        "[]b]*",
        r"back\\slash",
    ],
    *["?.tmp", "[a]*", "é", "*é"],
]


def grow(folder: Path, random: random.Random, names: list[str], depth: int = 0) -> None:
    for name in random.sample(names, k=random.randint(2, 7)):
        if depth < 3 and random.random() < 0.55:
            (folder / name).mkdir()
            grow(folder / name, random, names, depth + 1)
        else:
            (folder / name).touch()


def some_patterns(random: random.Random, most: int = 3) -> list[str]:
    found: list[str] = []
    while len(found) < random.randint(1, most):
        parts = [random.choice(_PARTS) for _ in range(random.randint(1, 3))]
        text = random.choice(["", "/"]) + "/".join(parts)
        if set(parts) != {"**"}:
            found.append(text)
    return found


def walked(root: Path, patterns: Patterns | None = None) -> dict[str, Kind]:
    return {
        os.fsdecode(row.path): row.kind
        for piece in walk(root, patterns or Patterns(), one_file_system=True)
        for row in piece
    }


def files(tree: dict[str, Kind]) -> set[str]:
    return {path for path, kind in tree.items() if kind is Kind.FILE}


def sent(root: Path, patterns: Patterns, to: Path) -> dict[str, Kind]:
    """Return what rsync brings."""
    rules = [f"--filter={rule}" for rule in patterns.rsync_filters()]
    subprocess.run(["rsync", "--archive", *rules, f"{root}/", f"{to}/"], check=True)
    return walked(to)


def stored(root: Path, patterns: Patterns, repository: Repository) -> dict[str, Kind]:
    """Return what restic stores."""
    snapshot = repository.backup(
        root,
        patterns=patterns,
        host="host",
        tags=["t"],
        at=AT,
        one_file_system=True,
        progress=Silent(),
    )
    to = root.parent / f"back-{snapshot.id}"
    repository.restore(snapshot.id, str(root), [], to, Silent())
    return walked(to)


def rounds(number: int) -> list[int]:
    return list(range(number))


@pytest.mark.parametrize("seed", rounds(40))
def test_rsync_leaves_out_exactly_what_the_walk_does(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    (root := tmp_path / "a").mkdir()
    grow(root, dice, _NAMES)
    for number in range(5):
        patterns = Patterns(exclude=(texts := some_patterns(dice)))
        assert sent(root, patterns, tmp_path / f"to-{number}") == walked(root, patterns), texts


@pytest.mark.parametrize("seed", rounds(40))
def test_rsync_brings_every_file_that_the_walk_includes(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    (root := tmp_path / "a").mkdir()
    grow(root, dice, _NAMES)
    for number in range(5):
        include, exclude = some_patterns(dice), some_patterns(dice, 1)
        patterns = Patterns(include, exclude)
        found = sent(root, patterns, tmp_path / f"to-{number}")
        assert walked(tmp_path / f"to-{number}", patterns) == walked(root, patterns), patterns
        assert files(walked(root, patterns)) <= files(found), (include, exclude)


@pytest.mark.parametrize("seed", rounds(20))
def test_rsync_never_leaves_out_a_name_beyond_ascii_that_the_walk_takes(
    seed: int, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    (root := tmp_path / "a").mkdir()
    grow(root, dice, [*_NAMES, *_ODD])
    for number in range(5):
        include = some_patterns(dice) if number % 2 else []
        patterns = Patterns(include, some_patterns(dice))
        found = sent(root, patterns, tmp_path / f"to-{number}")
        assert files(walked(root, patterns)) <= files(found)
        assert walked(tmp_path / f"to-{number}", patterns) == walked(root, patterns)


@pytest.mark.parametrize("seed", rounds(8))
def test_restic_stores_exactly_what_the_walk_takes(
    seed: int, tmp_path: Path, local: Repository
) -> None:
    dice = random.Random(seed)
    (root := tmp_path / "a").mkdir()
    grow(root, dice, [*_NAMES, *_ODD])
    exclude = Patterns(exclude=some_patterns(dice, 6))
    assert stored(root, exclude, local) == walked(root, exclude), exclude
    both = Patterns(some_patterns(dice, 4), some_patterns(dice, 2))
    assert stored(root, both, local) == walked(root, both), both
