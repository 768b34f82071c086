"""The list of a tree: all that it holds, what went wrong, and nothing read twice."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.respaldo.errors import SourceError
from include.respaldo.filetree import hashing, reading
from include.respaldo.filetree.digests import DigestCache
from include.respaldo.filetree.listing import ListedTree, list_tree
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.model.file_tree import Entry, Kind, Problem
from tests.filetree.conftest import LONGEST, Silent

ROOT = Path(__file__).resolve().parents[2]


def listing(
    root: Path, known: DigestCache | None = None, patterns: Patterns | None = None
) -> ListedTree:
    return list_tree(
        root,
        patterns or Patterns(),
        one_file_system=True,
        known=known,
        progress=Silent(),
    )


def by_path(listed: ListedTree) -> dict[str, Entry]:
    return {entry.path: entry for entry in listed}


def aged(root: Path) -> None:
    """Make all files old: those touched just now are not remembered."""
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was touched just now counts as settled, too: ctime cannot be set."""
    monkeypatch.setattr("include.respaldo.filetree.listing._SETTLED_AFTER", -(10**12))


def test_everything_is_listed_as_it_is(odd_tree: Path) -> None:
    found = by_path(listing(odd_tree))
    real = {""} | {os.path.relpath(p, odd_tree) for p in odd_tree.rglob("*")}
    assert set(found) == real
    for path, entry in found.items():
        status = os.lstat(odd_tree / path)
        assert entry.mode == status.st_mode & 0o7777, path
        assert (entry.uid, entry.gid) == (status.st_uid, status.st_gid)
        assert entry.mtime_ns == status.st_mtime_ns
        assert entry.problem is None
        if entry.kind is Kind.FILE:
            content = (odd_tree / path).read_bytes()
            assert entry.size == len(content)
            assert entry.sha256 == hashlib.sha256(content).hexdigest()
    assert found["link"].target == "plain.txt"
    assert found["dangling"].target == "nowhere \udcff"
    assert found["link to folder"].kind is Kind.LINK
    assert found["fifo"].kind is Kind.OTHER
    assert found[LONGEST].kind is Kind.FILE
    assert found["not \udcff\udcfe utf-8/\udc80in"].size == 1
    assert found["noise"].incompressible
    assert not found["plain.txt"].incompressible
    assert found["plain.txt"].hard_link == found["folder/another name"].hard_link != 0
    assert [p for p, e in found.items() if e.xattrs] == ["folder", "noise"]


def test_the_list_is_in_the_order_of_the_bytes_of_its_paths(odd_tree: Path) -> None:
    paths = [os.fsencode(entry.path) for entry in listing(odd_tree)]
    assert paths == sorted(paths)
    assert paths.index(b"folder") < paths.index(b"folder-and") < paths.index(b"folder/deeper")


def test_the_digest_of_attributes_is_the_documented_one(odd_tree: Path) -> None:
    parts = [b"user.note", b"a\0b"]
    data = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    assert by_path(listing(odd_tree))["noise"].xattrs == hashlib.sha256(data).hexdigest()


def test_an_acl_is_part_of_the_attributes(tmp_path: Path) -> None:
    (root := tmp_path / "tree").mkdir()
    (file := root / "file").touch()
    before = by_path(listing(root))["file"].xattrs
    done = subprocess.run(["setfacl", "-m", "u:1234:r", str(file)], check=False)
    if done.returncode:
        pytest.skip("this file system has no ACLs")
    assert by_path(listing(root))["file"].xattrs != before == ""


def test_what_did_not_change_is_not_read_again(odd_tree: Path, settled: None) -> None:
    first = listing(odd_tree)
    (odd_tree / "plain.txt").write_text("other\n" * 1000)
    (odd_tree / "new").write_text("new")
    (odd_tree / "empty").unlink()
    second = listing(odd_tree, first.digests)
    assert second.files_read == 3  # under both its names, and the new one
    assert list(second) == list(listing(odd_tree))


def test_a_change_that_keeps_size_and_time_is_seen(odd_tree: Path, settled: None) -> None:
    first = listing(odd_tree)
    status = (odd_tree / "modes").stat()
    (odd_tree / "modes").write_text("y")
    os.utime(odd_tree / "modes", ns=(status.st_atime_ns, status.st_mtime_ns))
    second = by_path(listing(odd_tree, first.digests))
    assert second["modes"].sha256 == hashlib.sha256(b"y").hexdigest()


def test_changed_attributes_are_seen_without_a_changed_content(
    odd_tree: Path, settled: None
) -> None:
    first = listing(odd_tree)
    os.setxattr(odd_tree / "noise", "user.note", b"other")
    assert by_path(listing(odd_tree, first.digests)) == by_path(listing(odd_tree))


def test_what_was_touched_just_now_is_read_again(odd_tree: Path) -> None:
    assert listing(odd_tree, listing(odd_tree).digests).files_read == listing(odd_tree).files_read


def test_the_digests_survive_in_a_file(odd_tree: Path, tmp_path: Path, settled: None) -> None:
    listing(odd_tree).digests.write(tmp_path / "below" / "digests")
    known = DigestCache.read(tmp_path / "below" / "digests")
    second = listing(odd_tree, known)
    assert second.files_read == 0
    assert list(second) == list(listing(odd_tree))


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "other"])
def test_damaged_digests_count_as_none(
    odd_tree: Path, tmp_path: Path, settled: None, damage: str
) -> None:
    path = tmp_path / "digests"
    listing(odd_tree).digests.write(path)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        flipped = data[:2000] + bytes([data[2000] ^ 1]) + data[2001:]
        path.write_bytes(
            {"empty": b"", "cut": data[:-1], "flipped": flipped}.get(damage, b"x" * 99)
        )
    known = DigestCache.read(path)
    assert not known
    assert listing(odd_tree, known).files_read > 0


def test_an_unreadable_file_is_listed_as_such(
    odd_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = hashing.open_file

    def refusing(path: bytes) -> int:
        if path.endswith((b"empty", b"modes")):
            raise PermissionError(13, "Permission denied")
        return opened(path)

    monkeypatch.setattr(hashing, "open_file", refusing)
    found = by_path(listing(odd_tree))
    assert found["modes"].problem is Problem.UNREADABLE
    assert found["modes"].sha256 == ""
    assert found["modes"].size == 1
    assert found["empty"].problem is Problem.UNREADABLE
    assert found["noise"].problem is None


def test_without_the_right_to_read_files_and_folders_are_named(tmp_path: Path) -> None:
    """Really not readable: the process gives up what lets root read everything."""
    (root := tmp_path / "tree").mkdir()
    (root / "closed").mkdir()
    (root / "closed" / "below").touch()
    (root / "closed").chmod(0)
    (root / "secret").write_text("x")
    (root / "secret").chmod(0)
    (root / "open").write_text("x")
    script = (
        "import sys; from pathlib import Path\n"
        "from include.respaldo.filetree.patterns import Patterns\n"
        "from include.respaldo.filetree.listing import list_tree\n"
        "from tests.filetree.conftest import Silent\n"
        "for e in list_tree(Path(sys.argv[1]), Patterns(), one_file_system=True, known=None,"
        " progress=Silent()): print(repr(e.path), e.problem and e.problem.value)\n"
    )
    done = subprocess.run(
        [
            *["setpriv", "--bounding-set=-dac_override,-dac_read_search"],
            *[sys.executable, "-c", script, str(root)],
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "setpriv" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout.splitlines() == [
        "'' None",
        "'closed' unreadable",
        "'open' None",
        "'secret' unreadable",
    ]


def test_a_file_that_vanishes_before_it_is_read_is_recorded(
    odd_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = hashing.open_file

    def vanishing(path: bytes) -> int:
        if path.endswith(b"modes"):
            Path(os.fsdecode(path)).unlink(missing_ok=True)
        return opened(path)

    monkeypatch.setattr(hashing, "open_file", vanishing)
    found = by_path(listing(odd_tree))
    assert found["modes"].problem is Problem.VANISHED
    assert found["modes"].sha256 == ""


def test_a_file_that_keeps_changing_is_listed_as_it_was_read_last(
    odd_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = hashing.is_incompressible
    times = []

    def growing(head: bytes) -> bool:
        """Called once something was read, before the last look at the file."""
        if head.startswith(b"x"):
            times.append(len(head))
            with (odd_tree / "modes").open("ab") as file:
                file.write(b"more")
        return decided(head)

    monkeypatch.setattr(hashing, "is_incompressible", growing)
    found = by_path(listing(odd_tree))["modes"]
    monkeypatch.undo()
    assert found.problem is Problem.CHANGED
    content = (odd_tree / "modes").read_bytes()
    assert found.sha256 in {hashlib.sha256(content[:end]).hexdigest() for end in (5, 9)}
    assert found.size == len(content)
    assert times == [1, 5]  # read once more


def test_a_file_that_changed_once_is_read_again_and_is_no_problem(
    odd_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, first = hashing._read, []

    def once(path: bytes) -> hashing.Hashed:
        found = read(path)
        if path.endswith(b"modes") and not first:
            first.append(found)
            (odd_tree / "modes").write_text("other")
            return found._replace(problem=Problem.CHANGED)
        return found

    monkeypatch.setattr(hashing, "_read", once)
    found = by_path(listing(odd_tree))["modes"]
    assert found.problem is None
    assert found.sha256 == hashlib.sha256(b"other").hexdigest()
    assert found.size == 5


def test_a_fifo_and_a_link_in_a_files_place_are_not_waited_for_nor_followed(
    tmp_path: Path,
) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    (link := tmp_path / "link").symlink_to("/etc/passwd")
    assert hashing.hash_file(os.fsencode(fifo)).problem is Problem.CHANGED
    assert hashing.hash_file(os.fsencode(link)).problem is Problem.CHANGED


def test_another_file_system_is_an_empty_folder(tmp_path: Path) -> None:
    (root := tmp_path / "tree").mkdir()
    (mounted := root / "mounted").mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "none", str(mounted)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (mounted / "below").touch()
        one = by_path(listing(root))
        many = list_tree(root, Patterns(), one_file_system=False, known=None, progress=Silent())
        assert list(one) == ["", "mounted"]
        assert [entry.path for entry in many] == ["", "mounted", "mounted/below"]
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_root_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("missing", "file"):
        with pytest.raises(SourceError) as caught:
            listing(tmp_path / name)
        assert name in caught.value.message


def test_only_what_is_included_is_listed_with_the_folders_that_lead_there(odd_tree: Path) -> None:
    found = by_path(listing(odd_tree, patterns=Patterns(include=["file", "*.txt"])))
    assert list(found) == ["", "folder", "folder/deeper", "folder/deeper/file", "plain.txt"]


def test_many_files_are_read_by_processes_with_the_same_result(
    odd_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        (odd_tree / f"number {number}").write_text(str(number))
    alone = list(listing(odd_tree))
    monkeypatch.setattr(reading, "_MANY", 1)
    monkeypatch.setattr(reading, "WORKERS", 2)
    monkeypatch.setattr("include.respaldo.filetree.listing.ROWS", 50)
    assert list(listing(odd_tree)) == alone


def test_a_reading_process_that_is_killed_costs_nothing(
    odd_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def killed(root: bytes) -> subprocess.Popen[bytes]:
        child = start(root)
        child.kill()
        child.wait()
        started.append(child)
        return child

    start = reading._start
    alone = list(listing(odd_tree))
    monkeypatch.setattr(reading, "_MANY", 1)
    monkeypatch.setattr(reading, "_start", killed)
    assert list(listing(odd_tree)) == alone
    assert all(child.returncode is not None for child in started)


def test_memory_does_not_grow_with_the_number_of_entries(tmp_path: Path) -> None:
    """The rows lie in a file that has no name: nothing is left behind, whatever happens."""
    (root := tmp_path / "tree").mkdir()
    (scratch := tmp_path / "scratch").mkdir()
    listed = list_tree(
        root, Patterns(), one_file_system=True, known=None, progress=Silent(), scratch=scratch
    )
    assert [entry.path for entry in listed] == [""]
    assert list(scratch.iterdir()) == []
