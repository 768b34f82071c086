"""Retention in both regions: what goes, what stays whatever happens, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from include.respaldo.errors import SomeFailed, SourceError, VaultUnreachable
from include.respaldo.jobs import retain as job
from include.respaldo.jobs.plan_restore import RestoreRequest
from include.respaldo.jobs.restore_database import restore_database
from include.respaldo.jobs.retain import retain
from include.respaldo.model import keys
from include.respaldo.model.catalog import recovery_window
from include.respaldo.model.retention import Policy
from include.respaldo.model.target import TargetTime
from tests.jobs.old_days import OldDays, plant, put
from tests.jobs.site import Site

TENANT = "acme"


def kept_days(site: Site, made: OldDays, region: str = "primary") -> set[int]:
    """Return of how many days ago backups are sealed and whole there."""
    objects = site.objects(region)
    found: set[int] = set()
    for days_ago in range(made.days + 1):
        prefix = keys.backup_prefix(made.source, made.backup_id(days_ago))
        names = {key.removeprefix(prefix) for key in objects if key.startswith(prefix)}
        assert names in (set(), {"dump.pgc.zst", "manifest.json"})
        if names:
            found.add(days_ago)
    return found


def test_what_the_policy_keeps_stays_in_both_regions_and_the_rest_goes(site: Site) -> None:
    made = plant(site, TENANT, broken=16)
    before = recovery_window(site.catalog(TENANT))
    report = retain(site.deployment())

    days = kept_days(site, made)
    assert set(range(8)) <= days, "7 days, and the backup that the window begins with"
    assert 8 < len(days) < 13, "weeks and months"
    assert site.objects("primary") == site.objects("replica")
    catalog = site.catalog(TENANT)
    assert not catalog.notes
    (chain,) = catalog.chains
    assert chain.trim is not None
    assert not chain.missing
    assert chain.until == before.intervals[-1].end
    assert chain.segments[0].first_commit_at == made.midnight(7)
    begins = recovery_window(catalog).intervals[-1].start
    assert begins == made.midnight(7) + timedelta(minutes=1)
    coverage = [k for k in site.objects("primary") if k.startswith("coverage/")]
    assert len(coverage) == 2
    assert report.coverage == 3
    assert report.freed > 0
    assert "removed" in report.headline
    assert "within the recovery window of 7 days" not in report.text
    assert "older than the recovery window of 7 days needs" in report.text

    objects = site.objects("primary")
    again = retain(site.deployment())
    assert again.headline.startswith("nothing was removed")
    assert site.objects("primary") == objects


def test_a_dry_run_says_what_would_go_and_changes_nothing(site: Site) -> None:
    made = plant(site, TENANT, days=12, broken=11)
    before = site.objects("primary"), site.objects("replica")

    said = site.json("retain", "--dry-run", TENANT)

    assert (site.objects("primary"), site.objects("replica")) == before
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
    text = retain(site.deployment(), dry_run=True).text
    assert "would remove" in text
    assert f"stays {made.backup_id(0)}" in text
    with pytest.raises(SourceError, match="no backup of: nobody"):
        retain(site.deployment(), ["nobody"], dry_run=True)


def test_a_replica_that_does_not_answer_is_left_for_the_next_time(site: Site) -> None:
    made = plant(site, TENANT)
    full = site.objects("replica")

    report = retain(site.deployment(down=["replica"]))

    assert any("replica vault does not answer" in note for note in report.notes)
    assert site.objects("replica") == full
    done = kept_days(site, made)
    assert len(done) < 20
    # the log is read as the primary holds it, though the replica lists more
    (chain,) = site.catalog(TENANT).chains
    assert not chain.missing

    assert not retain(site.deployment()).notes
    assert kept_days(site, made) == kept_days(site, made, "replica") == done
    assert site.objects("replica") == site.objects("primary")


def test_while_the_primary_does_not_answer_nothing_goes_anywhere(site: Site) -> None:
    plant(site, TENANT, days=10)
    before = site.objects("replica")
    with pytest.raises(VaultUnreachable):
        retain(site.deployment(down=["primary"]))
    assert site.objects("replica") == before


def test_nothing_goes_of_a_source_whose_backups_cannot_all_be_read(site: Site) -> None:
    made = plant(site, TENANT, "other", days=10)
    other = replace(made, source=site.source("other"))
    before = {k for k in site.objects("primary") if f"/{TENANT}/" in k}
    for region in ("primary", "replica"):
        site.damage(region, f"{TENANT}/{made.backup_id(5)}/manifest.json")

    with pytest.raises(SomeFailed, match=f"{TENANT}: not all that exists") as caught:
        retain(site.deployment())

    assert list(caught.value.failures) == [f"{site.name}/{TENANT}"]
    assert {k for k in site.objects("primary") if f"/{TENANT}/" in k} == before
    assert len(kept_days(site, other)) < 11


@pytest.mark.parametrize("region", ["primary", "replica"])
def test_nothing_goes_while_the_newest_backup_is_not_whole_in_both_regions(
    site: Site, region: str
) -> None:
    made = plant(site, TENANT, days=10)
    deployment = site.deployment()
    vault = getattr(deployment.vaults, region)
    vault.delete(keys.backup_prefix(made.source, made.backup_id(0)) + "dump.pgc.zst")
    before = site.objects(region)

    with pytest.raises(SomeFailed, match=f"is not whole in the {region} vault"):
        retain(deployment)
    assert {k for k in site.objects(region) if k.startswith("backups/")} == {
        k for k in before if k.startswith("backups/")
    }
    held_back = retain(site.deployment(), dry_run=True).held_back
    assert list(held_back) == [f"{site.name}/{TENANT}"]


def test_what_was_half_deleted_and_forgotten_is_cleaned_up(site: Site) -> None:
    made = plant(site, TENANT, days=1)
    left = keys.backup_prefix(made.source, "20200101T000000.000000Z") + "dump.pgc.zst"
    put(site.deployment().vaults, left, b"x")
    report = retain(site.deployment())
    assert left not in site.objects("primary")
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
    monkeypatch.setattr(job, "policy_of", lambda config: Policy(1, 0, 0, window=window))

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
