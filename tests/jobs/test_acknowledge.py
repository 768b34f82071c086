"""A suspicious backup is seen, holds retention back, and lets it go on once somebody has looked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from include.respaldo.cli.main import parser
from include.respaldo.errors import ConfigurationError, SourceError, VaultUnreachable
from include.respaldo.jobs.acknowledge import acknowledge, suspicious_backups, tree_source
from include.respaldo.jobs.check import check
from include.respaldo.jobs.check_redundancy import check_redundancy
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.model import keys
from include.respaldo.model.acknowledgement import Acknowledgement
from include.respaldo.model.backup import Category, Manifest, Source
from include.respaldo.vault.memory import MemoryVault
from tests.jobs.old_days import in_memory
from tests.jobs.old_trees import UPLOADS, plant_trees


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return in_memory(tmp_path)


@pytest.fixture
def trees(deployment: Deployment) -> list[Manifest]:
    """Backups of ten days, oldest first; that of three days ago is suspicious."""
    return plant_trees(deployment.vaults, days=10, suspicious=[3])


def memory(deployment: Deployment, region: str) -> MemoryVault:
    vault = getattr(deployment.vaults, region)
    assert isinstance(vault, MemoryVault)
    return vault


def test_it_is_stored_beside_the_backup_in_both_regions(
    deployment: Deployment, trees: list[Manifest]
) -> None:
    suspicious = trees[-4]
    done = acknowledge(deployment, UPLOADS, suspicious.backup_id, by=" Ana ", note="moved the shop")
    assert (done.acknowledgement.by, done.already, done.note) == ("Ana", False, "")
    assert "by Ana (moved the shop); retention goes on" in done.text
    key = keys.acknowledged_key(UPLOADS, suspicious.backup_id)
    for region in ("primary", "replica"):
        found = Acknowledgement.from_bytes(memory(deployment, region).read(key))
        assert found == done.acknowledgement
        assert abs(found.at - deployment.clock.now()) < timedelta(minutes=5)


def test_done_twice_the_first_stays(deployment: Deployment, trees: list[Manifest]) -> None:
    first = acknowledge(deployment, UPLOADS, trees[-4].backup_id, by="Ana")
    again = acknowledge(deployment, UPLOADS, trees[-4].backup_id, by="Luis", note="me too")
    assert again.already
    assert again.acknowledgement == first.acknowledgement
    assert "already acknowledged" in again.text


def test_a_suspicious_backup_is_seen_until_somebody_has_looked(
    deployment: Deployment, trees: list[Manifest]
) -> None:
    (found,) = suspicious_backups(deployment)
    assert found == trees[-4]
    (finding,) = [f for f in check(deployment) if "suspicious" in f.text]
    assert not finding.ok
    assert "30 of 40 files were modified" in finding.text
    assert f"acknowledge files/local/uploads {found.backup_id} --by" in finding.hint

    acknowledge(deployment, UPLOADS, found.backup_id, by="Ana")
    assert suspicious_backups(deployment) == ()
    assert not [f for f in check(deployment) if "suspicious" in f.text]


def test_what_is_not_suspicious_or_not_there_is_refused(
    deployment: Deployment, trees: list[Manifest]
) -> None:
    with pytest.raises(SourceError, match="nothing is suspicious"):
        acknowledge(deployment, UPLOADS, trees[-1].backup_id, by="Ana")
    for wrong in ("20200101T000000.000000Z", "yesterday"):
        with pytest.raises(SourceError, match="has no backup"):
            acknowledge(deployment, UPLOADS, wrong, by="Ana")
    with pytest.raises(ConfigurationError, match="nobody is named"):
        acknowledge(deployment, UPLOADS, trees[-4].backup_id, by="  ")


def test_a_replica_that_does_not_answer_gets_it_by_the_check(
    deployment: Deployment, trees: list[Manifest]
) -> None:
    replica = memory(deployment, "replica")
    replica.reachable = False
    done = acknowledge(deployment, UPLOADS, trees[-4].backup_id, by="Ana")
    assert "the replica vault gets it" in done.note
    assert suspicious_backups(deployment) == ()
    replica.reachable = True
    key = keys.acknowledged_key(UPLOADS, trees[-4].backup_id)
    assert replica.find(key) is None
    deployment.config = deployment.config.model_copy(
        update={"redundancy": deployment.config.redundancy.model_copy(
            update={"settle": timedelta(0)}
        )}
    )  # fmt: skip
    assert check_redundancy(deployment).ok
    assert replica.find(key) is not None


def test_the_replica_s_acknowledgement_counts_where_the_primary_s_was_lost(
    deployment: Deployment, trees: list[Manifest]
) -> None:
    first = acknowledge(deployment, UPLOADS, trees[-4].backup_id, by="Ana")
    memory(deployment, "primary").delete(keys.acknowledged_key(UPLOADS, trees[-4].backup_id))
    assert suspicious_backups(deployment) == ()
    again = acknowledge(deployment, UPLOADS, trees[-4].backup_id, by="Luis")
    assert again.acknowledgement == first.acknowledgement
    memory(deployment, "primary").reachable = False
    deployment.vaults = type(deployment.vaults)(
        deployment.vaults.primary, deployment.vaults.replica
    )
    with pytest.raises(VaultUnreachable):
        acknowledge(deployment, UPLOADS, trees[-4].backup_id, by="Luis")


def test_a_damaged_acknowledgement_counts_as_none(
    deployment: Deployment, trees: list[Manifest]
) -> None:
    acknowledge(deployment, UPLOADS, trees[-4].backup_id, by="Ana")
    for region in ("primary", "replica"):
        memory(deployment, region).tamper(keys.acknowledged_key(UPLOADS, trees[-4].backup_id))
    assert suspicious_backups(deployment) == (trees[-4],)


def test_a_source_is_found_by_what_people_call_it(deployment: Deployment) -> None:
    erp = Source(Category.APPLICATIONS, "local", "uploads")
    for source in (UPLOADS, erp):
        plant_trees(deployment.vaults, days=0, source=source)
    assert tree_source(deployment.vaults, "applications/local/uploads") == erp
    with pytest.raises(SourceError, match="more than one") as caught:
        tree_source(deployment.vaults, "uploads")
    assert "files/local/uploads" in caught.value.hint
    with pytest.raises(SourceError, match="no application, files"):
        tree_source(deployment.vaults, "nobody")


def test_the_command_line_knows_it() -> None:
    said = parser().parse_args(["acknowledge", "uploads", "20261122T020000.000000Z", "--by", "Ana"])
    assert (said.source, said.by, said.note) == ("uploads", "Ana", "")
