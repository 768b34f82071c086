"""The regions compared and healed: either way, in order, never beyond what is proven."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from include.respaldo import failpoints
from include.respaldo.errors import Busy, RespaldoError, SomeFailed, VaultUnreachable
from include.respaldo.jobs import check_redundancy as job
from include.respaldo.jobs.acknowledge import acknowledge
from include.respaldo.jobs.check_redundancy import check_redundancy
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.retain import retain
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest
from include.respaldo.model.redundancy import Stage, stage_of
from include.respaldo.ports import StoredObject, Vault
from include.respaldo.vault.memory import MemoryVault
from tests.jobs.old_days import SERVER, OldDays, in_memory, plant, put
from tests.jobs.old_trees import CONFIG, UPLOADS, named, plant_trees, seal_tree, tree_manifest
from tests.jobs.site import Site

TENANT = "acme"
REGIONS = ("primary", "replica")


@dataclass(frozen=True)
class Tomorrow:
    """A clock at which all that is stored now has settled."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(hours=2)


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    made = in_memory(tmp_path)
    made.clock = Tomorrow()
    monkeypatch.setattr(job, "repository_is_whole", lambda *_: False)
    return made


def memory(deployment: Deployment, region: str) -> MemoryVault:
    vault = getattr(deployment.vaults, region)
    assert isinstance(vault, MemoryVault)
    return vault


def other(region: str) -> str:
    return REGIONS[1 - REGIONS.index(region)]


def bytes_of(vault: Vault) -> dict[str, bytes]:
    return {o.key: vault.read(o.key) for o in vault.list("")}


def everything(deployment: Deployment) -> tuple[OldDays, list[Manifest]]:
    """Store what all categories leave within the days that the policy keeps."""
    made = plant(deployment.vaults, SERVER, TENANT, days=6)
    return made, plant_trees(deployment.vaults, days=6)


def test_regions_that_are_alike_are_left_as_they_are(deployment: Deployment) -> None:
    everything(deployment)
    before = bytes_of(memory(deployment, "primary"))
    report = check_redundancy(deployment)
    assert report.ok
    assert report.headline.startswith("both regions hold the same: ")
    assert report.healed == ()
    assert report.survey.objects > 50
    assert bytes_of(memory(deployment, "primary")) == before


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_that_was_lost_is_made_anew_from_the_other(
    deployment: Deployment, region: str
) -> None:
    everything(deployment)
    lost = memory(deployment, region)
    kept = bytes_of(memory(deployment, other(region)))
    lost.delete_all(list(kept))

    said = check_redundancy(deployment, dry_run=True)
    assert bytes_of(lost) == {}
    assert said.ok
    assert "would be healed" in said.headline

    report = check_redundancy(deployment)
    there = bytes_of(lost)
    assert there.items() <= kept.items()
    assert all(k.startswith("coverage/") for k in kept.keys() - there.keys()), "nobody reads those"
    assert f"segments missing in the {region}: " in report.text
    assert f"copied from the {other(region)}" in report.text
    assert check_redundancy(deployment).headline.startswith("both regions hold the same")


def test_what_speaks_of_data_is_copied_after_it(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(deployment)
    replica = memory(deployment, "replica")
    replica.delete_all([o.key for o in replica.list("")])
    copied: list[Stage] = []
    copy_from = replica.copy_from

    def watch(source: Vault, key: str, *, sha256: str) -> None:
        copy_from(source, key, sha256=sha256)
        stage = stage_of(key)
        assert stage is not None
        copied.append(stage)

    monkeypatch.setattr(replica, "copy_from", watch)
    check_redundancy(deployment)
    assert copied == sorted(copied)
    assert set(copied) >= {Stage.REPOSITORY_DATA, Stage.SNAPSHOT, Stage.MANIFEST, Stage.SEGMENT}


def some_keys(made: OldDays, trees: list[Manifest], vault: Vault) -> dict[str, str]:
    """Return one object of each kind whose bytes something vouches for."""
    dump = keys.backup_prefix(made.source, made.backup_id(2)) + "dump.pgc.zst"
    listed = [o.key for o in vault.list("")]
    segments = [k for k in listed if k.endswith(".parquet") and k.startswith("query_log/")]
    return {
        "dump": dump,
        "manifest": keys.manifest_key(made.source, made.backup_id(1)),
        "list of files": keys.backup_prefix(UPLOADS, trees[-1].backup_id) + keys.FILE_LIST,
        "segment": segments[-1],
        "chain": next(k for k in listed if k.endswith("/chain.json")),
        "coverage": [k for k in listed if k.startswith("coverage/")][-1],
        "pack": next(k for k in listed if k.startswith("restic/files/data/")),
        "snapshot": next(k for k in listed if k.startswith("restic/files/snapshots/")),
    }


KINDS = ("dump", "manifest", "list of files", "segment", "chain", "coverage", "pack", "snapshot")


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_object_is_replaced_by_the_whole_one(
    deployment: Deployment, kind: str, region: str
) -> None:
    made, trees = everything(deployment)
    ill, well = memory(deployment, region), memory(deployment, other(region))
    key = some_keys(made, trees, ill)[kind]
    ill.tamper(key)

    said = check_redundancy(deployment, dry_run=True)
    assert [(f.key, f.region, f.missing) for f in said.survey.faults] == [(key, region, False)]
    assert ill.read(key) != well.read(key)

    report = check_redundancy(deployment)
    assert report.ok
    assert ill.read(key) == well.read(key)
    assert [f.key for f in report.healed] == [key]
    assert f"damaged in the {region}" in report.text


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_of_another_size_is_damaged(deployment: Deployment, kind: str) -> None:
    made, trees = everything(deployment)
    key = some_keys(made, trees, deployment.vaults.primary)[kind]
    memory(deployment, "primary").tamper(key, b"short")
    assert check_redundancy(deployment).ok
    assert bytes_of(memory(deployment, "primary")) == bytes_of(memory(deployment, "replica"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_region_has_whole_is_said_and_nothing_is_touched(
    deployment: Deployment, kind: str
) -> None:
    made, trees = everything(deployment)
    key = some_keys(made, trees, deployment.vaults.primary)[kind]
    for number, region in enumerate(REGIONS):
        memory(deployment, region).tamper(key, b"x" * (number + 1))
    before = [bytes_of(memory(deployment, region)) for region in REGIONS]

    report = check_redundancy(deployment)

    assert not report.ok
    assert list(report.failures) == [key]
    assert "**not healed**" in report.text
    assert [bytes_of(memory(deployment, region)) for region in REGIONS] == before
    with pytest.raises(SomeFailed, match="failed to be healed"):
        report.raise_for_failures()


def test_the_only_copy_is_copied_only_if_it_is_what_was_promised(deployment: Deployment) -> None:
    made, trees = everything(deployment)
    chosen = some_keys(made, trees, deployment.vaults.primary)
    for kind in KINDS:
        memory(deployment, "primary").tamper(chosen[kind])
        memory(deployment, "replica").delete(chosen[kind])

    report = check_redundancy(deployment)

    assert set(report.failures) >= set(chosen.values())
    there = bytes_of(memory(deployment, "replica"))
    assert not set(chosen.values()) & there.keys()


def test_a_config_that_differs_is_left_to_people(deployment: Deployment) -> None:
    everything(deployment)
    memory(deployment, "replica").tamper(CONFIG)
    report = check_redundancy(deployment)
    assert "nothing says which one is right" in str(report.failures[CONFIG])
    memory(deployment, "replica").delete(CONFIG)
    assert check_redundancy(deployment).ok
    assert memory(deployment, "replica").read(CONFIG) == b"config"


def test_a_manifest_waits_for_what_it_lists(deployment: Deployment) -> None:
    """Its dump's only copy is damaged: the backup is not listed where nothing of it is."""
    made, _ = everything(deployment)
    prefix = keys.backup_prefix(made.source, made.backup_id(0))
    memory(deployment, "primary").tamper(prefix + "dump.pgc.zst")
    memory(deployment, "replica").delete_all([prefix + "dump.pgc.zst", prefix + keys.MANIFEST])

    report = check_redundancy(deployment)

    assert set(report.failures) == {prefix + "dump.pgc.zst", prefix + keys.MANIFEST}
    assert "what it needs could not be healed" in report.text
    assert deployment.vaults.replica.find(prefix + keys.MANIFEST) is None


def test_a_tree_is_not_sealed_where_its_repository_is_not_whole(deployment: Deployment) -> None:
    _, trees = everything(deployment)
    primary, replica = memory(deployment, "primary"), memory(deployment, "replica")
    pack = named(Category.FILES, "data", f"data of {UPLOADS} 0 days ago".encode())
    snapshot = named(Category.FILES, "snapshots", f"snapshots of {UPLOADS} 0 days ago".encode())
    seal = keys.manifest_key(UPLOADS, trees[-1].backup_id)
    primary.tamper(pack)
    replica.delete_all([pack, snapshot, seal])

    report = check_redundancy(deployment)
    assert set(report.failures) == {pack, snapshot, seal}

    primary.tamper(pack)  # the same bit again
    assert check_redundancy(deployment).ok
    assert bytes_of(primary) == bytes_of(replica)


def test_a_backup_whose_snapshot_no_region_has_is_named(deployment: Deployment) -> None:
    _, trees = everything(deployment)
    snapshot = named(Category.FILES, "snapshots", f"snapshots of {UPLOADS} 3 days ago".encode())
    for region in REGIONS:
        memory(deployment, region).delete(snapshot)
    report = check_redundancy(deployment)
    (key,) = report.failures
    assert key == keys.manifest_key(UPLOADS, trees[-4].backup_id)
    assert "in the repository of neither region" in report.text


def test_a_file_that_a_manifest_names_and_no_region_has_is_named(deployment: Deployment) -> None:
    made, _ = everything(deployment)
    key = keys.backup_prefix(made.source, made.backup_id(2)) + "dump.pgc.zst"
    for region in REGIONS:
        memory(deployment, region).delete(key)
    assert list(check_redundancy(deployment).failures) == [key]


def test_what_is_young_or_not_sealed_yet_is_no_fault(
    deployment: Deployment, tmp_path: Path
) -> None:
    made, _ = everything(deployment)
    primary = deployment.vaults.primary
    replica = memory(deployment, "replica")
    unsealed = keys.backup_prefix(made.source, "20991231T020000.000000Z") + "dump.pgc.zst"
    primary.put(unsealed, b"x", sha256=sha256(b"x").hexdigest())
    report = check_redundancy(deployment)
    assert (report.survey.under_way, report.headline[:12]) == (1, "both regions")
    assert replica.find(unsealed) is None

    class Now:
        def now(self) -> datetime:
            return datetime.now(UTC)

    deployment.clock = Now()
    lacking = [o.key for o in replica.list("")]
    replica.delete_all(lacking)
    report = check_redundancy(deployment)
    assert report.ok
    assert report.healed == ()
    assert report.survey.under_way
    assert "too young" in report.text


def test_what_retention_removed_in_one_region_is_not_copied_back(deployment: Deployment) -> None:
    plant(deployment.vaults, SERVER, TENANT, days=40, broken=9)
    primary, replica = memory(deployment, "primary"), memory(deployment, "replica")
    full = bytes_of(replica)
    retain(deployment)
    kept = bytes_of(primary)
    for key in full.keys() - kept.keys():
        replica.put(key, full[key], sha256=sha256(full[key]).hexdigest())
    trims = [o.key for o in replica.list("query_log/") if keys.parse_trimmed_key(o.key)]
    replica.delete_all(trims)

    report = check_redundancy(deployment)

    assert {f.key for f in report.healed} == set(trims)
    assert report.survey.going == len(full.keys() - kept.keys())
    assert "left to retention" in report.text
    assert bytes_of(primary) == kept
    retain(deployment)
    assert bytes_of(replica) == kept


@pytest.mark.parametrize(
    "answer", [lambda *_: True, lambda *_: (_ for _ in ()).throw(Busy("a backup runs"))]
)
def test_a_repository_that_is_whole_gets_nothing_back_that_was_pruned_there(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., bool]
) -> None:
    everything(deployment)
    monkeypatch.setattr(job, "repository_is_whole", answer)
    pruned = named(Category.FILES, "data", b"pruned")
    memory(deployment, "replica").put(pruned, b"pruned", sha256=sha256(b"pruned").hexdigest())
    report = check_redundancy(deployment)
    assert report.ok
    assert report.survey.going == 1
    assert deployment.vaults.primary.find(pruned) is None


def test_a_lost_snapshot_that_a_manifest_needs_comes_back_whatever_restic_says(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(deployment)
    monkeypatch.setattr(job, "repository_is_whole", lambda *_: True)
    snapshot = named(Category.FILES, "snapshots", f"snapshots of {UPLOADS} 3 days ago".encode())
    memory(deployment, "primary").delete(snapshot)
    assert check_redundancy(deployment).ok
    assert deployment.vaults.primary.find(snapshot) is not None


@pytest.mark.parametrize("region", REGIONS)
def test_while_a_region_does_not_answer_nothing_is_compared(
    deployment: Deployment, region: str
) -> None:
    everything(deployment)
    memory(deployment, region).reachable = False
    with pytest.raises(VaultUnreachable):
        check_redundancy(deployment)


def test_a_region_lost_on_the_way_is_said_and_the_rest_follows_the_next_time(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(deployment)
    replica = memory(deployment, "replica")
    replica.delete_all([o.key for o in replica.list("")])
    copy_from, left = replica.copy_from, 20

    def lose(source: Vault, key: str, *, sha256: str) -> None:
        nonlocal left
        left -= 1
        replica.reachable = left > 0
        copy_from(source, key, sha256=sha256)

    with monkeypatch.context() as patch:
        patch.setattr(replica, "copy_from", lose)
        report = check_redundancy(deployment)
    assert report.healed
    assert all(isinstance(e, VaultUnreachable | RespaldoError) for e in report.failures.values())
    assert any(isinstance(e, VaultUnreachable) for e in report.failures.values())
    replica.reachable = True
    assert not [o for o in replica.list("") if o.key.endswith("/manifest.json")]
    assert check_redundancy(deployment).ok
    assert bytes_of(replica).keys() >= {
        k for k in bytes_of(memory(deployment, "primary")) if not k.startswith("coverage/")
    }


def test_what_vanishes_while_it_is_copied_is_no_failure(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = everything(deployment)
    prefix = keys.backup_prefix(made.source, made.backup_id(0))
    primary, replica = memory(deployment, "primary"), memory(deployment, "replica")
    gone = [prefix + "dump.pgc.zst", prefix + keys.MANIFEST]
    replica.delete_all(gone)
    step = deployment.progress.step

    def remove(message: str) -> None:
        if message.startswith("healing"):
            primary.delete_all(gone)
        step(message)

    monkeypatch.setattr(deployment.progress, "step", remove)
    report = check_redundancy(deployment)
    assert report.ok
    assert report.survey.going == 2


class Killed(BaseException):
    """Nothing may catch it, as nothing survives a kill."""


@pytest.mark.parametrize("failpoint", [failpoints.DAMAGED_REMOVED, failpoints.OBJECT_HEALED])
@pytest.mark.parametrize("region", REGIONS)
def test_stopped_while_it_heals_the_next_check_ends_it(
    deployment: Deployment, region: str, failpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, trees = everything(deployment)
    ill, well = memory(deployment, region), memory(deployment, other(region))
    for key in some_keys(made, trees, ill).values():
        ill.tamper(key)

    def reach(name: str) -> None:
        if name == failpoint:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reach", reach)
        with pytest.raises(Killed):
            check_redundancy(deployment)
    assert bytes_of(ill) != bytes_of(well)
    assert check_redundancy(deployment).ok
    assert bytes_of(ill) == bytes_of(well)


def test_objects_whose_marks_cannot_be_compared_are_compared_by_size_and_counted(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """restic stores in other parts than the copy is made of: the marks differ, the bytes do not."""
    _, trees = everything(deployment)
    replica = memory(deployment, "replica")
    whole = replica.list

    def list_in_parts(prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        for found in whole(prefix, after=after):
            yield replace(found, etag=f"{found.etag}-2")

    monkeypatch.setattr(replica, "list", list_in_parts)
    monkeypatch.setattr(replica, "open", None)  # nothing is downloaded for it
    monkeypatch.setattr(replica, "read", memory(deployment, "primary").read)
    report = check_redundancy(deployment)
    assert report.ok
    assert report.survey.by_size == 3 * len(trees) + 1
    assert report.healed == ()


def test_two_real_regions_are_healed_in_both_directions_from_the_command_line(site: Site) -> None:
    vaults = site.deployment().vaults
    plant(vaults, site.name, TENANT, days=4)
    trees = plant_trees(vaults, days=3)
    with site.config_path.open("a") as config:
        config.write("\nredundancy: {settle: 0s}\n")
    whole = site.objects("primary")
    lost_there = [k for k in site.objects("replica") if "/segments/" in k or "/data/" in k]
    vaults.replica.delete_all(lost_there)
    lost_here = [k for k in whole if k.endswith("/manifest.json")]
    vaults.primary.delete_all(lost_here)
    assert site.damage("primary", "/dump.pgc.zst")
    assert site.damage("replica", "/chain.json")

    said = site.json("check-redundancy", "--dry-run")
    assert said["ok"]
    assert {f["key"] for f in said["would_heal"]} >= {*lost_here, *lost_there}
    assert site.objects("primary") != whole

    done = site.run("check-redundancy")
    assert done.returncode == 0, done.stderr
    assert "were healed" in done.stdout
    assert site.objects("primary") == site.objects("replica") == whole
    vaults.replica.delete_all(site.damage("primary", "/files.parquet"))
    failed = site.run("check-redundancy", "--json")
    assert failed.returncode == 4
    said = json.loads(failed.stdout)
    assert len(said["not_healed"]) == len(trees)
    down = site.run("check-redundancy", down=["replica"])
    assert down.returncode == 5
    assert "replica vault" in down.stderr


def test_a_suspicious_tree_and_its_acknowledgement_are_compared_too(
    deployment: Deployment,
) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    snapshot = named(Category.FILES, "snapshots", b"s").rpartition("/")[2]
    put(deployment.vaults, named(Category.FILES, "snapshots", b"s"), b"s")
    manifest = tree_manifest(at, snapshot, suspicions=("all files vanished",))
    seal_tree(deployment.vaults, manifest)
    key = keys.acknowledged_key(UPLOADS, manifest.backup_id)
    acknowledge(deployment, UPLOADS, manifest.backup_id, by="Ana")
    memory(deployment, "replica").delete(key)
    assert check_redundancy(deployment).ok
    assert deployment.vaults.replica.find(key) is not None
