"""Retention in both regions: what goes, what stays whatever happens, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from include.respaldo.errors import SomeFailed, SourceError, VaultUnreachable
from include.respaldo.jobs import decide_retention as job
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.plan_restore import RestoreRequest
from include.respaldo.jobs.read_catalog import read_catalog
from include.respaldo.jobs.restore_database import restore_database
from include.respaldo.jobs.retain import retain
from include.respaldo.model import keys
from include.respaldo.model.catalog import recovery_window
from include.respaldo.model.retention import Policy
from include.respaldo.model.target import TargetTime
from include.respaldo.ports import Vault
from include.respaldo.vault.memory import MemoryVault
from tests.jobs.old_days import SERVER, OldDays, in_memory, plant, put
from tests.jobs.site import Site

TENANT = "acme"


@dataclass(frozen=True)
class FixedClock:
    """A clock that stands still."""

    at: datetime

    def now(self) -> datetime:
        return self.at


def objects(vault: Vault) -> set[str]:
    return {o.key for o in vault.list("")}


def kept_days(vault: Vault, made: OldDays) -> set[int]:
    """Return of how many days ago backups are sealed and whole there."""
    there = objects(vault)
    found: set[int] = set()
    for days_ago in range(made.days + 1):
        prefix = keys.backup_prefix(made.source, made.backup_id(days_ago))
        names = {key.removeprefix(prefix) for key in there if key.startswith(prefix)}
        assert names in (set(), {"dump.pgc.zst", "manifest.json"})
        if names:
            found.add(days_ago)
    return found


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return in_memory(tmp_path)


def test_what_the_policy_keeps_stays_in_both_regions_and_the_rest_goes(site: Site) -> None:
    deployment = site.deployment()
    primary, replica = deployment.vaults.primary, deployment.vaults.replica
    made = plant(deployment.vaults, site.name, TENANT, broken=16)
    before = recovery_window(read_catalog(deployment, made.source))
    report = retain(deployment)

    days = kept_days(primary, made)
    assert set(range(8)) <= days, "7 days, and the backup that the window begins with"
    assert 8 < len(days) < 13, "weeks and months"
    assert objects(primary) == objects(replica)
    catalog = read_catalog(deployment, made.source)
    assert not catalog.notes
    (chain,) = catalog.chains
    assert chain.trim is not None
    assert not chain.missing
    assert chain.until == before.intervals[-1].end
    assert chain.segments[0].first_commit_at == made.midnight(7)
    begins = recovery_window(catalog).intervals[-1].start
    assert begins == made.midnight(7) + timedelta(minutes=1)
    coverage = [k for k in objects(primary) if k.startswith("coverage/")]
    assert len(coverage) == 2
    assert report.coverage == 3
    assert report.freed > 0
    assert "older than the recovery window of 7 days needs" in report.text

    left = objects(primary)
    again = retain(deployment)
    assert again.headline.startswith("nothing was removed")
    assert objects(primary) == left


def test_a_dry_run_says_what_would_go_and_changes_nothing(site: Site) -> None:
    vaults = site.deployment().vaults
    made = plant(vaults, site.name, TENANT, days=12, broken=11)
    before = objects(vaults.primary), objects(vaults.replica)

    said = site.json("retain", "--dry-run", TENANT)

    assert (objects(vaults.primary), objects(vaults.replica)) == before
    (source,) = said["sources"]
    verdicts = {b["backup_id"]: b for b in source["backups"]}
    assert "the newest" in verdicts[made.backup_id(0)]["reason"]
    assert "daily of" in verdicts[made.backup_id(3)]["reason"]
    needed = verdicts[made.backup_id(7)]
    assert needed["stays"]
    assert "the recovery window of 7 days needs it" in needed["reason"]
    gone = [b for b in source["backups"] if not b["stays"]]
    assert gone
    assert all("no longer among the 7 daily, 4 weekly and 3 monthly" in b["reason"] for b in gone)
    assert [log["goes_whole"] for log in source["query_logs"]] == [True, False]
    assert said["freed"] == source["freed"] > 0


def test_a_dry_run_in_words_says_what_stays_and_why(deployment: Deployment) -> None:
    made = plant(deployment.vaults, SERVER, TENANT)
    text = retain(deployment, dry_run=True).text
    assert "would remove" in text
    assert f"stays {made.backup_id(0)}" in text
    assert f"goes  {made.backup_id(made.days)}" in text
    with pytest.raises(SourceError, match="no backup of: nobody"):
        retain(deployment, ["nobody"], dry_run=True)


def test_a_replica_that_does_not_answer_is_left_for_the_next_time(site: Site) -> None:
    deployment = site.deployment()
    primary, replica = deployment.vaults.primary, deployment.vaults.replica
    made = plant(deployment.vaults, site.name, TENANT)
    full = objects(replica)

    report = retain(site.deployment(down=["replica"]))

    assert any("replica vault does not answer" in note for note in report.notes)
    assert objects(replica) == full
    done = kept_days(primary, made)
    assert len(done) < 20
    # the log is read as the primary holds it, though the replica lists more
    (chain,) = read_catalog(deployment, made.source).chains
    assert not chain.missing

    assert not retain(deployment).notes
    assert kept_days(primary, made) == kept_days(replica, made) == done
    assert objects(replica) == objects(primary)


def test_a_replica_lost_on_the_way_is_left_for_the_next_time(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(deployment.vaults, SERVER, TENANT, "other")
    primary, replica = deployment.vaults.primary, deployment.vaults.replica
    assert isinstance(replica, MemoryVault)
    delete_all = replica.delete_all

    def lose(doomed: Iterable[str]) -> None:
        replica.reachable = False
        delete_all(doomed)

    with monkeypatch.context() as patch:
        patch.setattr(replica, "delete_all", lose)
        report = retain(deployment)
    assert len(report.plans) == 2
    assert len([n for n in report.notes if "does not answer" in n]) == 1
    replica.reachable = True
    retain(deployment)
    assert objects(replica) == objects(primary)


def test_while_the_primary_does_not_answer_nothing_goes_anywhere(deployment: Deployment) -> None:
    plant(deployment.vaults, SERVER, TENANT)
    before = objects(deployment.vaults.replica)
    assert isinstance(deployment.vaults.primary, MemoryVault)
    deployment.vaults.primary.reachable = False
    with pytest.raises(VaultUnreachable):
        retain(deployment)
    assert objects(deployment.vaults.replica) == before


def test_nothing_goes_of_a_source_whose_backups_cannot_all_be_read(deployment: Deployment) -> None:
    primary = deployment.vaults.primary
    made = plant(deployment.vaults, SERVER, TENANT, "other")
    other = replace(made, source=replace(made.source, name="other"))
    before = {k for k in objects(primary) if f"/{TENANT}/" in k}
    for vault in (primary, deployment.vaults.replica):
        assert isinstance(vault, MemoryVault)
        vault.tamper(keys.manifest_key(made.source, made.backup_id(5)))

    with pytest.raises(SomeFailed, match=f"{TENANT}: not all that exists") as caught:
        retain(deployment)

    assert list(caught.value.failures) == [f"{SERVER}/{TENANT}"]
    assert {k for k in objects(primary) if f"/{TENANT}/" in k} == before
    assert len(kept_days(primary, other)) < 20


@pytest.mark.parametrize("region", ["primary", "replica"])
def test_nothing_goes_while_the_newest_backup_is_not_whole_in_both_regions(
    deployment: Deployment, region: str
) -> None:
    made = plant(deployment.vaults, SERVER, TENANT)
    vault = getattr(deployment.vaults, region)
    vault.delete(keys.backup_prefix(made.source, made.backup_id(0)) + "dump.pgc.zst")
    before = {k for k in objects(vault) if not k.startswith("coverage/")}

    with pytest.raises(SomeFailed, match=f"is not whole in the {region} vault"):
        retain(deployment)
    assert {k for k in objects(vault) if not k.startswith("coverage/")} == before
    held_back = retain(deployment, dry_run=True).held_back
    assert list(held_back) == [f"{SERVER}/{TENANT}"]


def test_nothing_goes_while_a_backup_that_stays_is_whole_in_no_region(
    deployment: Deployment,
) -> None:
    made = plant(deployment.vaults, SERVER, TENANT)
    dump = keys.backup_prefix(made.source, made.backup_id(7)) + "dump.pgc.zst"
    deployment.vaults.primary.delete(dump)
    assert retain(deployment, dry_run=True).plans[0].removes_anything, "the replica has it"
    deployment.vaults.replica.delete(dump)
    (why,) = retain(deployment, dry_run=True).held_back.values()
    assert f"its full backup {made.backup_id(7)} is not whole" in why


def test_a_source_that_is_backed_up_no_more_keeps_its_last_window(deployment: Deployment) -> None:
    made = plant(deployment.vaults, SERVER, TENANT)
    retain(deployment)
    left = objects(deployment.vaults.primary)
    deployment.clock = FixedClock(made.last + timedelta(days=900))
    retain(deployment)
    assert objects(deployment.vaults.primary) == left


def test_what_was_half_deleted_and_forgotten_is_cleaned_up(deployment: Deployment) -> None:
    made = plant(deployment.vaults, SERVER, TENANT, days=1)
    left = keys.backup_prefix(made.source, "20200101T000000.000000Z") + "dump.pgc.zst"
    put(deployment.vaults, left, b"x")
    report = retain(deployment)
    assert left not in objects(deployment.vaults.primary)
    assert any("cleaned up" in note for note in report.notes)


def test_archiving_goes_on_and_every_moment_of_the_window_restores_after_retention(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window of moments: seconds stand for days."""
    tenant = site.tenant()
    site.archive()  # begins the chain and takes a full backup
    for _ in range(2):
        site.insert(tenant, 2)
        site.archive()
    site.backup(tenant)
    site.insert(tenant, 2)
    begins, wanted = site.now(), site.order_ids(tenant)
    site.insert(tenant, 2)
    site.archive()
    before = site.catalog(tenant)
    (chain,) = before.chains
    assert chain.until is not None
    window = chain.until - begins
    monkeypatch.setattr(job, "policy_of", lambda *_: Policy(1, 0, 0, window=window))

    report = retain(site.deployment(), [tenant])

    (plan,) = report.plans
    assert [b.backup_id for b in plan.removed] == [before.backups[0].backup_id]
    assert plan.segments == 2
    after = site.catalog(tenant)
    (kept,) = after.chains
    assert (kept.until, kept.head) == (chain.until, chain.head)
    restore_database(
        site.deployment(),
        RestoreRequest(
            site.source(tenant), TargetTime(begins), f"{tenant}_then", site.name, "test"
        ),
    )
    assert site.order_ids(f"{tenant}_then") == wanted
    # the archiver takes the trimmed chain for what it is; a region that is made anew gets all of it
    vaults = site.deployment().vaults
    vaults.replica.delete_all(list(site.objects("replica")))
    site.insert(tenant, 2)
    site.archive()
    (grown,) = site.catalog(tenant).chains
    assert grown.head > kept.head
    (copied,) = site.catalog(tenant, down=["primary"]).chains
    assert copied.path == grown.path
    assert copied.start == kept.start
