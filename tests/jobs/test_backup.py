"""Full backups: each tenant by itself, sealed last, in both regions."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from embedded.postgres import free_port
from include.respaldo.errors import CorruptObject, SomeFailed, VaultUnreachable
from include.respaldo.jobs import backup_steps as steps
from include.respaldo.jobs import database_steps, landed_backup
from include.respaldo.jobs import take_backup as job
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.model.backup import Category, backup_id
from include.respaldo.model.batches import Batch
from tests.jobs.site import REGIONS, Site


def planned(deployment: Deployment, *only: str) -> tuple[Batch, ...]:
    run = backup_id(deployment.clock.now())
    return job.plan_batches(deployment, Category.TENANT_DATABASES, run, only)


def landed(site: Site, batch: Batch, tenant: str) -> Path:
    return (
        landed_backup.landing_folder(site.deployment(), site.source(tenant), batch.backup_id)
        / database_steps.DUMP
    )


def damage_catalog(site: Site, tenant: str) -> None:
    site.postgres.execute("update pg_class set relam = 1 where oid = 'orders'::regclass", tenant)


def repair_catalog(site: Site, tenant: str) -> None:
    site.postgres.execute(
        "update pg_class set relam = (select oid from pg_am where amname = 'heap')"
        " where oid = 'orders'::regclass",
        tenant,
    )


def test_one_broken_tenant_fails_alone_and_by_name(site: Site) -> None:
    names = {site.tenant("acme"), site.tenant("zeta")}
    broken = site.tenant("broken")
    damage_catalog(site, broken)
    deployment = site.deployment()
    with pytest.raises(SomeFailed) as failed:
        job.take_backup(deployment, planned(deployment))
    assert set(failed.value.failures) == {f"{site.name}/{broken}"}
    told = site.json("backup", broken, code=4)
    assert set(told["failures"]) == {f"{site.name}/{broken}"}
    assert "others are done" in told["hint"]
    for region in REGIONS:
        assert site.sealed(region) == {*names, "globals"}
        assert not [key for key in site.objects(region) if f"/{broken}/" in key]


def test_a_retry_does_only_what_is_missing(site: Site) -> None:
    good, broken = site.tenant("acme"), site.tenant("broken")
    damage_catalog(site, broken)
    deployment = site.deployment()
    batches = planned(deployment)
    with pytest.raises(SomeFailed):
        job.take_backup(deployment, batches)
    before = site.objects("primary")
    repair_catalog(site, broken)

    (batch,) = (b for b in batches if site.source(good) in b.sources)
    report = job.dump(site.deployment(), batch)
    assert report.done == (str(site.source(broken)),)
    assert str(site.source(good)) in report.skipped
    job.take_backup(site.deployment(), batches)

    after = site.objects("primary")
    assert before.items() <= after.items()
    assert site.sealed("primary") == site.sealed("replica") == {good, broken, "globals"}


def test_a_lock_held_on_a_table_fails_that_tenant_after_the_lock_wait(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, held = site.tenant("free"), site.tenant("held")
    short = {"lock_wait": timedelta(seconds=0.2)}
    monkeypatch.setattr(database_steps.dump_database, "__kwdefaults__", short)
    deployment = site.deployment()
    with site.postgres.connect(held) as conn, conn.transaction():
        conn.execute("lock table orders")
        with pytest.raises(SomeFailed, match="orders") as failed:
            job.take_backup(deployment, planned(deployment))
    assert set(failed.value.failures) == {f"{site.name}/{held}"}
    assert site.sealed("replica") == {free, "globals"}


def test_a_database_that_refuses_connections_is_no_tenant(site: Site) -> None:
    open_, closed = site.tenant("open"), site.tenant("closed")
    site.postgres.execute(f"alter database {closed} allow_connections false")
    site.backup()
    assert site.sealed("primary") == {open_, "globals"}
    site.postgres.execute(f"alter database {closed} allow_connections true")


def test_a_byte_changed_in_the_landed_dump_is_found_and_nothing_of_it_is_uploaded(
    site: Site,
) -> None:
    good, bad = site.tenant("good"), site.tenant("bad")
    deployment = site.deployment()
    batches = planned(deployment)
    for batch in batches:
        job.dump(deployment, batch)
    (batch,) = (b for b in batches if site.source(bad) in b.sources)
    dump = landed(site, batch, bad)
    data = bytearray(dump.read_bytes())
    data[len(data) // 2] ^= 1
    dump.write_bytes(data)

    with pytest.raises(SomeFailed) as failed:
        job.take_backup(deployment, batches)
    (error,) = failed.value.failures.values()
    assert isinstance(error, CorruptObject)
    assert "take the backup again" in error.hint
    assert site.sealed("primary") == site.sealed("replica") == {good, "globals"}
    assert not [key for key in site.objects("primary") if f"/{bad}/" in key]

    job.take_backup(deployment, batches)  # what was damaged is dumped anew
    assert site.sealed("replica") == {good, bad, "globals"}


def test_a_draft_cut_short_by_a_crash_is_made_anew(site: Site) -> None:
    tenant = site.tenant()
    deployment = site.deployment()
    (batch,) = planned(deployment, tenant)
    job.dump(deployment, batch)
    landed(site, batch, tenant).with_name(landed_backup.DRAFT).write_bytes(b"")
    job.take_backup(deployment, [batch])
    assert site.sealed("replica") == {tenant}


def test_a_landing_zone_lost_before_the_seal_is_made_good(site: Site) -> None:
    tenant = site.tenant()
    deployment = site.deployment()
    (batch,) = planned(deployment, tenant)
    for step in (steps.dump, steps.checksum):
        step(deployment, batch)
    dump = landed(site, batch, tenant)
    key = f"backups/tenant_databases/{site.name}/{tenant}/{batch.backup_id}/{database_steps.DUMP}"
    digest = sha256(dump.read_bytes()).hexdigest()
    deployment.vaults.primary.put(key, dump, sha256=digest)
    deployment.landing_zone.remove_tree(dump.parent)
    site.insert(tenant)  # the next dump is another one

    job.take_backup(site.deployment(), [batch])
    assert site.sealed("replica") == {tenant}
    assert site.objects("primary").keys() == site.objects("replica").keys()


def test_with_the_replica_down_it_is_sealed_in_the_primary_and_a_retry_copies_it(
    site: Site,
) -> None:
    tenant = site.tenant()
    deployment = site.deployment(down=["replica"])
    (batch,) = planned(deployment, tenant)
    with pytest.raises(SomeFailed) as failed:
        job.take_backup(deployment, [batch])
    (error,) = failed.value.failures.values()
    assert isinstance(error, VaultUnreachable)
    assert site.sealed("primary") == {tenant}
    with pytest.raises(SomeFailed, match="not sealed in: replica"):
        job.report(deployment, [batch])

    before = site.objects("primary")
    job.take_backup(site.deployment(), [batch])
    assert site.objects("replica").keys() == before.keys()
    assert site.objects("primary") == before


def test_the_next_copy_takes_along_what_an_outage_of_the_replica_left_behind(site: Site) -> None:
    tenant = site.tenant()
    deployment = site.deployment(down=["replica"])
    with pytest.raises(SomeFailed):
        job.take_backup(deployment, planned(deployment, tenant))
    deployment = site.deployment()
    (later,) = planned(deployment, tenant)
    job.take_backup(deployment, [Batch(0, "20991231T000000Z", later.sources, 0)])
    assert len(site.objects("primary")) == 4
    assert site.objects("replica").keys() == site.objects("primary").keys()


def test_with_the_primary_down_nothing_is_dumped_and_every_source_is_named(site: Site) -> None:
    names = {site.tenant("a"), site.tenant("b")}
    deployment = site.deployment(down=["primary"])
    with pytest.raises(SomeFailed) as failed:
        job.take_backup(deployment, planned(deployment))
    assert set(failed.value.failures) == {f"{site.name}/{n}" for n in (*names, "globals")}
    assert site.objects("replica") == {}


def test_a_server_that_does_not_answer_is_named_and_the_others_are_backed_up(site: Site) -> None:
    tenant = site.tenant()
    away = {"name": "away", "connection": "away", "tenants": {"pattern": "*"}}
    config = yaml.safe_load(site.config_path.read_text())
    config["servers"].append(away)
    site.config_path.write_text(yaml.safe_dump(config))
    site.more["AIRFLOW_CONN_AWAY"] = f"postgres://nobody@127.0.0.1:{free_port()}/postgres"
    told = site.json("backup", code=4)
    assert list(told["failures"]) == ["away"]
    assert "no connection to" in told["failures"]["away"]
    assert site.sealed("replica") == {tenant, "globals"}
    assert site.json("backup", tenant)["sources"] == [str(site.source(tenant))]


def test_a_name_that_breaks_shells_and_sql_is_handled_like_any_other(site: Site) -> None:
    tenant = site.tenant('we"ird; drop--$(x)')
    taken = site.json("backup", tenant)
    assert taken["sources"] == [f"{site.name}/{tenant}"]
    site.archive()
    site.insert(tenant, 3)
    assert site.run("archive").returncode == 0
    assert site.json("catalog", tenant)["backups"]
    assert site.json("window", tenant)["intervals"]
    at = site.now().isoformat()
    assert len(site.json("log", tenant, "--from", "2020-01-01T00:00Z", "--to", at)) == 3
    assert site.run("archive").returncode == 0
    new = 'back; "$(y)'
    assert site.json("plan", tenant, "--to", at, "--as", new)["new_name"] == new
    done = site.json("restore", tenant, "--to", at, "--as", new, "--reason", "'; \\ \"")
    assert done["database"] == new
    assert site.order_ids(new) == site.order_ids(tenant)
