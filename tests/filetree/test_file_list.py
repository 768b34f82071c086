"""The list of a backup's files: written, read back, in part, compared."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from include.respaldo.errors import CorruptObject
from include.respaldo.filetree.file_list import compare, read_list, summary, write_list
from include.respaldo.filetree.listing import list_tree
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.model.file_tree import Changes, Entry, Kind, Problem
from tests.filetree.conftest import Silent

ROOT = Path(__file__).resolve().parents[2]
SINCE = "20261121T020000.000000Z"


def file(path: str, content: str = "x", **more: object) -> Entry:
    found = Entry(
        path=path,
        kind=Kind.FILE,
        size=len(content),
        mode=0o644,
        uid=0,
        gid=0,
        mtime_ns=1,
        sha256=hashlib.sha256(content.encode()).hexdigest(),
    )
    return replace(found, **more)  # type: ignore[arg-type]


def folder(path: str) -> Entry:
    return Entry(path=path, kind=Kind.FOLDER, size=0, mode=0o755, uid=0, gid=0, mtime_ns=1)


def compared(tmp_path: Path, before: list[Entry], after: list[Entry]) -> Changes:
    for name, entries in (("before", before), ("after", after)):
        write_list(sorted(entries, key=lambda e: os.fsencode(e.path)), tmp_path / name)
    return compare(tmp_path / "before", tmp_path / "after", SINCE)


def test_a_list_is_read_back_as_it_was_written(odd_tree: Path, tmp_path: Path) -> None:
    listed = list_tree(odd_tree, Patterns(), one_file_system=True, known=None, progress=Silent())
    stored = write_list(listed.entries, tmp_path / "list")
    assert list(read_list(tmp_path / "list")) == list(listed)
    data = (tmp_path / "list").read_bytes()
    assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert stored.name == "files.parquet"
    again = write_list(list(listed), tmp_path / "again")
    assert list(read_list(tmp_path / "again")) == list(listed)
    assert again.raw_size > 0


def test_only_what_identifies_content_leaves_the_machine(odd_tree: Path, tmp_path: Path) -> None:
    listed = list_tree(odd_tree, Patterns(), one_file_system=True, known=None, progress=Silent())
    write_list(listed, tmp_path / "list")
    schema = pq.read_schema(tmp_path / "list")
    assert schema.names == [
        *["path", "kind", "size", "mode", "uid", "gid", "mtime_ns", "sha256", "target"],
        *["hard_link", "xattrs", "incompressible", "problem"],
    ]


def test_an_entry_is_found_with_all_below_it(odd_tree: Path, tmp_path: Path) -> None:
    listed = list_tree(odd_tree, Patterns(), one_file_system=True, known=None, progress=Silent())
    write_list(listed, tmp_path / "list")
    found = [entry.path for entry in read_list(tmp_path / "list", below="folder")]
    assert found == ["folder", "folder/another name", "folder/deeper", "folder/deeper/file"]
    assert [e.path for e in read_list(tmp_path / "list", below="not \udcff\udcfe utf-8")] == [
        "not \udcff\udcfe utf-8",
        "not \udcff\udcfe utf-8/\udc80in",
    ]
    assert list(read_list(tmp_path / "list", below="nowhere")) == []


def test_what_is_added_modified_and_removed_is_counted(tmp_path: Path) -> None:
    before = [folder(""), folder("d"), file("d/same"), file("d/gone"), file("changes", "1")]
    after = [folder(""), folder("d"), file("d/same", mtime_ns=2), file("changes", "22"), file("e")]
    assert compared(tmp_path, before, after) == Changes(
        since=SINCE, added=1, modified=1, removed=1, unchanged=1, size=3
    )


def test_a_modified_file_that_no_longer_shrinks_is_counted(tmp_path: Path) -> None:
    before = [file("a", "1"), file("b", "1", incompressible=True), file("c")]
    after = [file(p, "2", incompressible=True) for p in "abc"]
    after[2] = file("c", incompressible=True)  # its content is the same
    assert compared(tmp_path, before, after).became_incompressible == 1


def test_a_file_that_could_not_be_read_counts_by_size_and_time(tmp_path: Path) -> None:
    before = [file("a"), file("b"), file("c")]
    after = [
        file("a", sha256="", problem=Problem.UNREADABLE),
        file("b", sha256="", problem=Problem.UNREADABLE, mtime_ns=2),
        file("c", problem=Problem.VANISHED, sha256=""),
    ]
    changes = compared(tmp_path, before, after)
    assert (changes.unchanged, changes.modified, changes.removed) == (1, 1, 1)


def test_a_file_that_became_a_folder_or_a_link_was_removed(tmp_path: Path) -> None:
    after = [folder("a"), replace(folder("b"), kind=Kind.LINK, target="a")]
    changes = compared(tmp_path, [file("a"), file("b")], after)
    assert (changes.removed, changes.added) == (2, 0)


def test_the_first_list_is_compared_with_nothing(tmp_path: Path) -> None:
    write_list([file("a")], tmp_path / "after")
    assert compare(None, tmp_path / "after", "") == Changes()


def test_lists_are_compared_across_the_bounds_of_their_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.respaldo.filetree.file_list.ROWS", 7)
    before = [file(f"{n:04}") for n in range(0, 300, 2)]
    after = [file(f"{n:04}", "y" if n % 5 == 0 else "x") for n in range(0, 300, 3)]
    both = set(range(0, 300, 6))
    changes = compared(tmp_path, before, after)
    assert changes.removed == 150 - len(both)
    assert changes.added == 100 - len(both)
    assert changes.modified == len([n for n in both if n % 5 == 0])
    assert compared(tmp_path, before, []).removed == 150
    assert compared(tmp_path, [], after).added == 100


def test_a_summary_names_the_first_problems_and_counts_all(tmp_path: Path) -> None:
    entries = [folder(""), *(file(f"{n:03}\n", problem=Problem.UNREADABLE) for n in range(150))]
    entries += [replace(folder("l"), kind=Kind.LINK), replace(folder("o"), kind=Kind.OTHER)]
    entries.append(file("v", problem=Problem.VANISHED))
    write_list(entries, tmp_path / "list")
    found = summary(tmp_path / "list")
    assert (found.files, found.folders, found.links, found.others) == (151, 1, 1, 1)
    assert found.size == 151
    assert found.problem_counts == {"unreadable": 150, "vanished": 1}
    assert len(found.problems) == 100
    assert found.problems[0] == ("000\\n", "unreadable")


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty"])
def test_a_damaged_list_is_said_to_be_damaged(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "list"
    write_list([file(f"{n}") for n in range(1000)], path)
    data = path.read_bytes()
    flipped = data[:-30] + bytes(30)
    path.write_bytes({"cut": data[:-9], "flipped": flipped, "empty": b""}.get(damage, b"PAR1" * 9))
    with pytest.raises(CorruptObject):
        list(read_list(path))


def test_memory_does_not_grow_with_the_length_of_a_list(tmp_path: Path) -> None:
    """Measured in a process of its own: what 360,000 entries take beyond 120,000, in KiB.

    As texts they would take 50 MB; what the allocator keeps varies by 20.
    """
    script = """
import resource, sys
from pathlib import Path
from include.respaldo.filetree.file_list import compare, write_list, summary
from include.respaldo.model.file_tree import Entry, Kind
folder, number = Path(sys.argv[1]), int(sys.argv[2])
def entries(step):
    for n in range(number):
        yield Entry(f"some/folder/{n // 1000:06}/file number {n:09}.pdf", Kind.FILE, n, 0o644, 0, 0,
                    n * step, f"{n * step:064x}")
write_list(entries(1), folder / "before")
write_list(entries(3), folder / "after")
changes = compare(folder / "before", folder / "after", "x")
assert changes.modified == number - 1, changes
assert summary(folder / "after").files == number
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    took = []
    for number in (120_000, 360_000):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), str(number)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        took.append(int(done.stdout))
    assert took[1] - took[0] < 40_000
