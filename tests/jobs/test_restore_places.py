"""A final name is given to what is restored only while nothing else has it."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from include.respaldo.jobs import restore_places, restore_sites

Naming = Callable[[Path, Path], None]


def _here(staged: Path, final: Path) -> None:
    restore_places._name(staged, final)


def _on_a_host(staged: Path, final: Path) -> None:
    done = subprocess.run(["sh", "-c", restore_sites._RENAME, "sh", staged, final], check=False)
    if done.returncode == restore_sites._IS_TAKEN:
        raise FileExistsError
    if done.returncode == restore_sites._IS_ELSEWHERE:
        raise OSError(errno.EXDEV, "elsewhere")
    assert done.returncode == 0


@pytest.fixture(params=[_here, _on_a_host])
def name(request: pytest.FixtureRequest) -> Naming:
    found: Naming = request.param
    return found


def _make(path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.write_text("ours")
        case "link":
            path.symlink_to("nowhere")
        case _:
            path.mkdir()
            (path / "a").write_text("ours")


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_restored_moves_to_its_name(name: Naming, kind: str, tmp_path: Path) -> None:
    staged, final = tmp_path / "-staged it's", tmp_path / "-final it's"
    _make(staged, kind)
    name(staged, final)
    assert not os.path.lexists(staged)
    assert (final.is_file(), final.is_symlink(), final.is_dir()) == (
        kind == "file",
        kind == "link",
        kind == "folder",
    )


@pytest.mark.parametrize("theirs", ["file", "link", "folder"])
@pytest.mark.parametrize("ours", ["file", "link", "folder"])
def test_what_has_the_name_stays(name: Naming, ours: str, theirs: str, tmp_path: Path) -> None:
    staged, final = tmp_path / "staged", tmp_path / "final"
    _make(staged, ours)
    _make(final, theirs)
    before = final.lstat()
    with pytest.raises(FileExistsError):
        name(staged, final)
    assert final.lstat() == before
    assert os.path.lexists(staged)


@pytest.mark.parametrize("theirs", ["file", "link", "folder"])
@pytest.mark.parametrize("ours", ["file", "link", "folder"])
def test_what_comes_to_have_the_name_after_our_look_stays(
    ours: str, theirs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, final = tmp_path / "staged", tmp_path / "final"
    _make(staged, ours)
    _make(final, theirs)
    before = final.lstat()
    with monkeypatch.context() as patched:
        patched.setattr(os.path, "lexists", lambda _: False)
        with pytest.raises(FileExistsError):
            restore_places._name(staged, final)
    assert final.lstat() == before
    assert os.path.lexists(staged)


def test_without_links_a_file_still_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    _make(tmp_path / "staged", "file")
    restore_places._name(tmp_path / "staged", tmp_path / "final")
    assert (tmp_path / "final").read_text() == "ours"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_nothing_is_copied_to_another_file_system(name: Naming, kind: str, tmp_path: Path) -> None:
    other = Path("/dev/shm")
    assert other.stat().st_dev != tmp_path.stat().st_dev
    final = other / f"respaldo-{os.getpid()}-{kind}"
    _make(tmp_path / "staged", kind)
    with pytest.raises(OSError, match=r"(?i)cross-device|elsewhere") as refused:
        name(tmp_path / "staged", final)
    assert refused.value.errno == errno.EXDEV
    assert not os.path.lexists(final)
