"""Files brought back: by path and by pattern, of a day, beside the original or to a folder."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.respaldo import failpoints
from include.respaldo.errors import CorruptObject, RestoreRefused
from include.respaldo.filetree.verification import differences
from include.respaldo.jobs import restore_files as job
from include.respaldo.jobs.find_files import find
from include.respaldo.jobs.stored_trees import end_of_day
from include.respaldo.model.backup import Source
from include.respaldo.model.tree_restore_plan import (
    Destination,
    Place,
    TreeRestored,
    TreeRestorePlan,
    TreeRestoreRequest,
)
from tests.jobs.site import REGIONS, Site
from tests.jobs.trees import UPLOADS, Trees


@pytest.fixture
def trees(site: Site) -> Trees:
    """Invoices of two months, backed up."""
    made = Trees(site)
    for month, names in {"10": ["a.pdf", "b.txt"], "11": ["a.pdf", "c.PDF", "d [1].pdf"]}.items():
        folder = made.uploads / "2026" / month
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(f"{month}/{name}\n" * 100)
    (made.uploads / "invoice.pdf").write_text("the one that matters")
    (made.uploads / "invoice.pdf").chmod(0o640)
    os.chown(made.uploads / "invoice.pdf", 1234, 5678)
    os.utime(made.uploads / "invoice.pdf", ns=(1, 1_700_000_000_123_456_789))
    return made


@pytest.fixture
def run(trees: Trees) -> str:
    return trees.back_up()


def ask(
    *paths: str, folder: Path | None = None, source: Source = UPLOADS, **more: Any
) -> TreeRestoreRequest:
    to = Destination(Place.FOLDER, str(folder)) if folder else Destination()
    return TreeRestoreRequest(source, paths, destination=to, **more)


def bring(site: Site, request: TreeRestoreRequest, down: Sequence[str] = ()) -> TreeRestored:
    """Plan, hand the plan over as tasks do, restore."""
    planned = job.plan(site.deployment(down), request)
    handed = TreeRestorePlan.from_json(planned.to_json())
    assert handed == planned
    restored = job.restore(site.deployment(down), handed)
    assert TreeRestored.from_json(restored.to_json()) == restored
    return restored


def tops(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def day(planned: TreeRestorePlan) -> str:
    return planned.suffix.removeprefix("restored_")


def test_a_file_comes_back_beside_the_original_as_it_was(
    site: Site, trees: Trees, run: str
) -> None:
    (trees.uploads / "invoice.pdf").write_text("spoiled")
    before = tops(trees.uploads)
    planned = job.plan(site.deployment(), ask("/invoice.pdf", reason="ticket 4711"))
    assert tops(trees.uploads) == before
    assert (planned.contents.files, planned.contents.size, planned.region) == (1, 20, "primary")
    for said in ("invoice.pdf of local/uploads", "1 file, 20 B", run, "ticket 4711", "free"):
        assert said in planned.text
    restored = job.restore(site.deployment(), planned)
    name = f"invoice.restored_{day(planned)}.pdf"
    assert restored.places == (str(trees.uploads / name),)
    assert tops(trees.uploads) == before | {name}
    found = trees.uploads / name
    status = found.stat()
    assert found.read_text() == "the one that matters"
    assert (trees.uploads / "invoice.pdf").read_text() == "spoiled"
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, 1234, 5678)
    assert status.st_mtime_ns == 1_700_000_000_123_456_789
    assert "every file compared" in restored.text
    assert not [name for name in tops(site.folder) if name.startswith(".respaldo")]


def test_a_name_that_is_taken_gets_a_time_too_and_nothing_is_overwritten(
    site: Site, trees: Trees, run: str
) -> None:
    names = [Path(bring(site, ask("invoice.pdf")).places[0]).name for _ in range(4)]
    assert len(set(names)) == 4
    assert [len(name) for name in names] == sorted(len(name) for name in names)
    assert names[1].startswith(names[0].removesuffix(".pdf") + "_")
    assert all((trees.uploads / n).read_text() == "the one that matters" for n in names)


def test_a_folder_comes_back_with_all_that_it_holds(site: Site, trees: Trees, run: str) -> None:
    shutil.rmtree(trees.uploads / "2026")
    restored = bring(site, ask("2026/11/"))
    (place,) = restored.places
    assert place == str(trees.uploads / "2026" / f"11.{restored.plan.suffix}")
    assert tops(Path(place)) == {"a.pdf", "c.PDF", "d [1].pdf"}
    assert restored.plan.contents.text.startswith("3 files in 1 folder")


def test_everything_comes_back_where_it_was_if_nothing_is_there_and_else_beside(
    site: Site, trees: Trees, run: str
) -> None:
    odd = trees.uploads / os.fsdecode(b"no \xff utf-8\nand a line")
    odd.write_bytes(b"odd")
    os.link(odd, trees.uploads / "hard")
    (trees.uploads / "link").symlink_to(os.fsdecode(b"\xfe"))
    run = trees.back_up()
    shutil.rmtree(trees.uploads)
    assert bring(site, ask()).places == (str(trees.uploads),)
    assert differences(trees.entries(run).values(), trees.uploads) == []
    restored = bring(site, ask("/"))
    (place,) = restored.places
    assert place == f"{trees.uploads}.{restored.plan.suffix}"
    assert differences(trees.entries(run).values(), Path(place)) == []
    assert tops(site.folder) >= {Path(place).name}


def test_patterns_and_paths_may_be_mixed(site: Site, trees: Trees, run: str) -> None:
    restored = bring(site, ask("/2026/1*/a.pdf", "2026/11/d [1].pdf", f"{trees.uploads}/*.pdf"))
    names = ("2026/10/a", "2026/11/a", "2026/11/d [1]", "invoice")
    expected = {f"{trees.uploads}/{n}.{restored.plan.suffix}.pdf" for n in names}
    assert set(restored.places) == expected
    assert all(Path(place).is_file() for place in expected)


def test_a_name_that_is_no_text_can_be_asked_for_as_it_is_shown(
    site: Site, trees: Trees, tmp_path: Path
) -> None:
    name = os.fsdecode(b"no \xff utf-8\n.txt")
    (trees.uploads / name).write_text("odd")
    trees.back_up()
    restored = bring(site, ask(r"no \xff utf-8\n.txt", folder=tmp_path / "down"))
    assert (tmp_path / "down" / name).read_text() == "odd"
    assert r"no \xff utf-8\n.txt" in restored.text
    restored.text.encode()


def test_a_download_has_its_own_name_and_several_are_one_folder(
    site: Site, trees: Trees, run: str, tmp_path: Path
) -> None:
    down = tmp_path / "down"
    assert bring(site, ask("2026/11/a.pdf", folder=down)).places == (f"{down}/a.pdf",)
    again = bring(site, ask("2026/11/a.pdf", folder=down))
    assert again.places == (f"{down}/a.{again.plan.suffix}.pdf",)
    several = bring(site, ask("*.pdf", folder=down))
    top = down / f"uploads.{several.plan.suffix}"
    assert set(several.places) == {
        f"{top}/{name}.pdf" for name in ("invoice", "2026/10/a", "2026/11/a", "2026/11/d [1]")
    }
    assert (top / "2026/10/a.pdf").read_text() == "10/a.pdf\n" * 100
    assert not (top / "2026/10/b.txt").exists()
    whole = bring(site, ask(folder=down))
    assert differences(trees.entries(run).values(), Path(whole.places[0])) == []
    with pytest.raises(RestoreRefused, match="no absolute path"):
        job.plan(site.deployment(), ask(folder=Path("somewhere")))


def test_as_of_a_day_the_last_backup_begun_by_its_end_is_taken(
    site: Site, trees: Trees, run: str
) -> None:
    (trees.uploads / "invoice.pdf").write_text("of later")
    later = trees.back_up()
    deployment = site.deployment()
    zone = deployment.config.zone
    today = trees.manifest(run).started_at.astimezone(zone).date()
    planned = job.plan(deployment, ask("invoice.pdf", before=end_of_day(deployment, str(today))))
    assert planned.request.backup_id == later
    assert bring(site, ask("invoice.pdf", backup_id=run)).plan.request.backup_id == run
    before = end_of_day(deployment, str(today - timedelta(days=1)))
    with pytest.raises(RestoreRefused, match="no backup of files/local/uploads") as refused:
        job.plan(deployment, ask(before=before))
    assert run in refused.value.hint
    with pytest.raises(RestoreRefused, match="has no backup") as refused:
        job.plan(deployment, ask(backup_id="20200101T000000.000000Z"))
    assert run in refused.value.hint
    assert later in refused.value.hint


def test_a_path_that_is_not_there_names_those_that_may_be_meant_and_the_days_it_exists_in(
    site: Site, trees: Trees, run: str
) -> None:
    (trees.uploads / "2026/10/b.txt").unlink()
    trees.back_up()
    with pytest.raises(RestoreRefused, match="is not in the backup") as refused:
        job.plan(site.deployment(), ask("2026/10/b.txt"))
    assert "it is in the backups of 20" in refused.value.hint
    with pytest.raises(RestoreRefused) as refused:
        job.plan(site.deployment(), ask("invoce.pdf"))
    assert "did you mean invoice.pdf" in refused.value.hint
    with pytest.raises(RestoreRefused, match="cannot be read"):
        job.plan(site.deployment(), ask("[z-a]*"))


def test_too_small_a_disk_is_refused_before_anything_is_done(
    site: Site, trees: Trees, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tops(trees.uploads)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10, total=20))
    with pytest.raises(RestoreRefused, match=r"not enough space at .*10 B free"):
        job.plan(site.deployment(), ask())
    assert tops(trees.uploads) == before


def test_what_the_backup_could_not_read_is_marked_and_is_refused_alone(
    site: Site, trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.respaldo.jobs import bring_tree
    from include.respaldo.model.file_tree import Problem, ReadProblem

    problem = ReadProblem("2026/10/lost.pdf", Problem.UNREADABLE, "Permission denied")
    with monkeypatch.context() as patched:
        patched.setattr(bring_tree, "_with_version", lambda *_: bring_tree.Brought((problem,)))
        trees.back_up()
    planned = job.plan(site.deployment(), ask("2026/10"))
    assert planned.contents.missing == 1
    assert any("partial" in mark for mark in planned.marks)
    assert tops(Path(bring(site, ask("2026/10")).places[0])) == {"a.pdf", "b.txt"}
    with pytest.raises(RestoreRefused, match="could not be read on that day"):
        job.plan(site.deployment(), ask("2026/10/lost.pdf"))


def test_with_the_primary_down_the_replica_is_used_and_the_report_says_so(
    site: Site, trees: Trees, run: str
) -> None:
    restored = bring(site, ask("invoice.pdf"), down=["primary"])
    assert restored.region == restored.plan.region == "replica"
    assert Path(restored.places[0]).read_text() == "the one that matters"
    assert "replica" in restored.text
    assert not [key for key in site.objects("replica") if "/locks/" in key]


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_that_stops_after_the_plan_costs_nothing(
    site: Site, trees: Trees, run: str, region: str
) -> None:
    planned = job.plan(site.deployment(), ask("invoice.pdf"))
    restored = job.restore(site.deployment([region]), planned)
    assert restored.region == ("replica" if region == "primary" else "primary")
    assert Path(restored.places[0]).read_text() == "the one that matters"


def test_with_the_primarys_repository_damaged_the_replicas_is_used(
    site: Site, trees: Trees, run: str
) -> None:
    for key in trees.repository_objects("primary"):
        if "/data/" in key:
            site.damage("primary", key)
    restored = bring(site, ask("invoice.pdf", "2026"))
    assert restored.region == "replica"
    assert Path(restored.places[0]).exists()
    assert "the replica region was used" in restored.text


def test_damaged_in_both_regions_nothing_has_a_final_name(
    site: Site, trees: Trees, run: str
) -> None:
    planned = job.plan(site.deployment(), ask("invoice.pdf"))
    before = tops(trees.uploads), tops(site.folder)
    for region in ("primary", "replica"):
        for key in trees.repository_objects(region):
            if "/data/" in key:
                site.damage(region, key)
    shutil.rmtree(site.folder / "scratch" / "restic")
    with pytest.raises(CorruptObject):
        job.restore(site.deployment(), planned)
    assert (tops(trees.uploads), tops(site.folder)) == before


def test_the_same_plan_again_compares_and_goes_on_and_never_takes_what_is_not_its_own(
    site: Site, trees: Trees, run: str
) -> None:
    planned = job.plan(site.deployment(), ask("*.pdf"))
    first = job.restore(site.deployment(), planned)
    Path(first.places[0]).unlink()
    again = job.restore(site.deployment(), planned)
    assert all(Path(place).is_file() for place in again.places)
    before = tops(trees.uploads)
    assert "restored before" in job.restore(site.deployment(), planned).text
    assert tops(trees.uploads) == before
    Path(first.places[0]).write_text("somebody's own")
    with pytest.raises(RestoreRefused, match="something else"):
        job.restore(site.deployment(), planned)
    assert Path(first.places[0]).read_text() == "somebody's own"


def test_files_are_found_by_a_part_of_their_name_in_all_days(
    site: Site, trees: Trees, run: str
) -> None:
    (trees.uploads / "2026/10/b.txt").unlink()
    (trees.uploads / "Invoice 2.pdf").write_text("2")
    later = trees.back_up()
    found = find(site.deployment(), UPLOADS, "INVOICE")
    assert {path.path: path.backups for path in found.paths} == {
        "Invoice 2.pdf": (later,),
        "invoice.pdf": (run, later),
    }
    assert [p.backups for p in find(site.deployment(), UPLOADS, "10/b").paths] == [(run,)]
    assert "2 days" in found.text or "2 backups" in found.text
    assert find(site.deployment(), UPLOADS, "nowhere").paths == ()


@pytest.mark.parametrize("failpoint", [failpoints.TREE_BROUGHT, failpoints.TREE_NAMED])
def test_killed_on_its_way_nothing_is_half_made_and_the_same_restore_goes_on(
    site: Site, trees: Trees, run: str, failpoint: str
) -> None:
    command = ("restore-files", "uploads", "2026/10", "2026/11", "--beside")
    done = site.run(*command, failpoint=failpoint)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = {path.name: len(list(path.iterdir())) for path in trees.uploads.glob("2026/*.restored*")}
    assert list(left.values()) == ([2] if failpoint == failpoints.TREE_NAMED else [])
    restored = site.json(*command)["plan"]
    assert [len(list(Path(i["to"]).iterdir())) for i in restored["items"]] == [2, 3]
    assert not list(site.folder.glob(".respaldo-*"))


def test_the_command_line_plans_restores_and_finds(
    site: Site, trees: Trees, run: str, tmp_path: Path
) -> None:
    command = ("restore-files", "local/uploads", "invoice.pdf", "--to", str(tmp_path / "down"))
    planned = site.json(*command, "--dry-run", "--backup", run)
    assert planned["contents"]["files"] == 1
    assert not (tmp_path / "down").exists()
    done = site.run(*command, "--reason", "ticket 4711")
    assert (done.returncode, (tmp_path / "down/invoice.pdf").exists()) == (0, True), done.stderr
    assert "**invoice.pdf of local/uploads is back**" in done.stdout
    refused = site.json("restore-files", "uploads", "--day", "2020-01-01", "--beside", code=3)
    assert run in refused["hint"]
    assert site.json("find-files", "files/local/uploads", "voice")["paths"] == [
        {"path": "invoice.pdf", "backups": [run]}
    ]
    assert site.run("find-files", "uploads", "nowhere").returncode == 1
    assert "there are: files/local/uploads" in site.run("find-files", "nobody", "x").stderr
