"""Retention of trees: manifests, then snapshots, then packs, and the replica behind the primary."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from include.respaldo import failpoints
from include.respaldo.errors import SomeFailed, VaultUnreachable
from include.respaldo.jobs.acknowledge import acknowledge
from include.respaldo.jobs.check_redundancy import check_redundancy
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.retain import retain
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source
from include.respaldo.ports import Vault
from include.respaldo.vault.memory import MemoryVault
from tests.jobs.old_days import DAY, in_memory, put
from tests.jobs.old_repository import OldRepository
from tests.jobs.old_trees import UPLOADS, midnight, named, plant_trees

ERP = Source(Category.APPLICATIONS, "web1", "erp")
STEPS = (
    failpoints.BACKUPS_UNSEALED,
    failpoints.BACKUPS_REMOVED,
    failpoints.RETAINED_IN_PRIMARY,
    failpoints.SNAPSHOTS_FORGOTTEN,
    failpoints.REPOSITORY_PRUNED,
    failpoints.REPOSITORY_CHECKED,
    failpoints.REPOSITORY_COPIED,
    failpoints.REPLICA_SNAPSHOTS_REMOVED,
    failpoints.REPLICA_INDEX_REMOVED,
    failpoints.REPLICA_PRUNED,
)


@dataclass(frozen=True)
class FixedClock:
    """A clock that stands still."""

    at: datetime

    def now(self) -> datetime:
        return self.at


@dataclass
class Trees:
    """A deployment in memory whose repositories behave as restic's."""

    deployment: Deployment
    repositories: dict[Category, OldRepository]

    def plant(
        self, source: Source = UPLOADS, days: int = 40, suspicious: tuple[int, ...] = ()
    ) -> list[Manifest]:
        made = plant_trees(self.vaults, days=days, source=source, suspicious=suspicious)
        moments = {m.tree.snapshot: m.started_at for m in made if m.tree is not None}
        if source.category in self.repositories:
            self.repositories[source.category].moments |= moments
        else:
            self.repositories[source.category] = OldRepository(
                self.vaults.primary, source.category, moments
            )
        return made

    @property
    def vaults(self):  # type: ignore[no-untyped-def]
        return self.deployment.vaults

    def memory(self, region: str) -> MemoryVault:
        vault = getattr(self.deployment.vaults, region)
        assert isinstance(vault, MemoryVault)
        return vault


@pytest.fixture
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trees:
    made = Trees(in_memory(tmp_path), {})
    monkeypatch.setattr(made.deployment, "repository", lambda category: made.repositories[category])
    return made


def objects(vault: Vault) -> set[str]:
    return {o.key for o in vault.list("")}


def sealed(vault: Vault, source: Source = UPLOADS) -> list[str]:
    found = (o.key for o in vault.list(keys.backups_prefix(source)))
    return [key.split("/")[4] for key in found if key.endswith("/manifest.json")]


def assert_all_that_is_sealed_is_whole(vault: Vault, category: Category = Category.FILES) -> None:
    """A repository as the vault holds it alone has each sealed backup's snapshot, and its packs."""
    manifests = [
        Manifest.from_bytes(vault.read(o.key))
        for o in vault.list(keys.category_prefix(category))
        if o.key.endswith("/manifest.json")
    ]
    assert manifests
    there = objects(vault)
    moments = {}
    for manifest in manifests:
        assert manifest.tree is not None
        moments[manifest.tree.snapshot] = manifest.started_at
        prefix = keys.repository_prefix(category)
        assert f"{prefix}snapshots/{manifest.tree.snapshot}" in there
        assert keys.backup_prefix(manifest.source, manifest.backup_id) + keys.FILE_LIST in there
    OldRepository(vault, category, moments).check()


def test_the_calendar_stays_and_the_rest_goes_with_its_snapshots_and_packs(trees: Trees) -> None:
    made = trees.plant()
    report = retain(trees.deployment)

    left = sealed(trees.vaults.primary)
    assert {m.backup_id for m in made[-7:]} <= set(left), "seven days"
    assert 7 < len(left) <= 7 + 4 + 3, "weeks and months"
    assert objects(trees.vaults.primary) == objects(trees.vaults.replica)
    for vault in (trees.vaults.primary, trees.vaults.replica):
        assert_all_that_is_sealed_is_whole(vault)
        for part in ("data", "snapshots"):
            assert len(list(vault.list(f"restic/files/{part}/"))) == len(left)
    (tended,) = report.repositories
    assert tended.forgotten == len(made) - len(left)
    assert tended.freed > 0
    assert tended.removed_in_replica
    assert not tended.note
    assert "snapshots forgotten" in report.text
    assert "full backups" not in report.text
    again = retain(trees.deployment)
    assert not again.repositories[0].says_something


def test_of_an_application_the_latest_few_stay_whatever_their_age(trees: Trees) -> None:
    made = trees.plant(ERP)
    trees.deployment.clock = FixedClock(made[-1].started_at + timedelta(days=900))
    retain(trees.deployment)
    assert sealed(trees.vaults.replica, ERP) == [m.backup_id for m in made[-5:]]
    assert_all_that_is_sealed_is_whole(trees.vaults.replica, Category.APPLICATIONS)


def test_sources_of_one_repository_and_one_run_go_each_by_itself(trees: Trees) -> None:
    """Backups of one night have one id; that of the other source stays."""
    other = Source(Category.FILES, "web1", "invoices")
    trees.plant(days=20)
    trees.plant(other, days=1)
    retain(trees.deployment)
    assert len(sealed(trees.vaults.primary, other)) == 2
    assert_all_that_is_sealed_is_whole(trees.vaults.primary)
    assert_all_that_is_sealed_is_whole(trees.vaults.replica)


def test_a_dry_run_says_what_would_go_and_changes_nothing(trees: Trees) -> None:
    trees.plant()
    before = objects(trees.vaults.primary), objects(trees.vaults.replica)
    report = retain(trees.deployment, dry_run=True)
    assert (objects(trees.vaults.primary), objects(trees.vaults.replica)) == before
    (plan,) = report.plans
    assert report.repositories[0].forgotten == len(plan.removed) > 0
    assert "forget" not in trees.repositories[Category.FILES].done


def test_a_snapshot_without_a_manifest_goes_after_two_days(trees: Trees) -> None:
    made = trees.plant(days=3)
    old = {}
    for days_ago in (0, 1, 3):
        name = f"abandoned {days_ago}".encode()
        for kind in ("data", "index", "snapshots"):
            data = kind.encode() + b" of " + name
            put(trees.vaults, named(Category.FILES, kind, data), data)
        snapshot = named(Category.FILES, "snapshots", b"snapshots of " + name).rpartition("/")[2]
        old[days_ago] = snapshot
        trees.repositories[Category.FILES].moments[snapshot] = midnight(days_ago)
    trees.deployment.clock = FixedClock(made[-1].started_at + timedelta(hours=5))
    report = retain(trees.deployment)
    assert report.repositories[0].forgotten == 1
    left = {o.key.rpartition("/")[2] for o in trees.vaults.replica.list("restic/files/snapshots/")}
    assert old[3] not in left
    assert {old[0], old[1]} <= left


def test_while_a_backup_writes_to_the_repository_it_is_left_for_the_next_day(trees: Trees) -> None:
    trees.plant()
    repository = trees.repositories[Category.FILES]
    repository.busy = True
    packs = {k for k in objects(trees.vaults.primary) if k.startswith("restic/")}
    report = retain(trees.deployment)
    assert "in use, what is left goes the next time" in report.text
    assert {k for k in objects(trees.vaults.replica) if k.startswith("restic/")} == packs
    repository.busy = False
    trees.deployment.clock = FixedClock(trees.deployment.clock.now() + 2 * DAY)
    report = retain(trees.deployment)
    assert report.repositories[0].forgotten
    assert_all_that_is_sealed_is_whole(trees.vaults.replica)
    assert len(list(trees.vaults.replica.list("restic/files/data/"))) == len(
        sealed(trees.vaults.replica)
    )


def test_a_replica_that_does_not_answer_is_left_for_the_next_time(trees: Trees) -> None:
    trees.plant()
    full = objects(trees.vaults.replica)
    trees.memory("replica").reachable = False
    report = retain(trees.deployment)
    assert any("replica vault does not answer" in note for note in report.notes)
    assert "what goes in the replica goes when it answers again" in report.text
    trees.memory("replica").reachable = True
    assert objects(trees.vaults.replica) == full
    assert_all_that_is_sealed_is_whole(trees.vaults.primary)

    # between the two, nothing that retention has removed is copied back
    class Later:
        def now(self) -> datetime:
            return midnight(0) + timedelta(days=4)

    kept, clock = objects(trees.vaults.primary), trees.deployment.clock
    trees.deployment.clock = Later()
    assert check_redundancy(trees.deployment).ok
    assert objects(trees.vaults.primary) == kept

    trees.deployment.clock = clock
    retain(trees.deployment)
    assert objects(trees.vaults.replica) == objects(trees.vaults.primary) == kept


def test_while_the_primary_does_not_answer_nothing_goes(trees: Trees) -> None:
    trees.plant()
    before = objects(trees.vaults.replica)
    trees.memory("primary").reachable = False
    with pytest.raises(VaultUnreachable):
        retain(trees.deployment)
    assert objects(trees.vaults.replica) == before


def test_the_replica_loses_nothing_while_the_primary_s_repository_is_damaged(trees: Trees) -> None:
    trees.plant()
    pack = next(o.key for o in trees.vaults.primary.list("restic/files/data/"))
    newest = named(Category.FILES, "data", f"data of {UPLOADS} 0 days ago".encode())
    assert pack
    trees.memory("primary").tamper(newest)
    before = {k for k in objects(trees.vaults.replica) if k.startswith("restic/")}
    with pytest.raises(SomeFailed, match="the repository of files"):
        retain(trees.deployment)
    assert {k for k in objects(trees.vaults.replica) if k.startswith("restic/")} == before


@pytest.mark.parametrize("region", ["primary", "replica"])
def test_nothing_goes_while_the_newest_backup_s_snapshot_is_missing_in_a_region(
    trees: Trees, region: str
) -> None:
    made = trees.plant()
    tree = made[-1].tree
    assert tree is not None
    trees.memory(region).delete(f"restic/files/snapshots/{tree.snapshot}")
    before = objects(trees.vaults.primary)
    with pytest.raises(SomeFailed, match=f"is not whole in the {region} vault"):
        retain(trees.deployment)
    assert objects(trees.vaults.primary) == before


def test_nothing_is_forgotten_while_a_sealed_backup_has_lost_its_snapshot(trees: Trees) -> None:
    made = trees.plant(days=5)
    tree = made[2].tree
    assert tree is not None
    trees.memory("primary").delete(f"restic/files/snapshots/{tree.snapshot}")
    with pytest.raises(SomeFailed, match="have no snapshot in the primary's repository"):
        retain(trees.deployment)
    assert "prune" not in trees.repositories[Category.FILES].done


def test_nothing_is_forgotten_while_a_manifest_cannot_be_read(trees: Trees) -> None:
    made = trees.plant()
    for region in ("primary", "replica"):
        trees.memory(region).tamper(keys.manifest_key(UPLOADS, made[-2].backup_id))
    before = objects(trees.vaults.primary)
    with pytest.raises(SomeFailed, match="no snapshot is forgotten while"):
        retain(trees.deployment)
    assert objects(trees.vaults.primary) == before


def test_nothing_from_before_a_suspicious_backup_goes_until_it_is_acknowledged(
    trees: Trees,
) -> None:
    made = trees.plant(suspicious=(20,))
    report = retain(trees.deployment)
    left = sealed(trees.vaults.primary)
    suspicious = made[-21]
    assert set(left) >= {m.backup_id for m in made[:-20]}
    assert report.plans[0].removed, "of those that came later"
    assert f"nothing from before {suspicious.backup_id} goes" in report.text

    acknowledge(trees.deployment, UPLOADS, suspicious.backup_id, by="Ana")
    report = retain(trees.deployment)
    assert len(sealed(trees.vaults.replica)) <= 14
    assert "suspicious" not in report.text
    assert objects(trees.vaults.primary) == objects(trees.vaults.replica)
    assert_all_that_is_sealed_is_whole(trees.vaults.replica)


class Killed(BaseException):
    """Nothing may catch it, as nothing survives a kill."""


@pytest.mark.parametrize("failpoint", STEPS)
def test_stopped_at_a_step_what_is_listed_is_whole_and_the_next_run_ends_it(
    trees: Trees, failpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.plant()
    expected = {v.backup.backup_id for v in retain(trees.deployment, dry_run=True).plans[0].kept}

    def reach(name: str) -> None:
        if name == failpoint:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reach", reach)
        with pytest.raises(Killed):
            retain(trees.deployment)
    for vault in (trees.vaults.primary, trees.vaults.replica):
        assert_all_that_is_sealed_is_whole(vault)

    retain(trees.deployment)
    assert set(sealed(trees.vaults.primary)) == expected
    assert objects(trees.vaults.primary) == objects(trees.vaults.replica)
    assert_all_that_is_sealed_is_whole(trees.vaults.replica)
    assert len(list(trees.vaults.replica.list("restic/files/data/"))) == len(expected)
    assert len(list(trees.vaults.replica.list("restic/files/index/"))) == 1


def test_no_repository_is_configured_and_the_databases_go_on(
    trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    trees.plant()
    with pytest.raises(SomeFailed, match="nothing opens the repository"):
        retain(trees.deployment)
    assert len(sealed(trees.vaults.primary)) <= 14
