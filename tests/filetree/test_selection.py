"""What people mean by a path or a pattern, as a backup's list answers it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from include.respaldo.errors import RestoreRefused
from include.respaldo.filetree.file_list import write_list
from include.respaldo.filetree.selection import Selection, suggestions
from include.respaldo.model.file_tree import Entry, Kind, Problem

ODD = os.fsdecode(b"no \xff utf-8\n.txt")
FOLDERS = ["", "2026", "2026/10", "2026/11"]
FILES = [
    "2026/10/a.pdf",
    "2026/10/b.txt",
    "2026/11 b.txt",
    "2026/11/a.pdf",
    "2026/11/c.PDF",
    "2026/11/d [1].pdf",
    "invoice.pdf",
    ODD,
]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    entries = [entry(path, Kind.FOLDER) for path in FOLDERS] + [entry(path) for path in FILES]
    entries.append(entry("2026/10/lost.pdf", problem=Problem.UNREADABLE))
    to = tmp_path / "files.parquet"
    write_list(sorted(entries, key=lambda e: os.fsencode(e.path)), to)
    return to


def entry(path: str, kind: Kind = Kind.FILE, problem: Problem | None = None) -> Entry:
    size = 10 if kind is Kind.FILE else 0
    return Entry(path, kind, size, 0o644, 0, 0, 0, sha256="x" * 64, problem=problem)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["*.pdf"], ["2026/10/a.pdf", "2026/11/a.pdf", "2026/11/d [1].pdf", "invoice.pdf"]),
        (["/*.pdf"], ["invoice.pdf"]),
        (["/2026/*/a.pdf"], ["2026/10/a.pdf", "2026/11/a.pdf"]),
        (["2026/11/"], ["2026/11"]),
        (["/2026/11"], ["2026/11"]),
        (["./2026/11", "2026/11/a.pdf"], ["2026/11"]),
        (["2026/11/d [1].pdf"], ["2026/11/d [1].pdf"]),
        (["/srv/uploads/2026/10/*.pdf"], ["2026/10/a.pdf"]),
        (["/srv/uploads/*.pdf", "/srv/uploads/2026/11"], ["2026/11", "invoice.pdf"]),
        (["s3://shop/images/invoice.pdf"], ["invoice.pdf"]),
        (["10"], []),
        (["1?"], ["2026/10", "2026/11"]),
        (["2026", "*.pdf"], ["2026", "invoice.pdf"]),
        ([ODD], [ODD]),
        ([r"no \xff utf-8\n.txt"], [ODD]),
    ],
)
def test_paths_and_patterns_are_understood_as_people_type_them(
    listed: Path, wanted: list[str], found: list[str]
) -> None:
    selection = Selection(listed, wanted, ["/srv/uploads", "s3://shop/images"])
    assert [item.path for item in selection.items] == found
    assert selection.unknown == (() if found else tuple(wanted))


@pytest.mark.parametrize("wanted", [[], ["/"], [""], ["."], ["invoice.pdf", "/"], ["/srv/uploads"]])
def test_nothing_named_and_the_root_itself_mean_everything(listed: Path, wanted: list[str]) -> None:
    selection = Selection(listed, wanted, ["/srv/uploads"])
    assert selection.is_everything
    assert selection.items == ()
    contents = selection.contents
    assert (contents.files, contents.folders, contents.missing) == (8, 4, 1)


def test_a_folder_is_counted_with_all_below_it_and_with_nothing_beside_it(listed: Path) -> None:
    selection = Selection(listed, ["2026/11"])
    assert {e.path for e in selection.entries()} == {
        "2026/11",
        "2026/11/a.pdf",
        "2026/11/c.PDF",
        "2026/11/d [1].pdf",
    }
    assert (selection.contents.size, selection.contents.folders) == (30, 1)
    assert set(selection.folders_above()) == {"", "2026"}


def test_what_could_not_be_read_is_counted_apart_and_is_no_item(listed: Path) -> None:
    selection = Selection(listed, ["2026/10/*.pdf"])
    assert [item.path for item in selection.items] == ["2026/10/a.pdf"]
    assert (selection.contents.files, selection.contents.missing) == (1, 1)


def test_a_pattern_that_cannot_be_read_is_refused(listed: Path) -> None:
    with pytest.raises(RestoreRefused, match="cannot be read"):
        Selection(listed, ["[z-a]*"])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("c.pdf", ["2026/11/c.PDF"]),
        ("2025/10/b.txt", ["2026/10/b.txt", "2026/11 b.txt"]),
        ("invoce.pdf", ["invoice.pdf"]),
        ("d [1].pdf", ["2026/11/d [1].pdf"]),
        ("nothing like it", []),
    ],
)
def test_what_may_be_meant_is_named(listed: Path, text: str, meant: list[str]) -> None:
    assert suggestions(listed, text)[: len(meant)] == meant
    assert bool(suggestions(listed, text)) == bool(meant)
