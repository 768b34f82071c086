"""What a pattern fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.respaldo.errors import ConfigurationError
from include.respaldo.filetree.patterns import Patterns


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("*.tmp", ["a.tmp", "x/a.tmp", "x/y/.tmp"], ["a.tmpx", "atmp"]),
        ("cache", ["cache", "x/cache", "cache/below", "x/cache/y/z"], ["caches", "x/mycache"]),
        ("cache/*.bin", ["cache/a.bin", "x/cache/a.bin", "cache/a.bin/b"], ["cache/x/a.bin"]),
        ("/var/cache", ["var/cache", "var/cache/x"], ["x/var/cache", "var"]),
        ("/a/**/b", ["a/b", "a/x/b", "a/x/y/b", "a/b/c"], ["b", "x/a/b", "ab"]),
        ("**/b", ["b", "x/b", "x/y/b/c"], ["ab"]),
        ("/a/**", ["a/x", "a/x/y"], ["a", "b/a/x"]),
        ("a?c", ["abc", "aéc", "a\udcffc"], ["ac", "a/c", "abbc"]),
        ("[a-c]x", ["ax", "cx", "y/bx"], ["dx", "x"]),
        ("[!a]x", ["bx", "éx"], ["ax", "x", "a/x"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("[]]x", ["]x"], ["x"]),
        ("[a-]x", ["-x", "ax"], ["bx"]),
        (r"\*x", ["*x"], ["ax"]),
        ("a.b", ["a.b"], ["axb"]),
        ("*", ["a", "a/b"], []),
        ("/*", ["a", "a/b"], []),
        ("a*/b", ["a/b", "ab/b", "x/axx/b"], ["ab", "a/x/b"]),
    ],
)
def test_a_pattern_fits_what_it_says_and_all_below_it(
    pattern: str, fits: list[str], does_not: list[str]
) -> None:
    patterns = Patterns(exclude=[pattern])
    assert [path for path in fits if not patterns.excludes(path)] == []
    assert [path for path in does_not if patterns.excludes(path)] == []


@pytest.mark.parametrize(
    "pattern", ["", "/", "a//b", "a/", "../x", "a/./b", "a**", "**", "[a", "[z-a]", "x\\", "a\0b"]
)
def test_a_pattern_that_cannot_be_read_is_refused_with_what_would_be_right(pattern: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Patterns(exclude=[pattern])
    assert "'*.tmp'" in caught.value.hint


def test_include_takes_what_fits_and_the_folders_that_may_lead_there() -> None:
    patterns = Patterns(include=["/docs/*.pdf", "/photos"])
    assert patterns.takes("docs", is_folder=True)
    assert patterns.takes("docs/a.pdf", is_folder=False)
    assert patterns.takes("photos/x/y.jpg", is_folder=False)
    assert not patterns.takes("docs/a.txt", is_folder=False)
    assert not patterns.takes("docs/x", is_folder=True)
    assert not patterns.takes("other", is_folder=True)


def test_exclude_wins_over_include() -> None:
    patterns = Patterns(include=["*.pdf"], exclude=["/private"])
    assert patterns.takes("a/b.pdf", is_folder=False)
    assert not patterns.takes("private/b.pdf", is_folder=False)
    assert not patterns.takes("private", is_folder=True)


def test_the_root_is_always_taken() -> None:
    assert Patterns(include=["x"], exclude=["*"]).takes("", is_folder=True)


def test_the_name_of_a_folder_above_the_root_excludes_nothing() -> None:
    patterns = Patterns(exclude=["tmp", "/a*", "x/y"])
    assert patterns.restic_excludes(Path("/tmp/[odd]*")) == [
        r"/tmp/\[odd]\*/**/tmp",
        r"/tmp/\[odd]\*/a*",
        r"/tmp/\[odd]\*/**/x/y",
    ]
