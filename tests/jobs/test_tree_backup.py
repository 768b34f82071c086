"""Backups of trees: listed, stored, sealed last, mirrored object by object."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from include.respaldo.errors import CorruptObject, RespaldoError, SomeFailed, VaultUnreachable
from include.respaldo.jobs import backup_steps as steps
from include.respaldo.jobs import bring_tree, tree_steps
from include.respaldo.jobs import take_backup as job
from include.respaldo.jobs.acknowledge import acknowledge
from include.respaldo.jobs.check_redundancy import check_redundancy
from include.respaldo.model.backup import Category
from include.respaldo.model.file_tree import Problem, ReadProblem
from tests.jobs.site import REGIONS, Site
from tests.jobs.trees import UPLOADS, Trees, landed


@pytest.fixture
def trees(site: Site) -> Trees:
    made = Trees(site)
    made.fill()
    return made


def only_failure(failed: pytest.ExceptionInfo[SomeFailed]) -> BaseException:
    assert set(failed.value.failures) == {str(UPLOADS)}
    return failed.value.failures[str(UPLOADS)]


def test_a_tree_is_sealed_in_both_regions_and_comes_back_from_either_as_it_was(
    site: Site, trees: Trees
) -> None:
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
    tree = trees.tree(run)
    assert (tree.files, tree.folders, tree.links, tree.others) == (13, 4, 1, 1)
    assert tree.problem_counts == {}
    assert not list(landed(site))


def test_the_next_day_says_what_changed_and_stores_only_that(site: Site, trees: Trees) -> None:
    (trees.uploads / "big").write_bytes(os.urandom(2_000_000))
    first = trees.back_up()
    (trees.uploads / "folder 0/0.txt").write_text("other")
    (trees.uploads / "folder 1/1.txt").unlink()
    (trees.uploads / "new").write_text("new")
    second = trees.back_up()
    changes = trees.tree(second).changes
    assert changes.since == first
    assert (changes.added, changes.modified, changes.removed, changes.unchanged) == (1, 1, 1, 9)
    assert trees.tree(first).stored > 2_000_000
    assert trees.tree(second).stored < 20_000
    assert trees.restored(first) == trees.restored(second) == []
    told = job.report(site.deployment(), trees.plan(run=second))
    assert "1 added, 1 modified, 1 removed" in told
    assert "the first one" in job.report(site.deployment(), trees.plan(run=first))


def test_the_same_run_again_does_nothing(site: Site, trees: Trees) -> None:
    run = trees.back_up()
    before = {region: site.objects(region) for region in REGIONS}
    (trees.uploads / "later").write_text("not of this run")
    trees.back_up(run=run)
    assert {region: site.objects(region) for region in REGIONS} == before


def test_with_the_replica_down_it_is_sealed_in_the_primary_and_the_next_run_catches_up(
    site: Site, trees: Trees
) -> None:
    with pytest.raises(SomeFailed) as failed:
        trees.back_up(down=["replica"])
    assert isinstance(only_failure(failed), VaultUnreachable)
    assert site.sealed("primary") == {"uploads"}
    assert site.objects("replica") == {}
    (trees.uploads / "new").write_text("new")
    trees.back_up()
    for region in REGIONS:
        assert len([k for k in site.objects(region) if k.endswith("/manifest.json")]) == 2
        assert len(trees.snapshots(region)) == 2
    unlocked = {k for k in site.objects("primary") if "/locks/" not in k}
    assert site.objects("replica").keys() == unlocked


def test_a_lost_primary_gets_no_second_repository_beside_the_replicas(
    site: Site, trees: Trees
) -> None:
    trees.configure(redundancy={"settle": "0s"})
    trees.back_up()
    primary = site.deployment().vaults.primary
    primary.delete_all([o.key for o in primary.list("restic/")])
    with pytest.raises(SomeFailed, match="geo-redundancy check"):
        trees.back_up()
    trees.configure(redundancy={"settle": "0s"})
    check_redundancy(site.deployment())
    trees.back_up()
    assert len(trees.snapshots("primary")) == len(trees.snapshots("replica")) >= 2


def test_with_the_primary_down_it_fails_by_name_and_a_retry_can_help(
    site: Site, trees: Trees
) -> None:
    with pytest.raises(SomeFailed) as failed:
        trees.back_up(down=["primary"])
    assert isinstance(only_failure(failed), VaultUnreachable)
    assert failed.value.retry_can_help
    assert site.objects("replica") == {}
    trees.back_up()
    assert site.sealed("replica") == {"uploads"}


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("number", range(4), ids=["dump", "checksum", "upload", "copy"])
def test_a_region_that_stops_at_a_step_costs_a_retry_and_nothing_else(
    site: Site, trees: Trees, number: int, region: str
) -> None:
    (batch,) = trees.plan()
    for step in steps.STEPS[:number]:
        step(site.deployment(), batch)
    with pytest.raises(SomeFailed) as failed:
        job.take_backup(site.deployment([region]), [batch])
    assert isinstance(only_failure(failed), VaultUnreachable)
    assert failed.value.retry_can_help
    for other in REGIONS:
        if site.sealed(other):
            assert trees.restored(batch.backup_id, region=other) == []
    job.take_backup(site.deployment(), [batch])
    assert site.sealed("primary") == site.sealed("replica") == {"uploads"}
    shutil.rmtree(site.folder / f"restored-replica-{batch.backup_id}", ignore_errors=True)
    assert trees.restored(batch.backup_id, region="replica") == []


@pytest.mark.parametrize("after", ["", "dump", "checksum"])
def test_a_source_that_goes_away_fails_by_name_and_seals_nothing(
    site: Site, trees: Trees, after: str
) -> None:
    (batch,) = trees.plan()
    for step in steps.STEPS:
        if step.__name__ != after:
            continue
        for earlier in steps.STEPS[: steps.STEPS.index(step) + 1]:
            earlier(site.deployment(), batch)
    away = trees.uploads.rename(trees.uploads.with_name("away"))
    with pytest.raises(SomeFailed) as failed:
        job.take_backup(site.deployment(), [batch])
    error = only_failure(failed)
    assert isinstance(error, RespaldoError)
    assert str(trees.uploads) in error.message
    assert site.sealed("primary") == set()
    away.rename(trees.uploads)
    job.take_backup(site.deployment(), [batch])
    assert trees.restored(batch.backup_id) == []


def test_what_changes_between_the_list_and_the_snapshot_is_listed_as_it_was_stored(
    site: Site, trees: Trees
) -> None:
    (batch,) = trees.plan()
    for step in (steps.dump, steps.checksum):
        step(site.deployment(), batch)
    (trees.uploads / "folder 0/0.txt").write_text("changed since")
    (trees.uploads / "folder 0/3.txt").unlink()
    (trees.uploads / "folder 1/1.txt").chmod(0o4711)
    (trees.uploads / "came").write_text("since")
    (trees.uploads / "sub").mkdir()
    job.take_backup(site.deployment(), [batch])
    assert trees.restored(batch.backup_id) == []
    entries = trees.entries(batch.backup_id)
    problems = {path: entry.problem for path, entry in entries.items() if entry.problem}
    assert problems == {
        "folder 0/0.txt": Problem.CHANGED,
        "folder 0/3.txt": Problem.VANISHED,
        "folder 1/1.txt": Problem.CHANGED,
        "came": Problem.CHANGED,
    }
    tree = trees.tree(batch.backup_id)
    assert not tree.is_partial
    assert tree.problem_counts == {Problem.CHANGED: 3, Problem.VANISHED: 1}
    assert (trees.last_restored / "folder 0/0.txt").read_text() == "changed since"


def test_a_snapshot_that_lacks_a_listed_file_and_holds_another_is_listed_as_it_is(
    site: Site, trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where restic is refused a file that the list could read."""
    (batch,) = trees.plan()
    for step in (steps.dump, steps.checksum):
        step(site.deployment(), batch)
    store = tree_steps._store

    def other_tree(*arguments: object) -> object:
        hidden = trees.uploads / "folder 0/0.txt"
        kept = hidden.stat()
        aside = hidden.rename(site.folder / "aside")
        extra = trees.uploads / "folder 1/extra"
        extra.write_text("extra")
        try:
            return store(*arguments)  # type: ignore[arg-type]
        finally:
            aside.rename(hidden)
            extra.unlink()
            assert hidden.stat().st_mtime_ns == kept.st_mtime_ns

    monkeypatch.setattr(tree_steps, "_store", other_tree)
    job.take_backup(site.deployment(), [batch])
    assert trees.restored(batch.backup_id) == []
    entries = trees.entries(batch.backup_id)
    assert entries["folder 0/0.txt"].problem is Problem.UNREADABLE
    assert entries["folder 1/extra"].problem is Problem.CHANGED
    assert trees.tree(batch.backup_id).is_partial


def test_what_cannot_be_read_is_named_and_the_backup_is_partial(
    site: Site, trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = (
        ReadProblem("secret/key", Problem.UNREADABLE, "Permission denied"),
        ReadProblem("folder 0", Problem.UNREADABLE, "Permission denied"),
        ReadProblem("gone", Problem.VANISHED, "gone"),
    )
    monkeypatch.setattr(
        tree_steps, "bring_tree", lambda *_: bring_tree.Brought(problems, no_version="it is shy")
    )
    run = trees.back_up()
    tree = trees.tree(run)
    assert tree.is_partial
    assert tree.problem_counts == {Problem.UNREADABLE: 2, Problem.VANISHED: 1}
    assert ("secret/key", "Permission denied") in tree.problems
    told = job.report(site.deployment(), trees.plan(run=run))
    assert "local/uploads is partial**: 2 entries could not be read: folder 0, gone" in told
    assert "its version is not known: it is shy" in told
    assert "partial" in site.run("catalog", "uploads").stdout


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_tampered_repository_is_found_before_anything_is_sealed_upon_it(
    site: Site, trees: Trees, damage: str
) -> None:
    first = trees.back_up()
    packs = [key for key in site.objects("primary") if "/data/" in key]
    if damage == "changed":
        site.damage("primary", packs[0])
    else:
        site.deployment().vaults.primary.delete_all(packs)
    (trees.uploads / "new").write_text("new")
    with pytest.raises(SomeFailed) as failed:
        trees.back_up()
    error = only_failure(failed)
    assert isinstance(error, CorruptObject)
    assert "geo-redundancy check" in error.hint
    for region in REGIONS:
        assert len([k for k in site.objects(region) if k.endswith("/manifest.json")]) == 1
    assert len(trees.snapshots("replica")) == 1

    trees.configure(redundancy={"settle": "0s"})
    check_redundancy(site.deployment())
    third = trees.back_up()
    assert trees.restored(first) == trees.restored(third) == []


def test_packs_that_a_prune_has_replaced_are_no_damage(site: Site, trees: Trees) -> None:
    trees.back_up()
    for number in range(4):
        (trees.uploads / f"more {number}").write_bytes(os.urandom(100_000))
    trees.back_up()
    repository = site.deployment().repository(Category.FILES)
    repository.forget([repository.snapshots()[0].id])
    repository.prune()
    (trees.uploads / "new").write_text("new")
    assert trees.restored(trees.back_up()) == []


def test_an_unusual_change_is_kept_and_called_out_until_somebody_has_looked(
    site: Site, trees: Trees
) -> None:
    trees.back_up()
    for path in sorted(trees.uploads.rglob("*.txt"))[:6]:
        path.unlink()
    run = trees.back_up()
    batches = trees.plan(run=run)
    assert trees.tree(run).suspicions == ("6 of 10 files vanished",)
    told = job.report(site.deployment(), batches)
    assert "SUSPICIOUS local/uploads: 6 of 10 files vanished" in told
    assert f"`acknowledge files/local/uploads {run} --by NAME`" in told
    assert "SUSPICIOUS" in site.run("catalog", "uploads").stdout
    (alarm,) = job.alarms(site.deployment(), batches)
    assert alarm.backup_id == run
    acknowledge(site.deployment(), UPLOADS, run, by="Ana")
    assert job.alarms(site.deployment(), batches) == ()
    assert "SUSPICIOUS" not in job.report(site.deployment(), batches)


def test_a_damaged_list_of_yesterday_is_no_comparison_and_that_is_suspicious(
    site: Site, trees: Trees
) -> None:
    trees.back_up()
    for region in REGIONS:
        site.damage(region, "files.parquet")
    run = trees.back_up()
    assert "nothing was compared" in trees.tree(run).suspicions[0]
    later = trees.back_up()
    assert trees.tree(later).changes.since == run
    assert trees.tree(later).suspicions == ()


def test_a_full_landing_zone_is_said_and_the_next_run_goes_on(site: Site, trees: Trees) -> None:
    landing = site.folder / "landing"
    landing.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(landing)], check=False
    )
    if mount.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (landing / "ballast").write_bytes(b"x" * 24_000)
        trees.fill(3_000)
        with pytest.raises(SomeFailed) as failed:
            trees.back_up()
        error = only_failure(failed)
        assert isinstance(error, RespaldoError)
        assert "disk is full" in error.message
    finally:
        subprocess.run(["umount", str(landing)], check=True)
    assert site.sealed("primary") == set()
    assert trees.restored(trees.back_up()) == []


def test_only_what_the_patterns_take_is_listed_and_stored(
    site: Site, trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {"name": "uploads", "path": str(trees.uploads)}
    trees.configure(files=[{**tree, "include": ["*.txt"], "exclude": ["/folder 1"]}])
    (trees.uploads / "note.md").write_text("not taken")
    run = trees.back_up()
    assert trees.restored(run) == []
    paths = set(trees.entries(run))
    taken = {f"folder {n % 3}/{n}.txt" for n in range(10) if n % 3 != 1}
    assert {path for path in paths if "." in path} == taken
    assert not (trees.last_restored / "note.md").exists()
    assert "folder 1" not in paths

    # the next day, stopped before its seal: its snapshot is taken, and nothing was read again
    (trees.uploads / "new.txt").write_text("new")
    (batch,) = trees.plan()
    made = []

    def store(*arguments: Any) -> Any:
        made.append(stored(*arguments))
        return made[-1]

    stored = tree_steps._store
    with monkeypatch.context() as patch:
        patch.setattr(tree_steps, "_store", store)
        patch.setattr(tree_steps, "prove_repository", lambda *_: 1 / 0)
        with pytest.raises(SomeFailed):
            job.take_backup(site.deployment(), [batch])
    ((snapshot, how),) = made
    assert how.unchanged == len(taken)
    job.take_backup(site.deployment(), [batch])
    assert trees.tree(batch.backup_id).snapshot == snapshot
    assert len(trees.snapshots()) == 2
    assert trees.restored(batch.backup_id) == []


def test_two_sources_share_a_repository_and_one_that_is_broken_fails_alone(
    site: Site, trees: Trees
) -> None:
    other = site.folder / "other"
    shutil.copytree(trees.uploads, other)
    trees.configure(
        files=[
            {"name": "uploads", "path": str(trees.uploads)},
            {"name": "other", "path": str(other)},
            {"name": "missing", "path": str(site.folder / "missing")},
        ]
    )
    with pytest.raises(SomeFailed) as failed:
        trees.back_up()
    assert set(failed.value.failures) == {"local/missing"}
    assert site.sealed("replica") == {"uploads", "other"}
    assert len(trees.snapshots("replica")) == 2


def test_two_workers_that_come_first_at_the_same_time_make_one_repository(
    site: Site, trees: Trees
) -> None:
    other = site.folder / "other"
    shutil.copytree(trees.uploads, other)
    sources = {"uploads": str(trees.uploads), "other": str(other)}
    trees.configure(files=[{"name": name, "path": path} for name, path in sources.items()])
    workers = [site.spawn("backup", "--category", "files", name) for name in sources]
    for worker in workers:
        _, said = worker.communicate(timeout=120)
        assert worker.returncode == 0, said
    keys_of = [k for k in trees.repository_objects("primary") if "/keys/" in k]
    assert len(keys_of) == 1
    assert site.sealed("replica") == set(sources)
    site.deployment().repository(Category.FILES, "replica").check()


def test_the_command_line_backs_up_lists_and_shows_the_days_of_a_tree(
    site: Site, trees: Trees
) -> None:
    assert "files/local/uploads" in site.run("discover").stdout
    taken = site.json("backup", "--category", "files")
    assert taken["sources"] == ["local/uploads"]
    assert site.json("catalog") == ["files/local/uploads"]
    (backup,) = site.json("catalog", "local/uploads")["backups"]
    assert (backup["backup_id"], backup["files"]) == (taken["backup_id"], 10)
    (point,) = site.json("window", "files/local/uploads")["points"]
    assert point["backup_id"] == taken["backup_id"]
    assert not point["partial"]
    assert "can be restored as it was at" in site.run("window", "uploads").stdout
    missing = site.json("backup", "--category", "files", "nothing", code=1)
    assert missing["hint"] == "known: local/uploads"
    unset = site.json("backup", "--category", "applications", code=2)
    assert "add the section applications" in unset["hint"]


def test_a_name_that_a_database_and_a_tree_share_has_to_be_spelled_out(
    site: Site, trees: Trees
) -> None:
    tenant = site.tenant()
    trees.configure(files=[{"name": tenant, "path": str(trees.uploads)}])
    told = site.json("window", tenant, code=1)
    assert told["hint"] == (
        f"say which: files/local/{tenant}, tenant_databases/{site.name}/{tenant}"
    )
    assert site.json("window", f"files/local/{tenant}")["points"] == []
    assert site.json("window", f"tenant_databases/{site.name}/{tenant}")["intervals"] == []


def fill_application(path: Path) -> None:
    (path / "bin").mkdir(parents=True)
    (path / "bin/erp").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "erp  7.1"\n')
    (path / "bin/erp").chmod(0o755)
    (path / "VERSION").write_text("\n 7.0 \nsecond line\n")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ({"file": "VERSION"}, "7.0"),
        ({"command": ["bin/erp", "--version"]}, "erp  7.1"),
        ({"git": True}, None),
        ({"file": "nothing"}, ""),
        ({"command": ["sleep", "30"]}, ""),
    ],
)
def test_an_application_is_kept_with_the_version_that_it_announces(
    site: Site,
    trees: Trees,
    version: dict[str, object],
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("include.respaldo.jobs.application_version._PATIENCE", 2.0)
    path = site.folder / "erp"
    fill_application(path)
    if expected is None:
        git = ["git", "-C", str(path), "-c", "user.name=a", "-c", "user.email=a@b"]
        for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
            subprocess.run([*git, *arguments], check=True)
        done = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
        )
        expected = done.stdout.strip()
    trees.configure(applications=[{"name": "erp", "path": str(path), "version": version}])
    batches = trees.plan(category=Category.APPLICATIONS)
    told = job.take_backup(site.deployment(), batches)
    (source,) = batches[0].sources
    assert trees.tree(batches[0].backup_id, source).version == expected
    if not expected:
        assert "its version is not known" in told
        return
    if "file" in version:
        (path / "VERSION").write_text("8.0")
        told = job.take_backup(site.deployment(), trees.plan(category=Category.APPLICATIONS))
        assert "version 8.0 (was 7.0); 0 added, 1 modified, 0 removed" in told
