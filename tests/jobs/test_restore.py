"""Restores: exact, beside the live database, or refused by name with the next step."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from psycopg import sql

from include.respaldo.errors import LogDiverged, RestoreFailed, RestoreRefused
from include.respaldo.jobs import replay_log
from include.respaldo.jobs import restore_database as job
from include.respaldo.jobs.find_transaction import find_transaction
from include.respaldo.jobs.plan_restore import RestorePlan, RestoreRequest, plan
from include.respaldo.model.target import TargetTime
from tests.jobs.site import Site


@pytest.fixture
def acme(site: Site) -> str:
    """A tenant whose log goes on past three orders, with `moment` after the second."""
    name = site.tenant()
    site.archive()
    site.insert(name, 2)
    return name


def moment(site: Site) -> datetime:
    """Return the time now, once a commit past it is in the log."""
    at = site.now()
    time.sleep(0.01)
    return at


def request(site: Site, tenant: str, at: datetime, name: str = "") -> RestoreRequest:
    new_name = name or f"{tenant}_restored"
    return RestoreRequest(site.source(tenant), TargetTime(at), new_name, site.name, "T-1")


def test_a_deleted_order_is_back_and_the_live_database_goes_on(site: Site, acme: str) -> None:
    at = moment(site)
    site.postgres.execute("delete from orders where id = 1", acme)
    site.insert(acme)
    site.archive()
    done = site.json("restore", acme, "--to", at.isoformat(), "--reason", "T-4711")
    assert site.order_ids(done["database"]) == [1, 2]
    assert site.order_ids(acme) == [2, 3]
    assert (done["transactions"], done["changes"]) == (2, 4)
    assert done["database"].startswith(f"{acme}_restored_{at:%Y}")
    ((comment,),) = site.postgres.execute(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = %s",
        parameters=[done["database"]],
    )
    assert comment.startswith(f"respaldo: restored from {site.name}/{acme}")
    assert "T-4711" in comment
    # the number of the deleted order's successor is not handed out again
    site.insert(done["database"])
    assert site.order_ids(done["database"])[-1] >= 3


def test_the_moment_right_before_or_after_a_transaction_can_be_had(site: Site, acme: str) -> None:
    with site.postgres.connect(acme) as conn, conn.transaction():
        ((xid,),) = conn.execute("select pg_current_xact_id()::text::bigint").fetchall()
        conn.execute("delete from orders where id = 1")
    site.insert(acme)
    site.archive()
    before = site.json("restore", acme, "--before-transaction", str(xid), "--as", f"{acme}_before")
    assert site.order_ids(before["database"]) == [1, 2]
    shown = site.json("log", acme, "--from", "2026-01-01T00:00Z", "--to", "2100-01-01T00:00Z")
    (deleting,) = [entry for entry in shown if entry["xid"] == xid]
    after = site.json("restore", acme, "--after-transaction", deleting["lsn"], "--as", f"{acme}_af")
    assert site.order_ids(after["database"]) == [2]
    for unknown in ("4000000000", "0/1", "yesterday"):
        with pytest.raises(RestoreRefused):
            find_transaction(site.deployment(), site.source(acme), unknown)


def test_a_local_time_and_a_position_lead_to_the_same_state(site: Site, acme: str) -> None:
    at = moment(site)
    site.insert(acme)
    site.archive()
    local = at.astimezone(site.deployment().config.zone).replace(tzinfo=None).isoformat()
    first = site.json("restore", acme, "--to", local, "--tz", "Europe/Madrid", "--as", f"{acme}_a")
    second = site.json("restore", acme, "--to", first["last"]["lsn"], "--as", f"{acme}_b")
    assert site.order_ids(f"{acme}_a") == site.order_ids(f"{acme}_b") == [1, 2]
    assert first["last"] == second["last"]


@pytest.mark.parametrize(
    ("to", "zone", "code", "message", "hint"),
    [
        ("2020-01-01T00:00:00Z", None, 3, "before the first full backup", "nearest points"),
        ("2120-01-01T00:00:00Z", None, 3, "in the future", "nearest points"),
        ("2026-11-22T11:29", None, 2, "does not say in which time zone", "--tz"),
        ("2026-11-22T11:29", "Europe/Madird", 2, "is not a time zone", "Europe/Madrid"),
        ("FFFFFF/0", None, 3, "outside every stretch", "can be had"),
    ],
)
def test_a_target_that_cannot_be_had_is_refused_with_the_next_step(
    site: Site, acme: str, to: str, zone: str | None, code: int, message: str, hint: str
) -> None:
    site.archive()
    tz = ["--tz", zone] if zone else []
    for command in ("plan", "restore"):
        refused = site.json(command, acme, "--to", to, *tz, code=code)
        assert message in refused["message"]
        assert hint in refused["hint"]
    assert site.restored_databases() == []


def test_before_and_after_a_schema_change_both_moments_can_be_had(site: Site, acme: str) -> None:
    before = moment(site)
    site.insert(acme)
    site.postgres.psql(
        "alter table orders add column note text; create index on orders (note);"
        "update orders set note = 'noted' where id = 3; create view noted as"
        " select * from orders where note is not null; alter table visits rename to calls",
        acme,
    )
    site.postgres.execute("insert into calls (what) values (77)", acme)
    after = moment(site)
    site.postgres.execute("insert into calls (what) values (78)", acme)
    site.archive()
    shown = site.json("log", acme, "--from", before.isoformat(), "--to", after.isoformat())
    assert [change for entry in shown for change in entry["schema_changes"]] == [
        "ALTER TABLE public.orders", "CREATE INDEX public.orders_note_idx",
        "CREATE VIEW public.noted", "ALTER TABLE public.calls",
    ]  # fmt: skip
    for at, name in ((before, f"{acme}_before"), (after, f"{acme}_after")):
        job.restore_database(site.deployment(), request(site, acme, at, name))
    assert site.order_ids(f"{acme}_before") == [1, 2]
    rows = "select id, note from orders order by 1"
    assert site.postgres.execute(rows, f"{acme}_after") == [(1, None), (2, None), (3, "noted")]
    assert site.postgres.execute("select id from noted", f"{acme}_after") == [(3,)]
    assert site.postgres.execute("select what from calls order by 1", f"{acme}_after") == [
        (1,), (2,), (3,), (77,)
    ]  # fmt: skip


def test_a_change_that_cannot_be_replayed_refuses_until_the_full_backup_that_follows_it_at_once(
    site: Site, acme: str
) -> None:
    # more than the capture sends along, with values that only the server knew
    site.postgres.execute(
        "insert into orders (item) select (select string_agg(md5((i * j)::text), '')"
        " from generate_series(1, 20) j) from generate_series(1, 20000) i",
        acme,
    )
    site.archive()
    before = moment(site)
    site.postgres.execute("alter table orders add column u uuid default gen_random_uuid()", acme)
    in_gap = moment(site)
    site.archive()
    time.sleep(0.01)
    later = moment(site)
    site.insert(acme)
    site.archive()
    with pytest.raises(RestoreRefused) as refused:
        plan(site.deployment(), request(site, acme, in_gap))
    assert "schema change: ALTER TABLE public.orders" in refused.value.message
    assert "nearest points that can be had" in refused.value.hint
    for at, name in ((before, f"{acme}_before"), (later, f"{acme}_later")):
        job.restore_database(site.deployment(), request(site, acme, at, name))
    wanted = "select md5(string_agg(t::text, ',' order by id)) from orders t where id < 20002"
    assert site.postgres.execute(wanted, f"{acme}_later") == site.postgres.execute(wanted, acme)


def test_a_replay_that_was_interrupted_after_a_schema_change_begins_again(
    site: Site, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.postgres.execute("alter table orders add column note text", acme)
    site.insert(acme)
    at = moment(site)
    site.insert(acme)
    site.archive()
    planned = plan(site.deployment(), request(site, acme, at))
    job.restore(site.deployment(), planned)

    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(replay_log, "set_sequences", killed)
        with pytest.raises(RuntimeError, match="killed"):
            job.replay(site.deployment(), planned)
    with pytest.raises(RestoreFailed, match="not replayed"):
        job.verify(site.deployment(), planned)
    job.replay(site.deployment(), planned)
    job.verify(site.deployment(), planned)
    assert site.order_ids(planned.request.new_name) == [1, 2, 3]


def test_a_moment_past_a_large_object_change_is_refused_where_that_is_wanted(
    site: Site, acme: str
) -> None:
    site.postgres.execute("select lo_from_bytea(0, 'x'::bytea)", acme)
    time.sleep(1.2)  # PostgreSQL shows what was written in its statistics within a second
    site.insert(acme)
    after = moment(site)
    site.insert(acme)
    site.archive()
    wanted = request(site, acme, after)
    with pytest.raises(RestoreRefused, match="large object change"):
        plan(site.deployment(), replace(wanted, with_large_objects=True))
    assert "large objects changed after that full backup" in plan(site.deployment(), wanted).text
    assert "large objects changed" in site.json("window", acme)["notes"][-1]


def test_roles_that_are_not_on_the_server_are_named_in_the_plan_or_refuse_it(
    site: Site, acme: str
) -> None:
    role = f'{site.name}_we"ird; role'
    name = sql.Identifier(role)
    site.postgres.execute(sql.SQL("create role {}").format(name))
    site.postgres.execute(sql.SQL("grant select on orders to {}").format(name), acme)
    site.backup(acme)
    site.postgres.execute(sql.SQL("drop owned by {}").format(name), acme)
    site.postgres.execute(sql.SQL("drop role {}").format(name))
    wanted = request(site, acme, site.catalog(acme).backups[-1].anchor.at)  # type: ignore[union-attr]
    planned = plan(site.deployment(), wanted)
    assert role in planned.text
    assert RestorePlan.from_json(planned.to_json()) == planned
    with pytest.raises(RestoreRefused, match="not all roles"):
        plan(site.deployment(), replace(wanted, with_all_roles=True))
    job.restore_database(site.deployment(), wanted)
    assert site.order_ids(wanted.new_name) == [1, 2]


def test_a_name_that_is_taken_or_is_the_live_ones_is_refused(site: Site, acme: str) -> None:
    at = moment(site)
    site.insert(acme)
    site.archive()
    taken = site.tenant("taken")
    with pytest.raises(RestoreRefused, match="already"):
        job.restore_database(site.deployment(), request(site, acme, at, taken))
    with pytest.raises(RestoreRefused, match="never replaces the live database"):
        job.restore_database(site.deployment(), request(site, acme, at, acme))
    assert site.order_ids(taken) == []
    assert site.order_ids(acme) == [1, 2, 3]
    assert site.restored_databases() == []


def test_a_restore_that_fails_in_the_middle_leaves_nothing_behind(
    site: Site, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = moment(site)
    site.insert(acme)
    site.archive()

    def diverge(*_: object) -> None:
        raise LogDiverged("orders: expected 1 row, found 0")

    monkeypatch.setattr(replay_log, "set_sequences", diverge)
    with pytest.raises(LogDiverged):
        job.restore_database(site.deployment(), request(site, acme, at))
    assert site.restored_databases() == []


def test_each_step_can_be_repeated_and_another_restore_of_the_name_is_noticed(
    site: Site, acme: str
) -> None:
    at = moment(site)
    site.insert(acme)
    other_at = moment(site)
    site.insert(acme)
    site.archive()
    planned = RestorePlan.from_json(plan(site.deployment(), request(site, acme, at)).to_json())
    other = plan(site.deployment(), request(site, acme, other_at))
    for step in (job.restore, job.restore, job.replay, job.replay):
        step(site.deployment(), planned)
    job.restore(site.deployment(), other)
    with pytest.raises(RestoreFailed, match="another restore"):
        job.replay(site.deployment(), planned)
    job.discard(site.deployment(), planned)
    job.replay(site.deployment(), other)
    first = job.verify(site.deployment(), other)
    assert site.order_ids(f"{acme}_restored") == [1, 2, 3]
    again = job.verify(site.deployment(), other)
    assert (first.changes, first.last) == (again.changes, again.last)


@pytest.mark.parametrize("ending", ["/manifest.json", ".pgc.zst", ".parquet", "chain.json"])
def test_damage_in_the_primary_region_is_found_and_the_replica_used(
    site: Site, acme: str, ending: str
) -> None:
    at = moment(site)
    site.insert(acme)
    site.archive()
    assert site.damage("primary", ending)
    summary = job.restore_database(site.deployment(), request(site, acme, at))
    assert site.order_ids(summary.request.new_name) == [1, 2]
    assert any("the replica's copy was used" in note for note in summary.notes)


def test_damage_in_both_regions_is_found_before_anything_is_restored(site: Site, acme: str) -> None:
    at = moment(site)
    site.insert(acme)
    site.archive()
    for region in ("primary", "replica"):
        assert site.damage(region, ".parquet")
    with pytest.raises(Exception, match="cannot be read whole from either vault"):
        job.restore_database(site.deployment(), request(site, acme, at))
    assert site.restored_databases() == []


def test_an_older_full_backup_is_used_where_the_newest_is_damaged_in_both_regions(
    site: Site, acme: str
) -> None:
    first = next(iter(site.catalog(acme).backups)).backup_id
    while (second := site.backup(acme)) == first:
        time.sleep(0.5)
    time.sleep(0.01)
    at = moment(site)
    site.insert(acme)
    site.archive()
    for region in ("primary", "replica"):
        assert site.damage(region, f"{second}/dump.pgc.zst")
    summary = job.restore_database(site.deployment(), request(site, acme, at))
    assert summary.backup_id == first
    assert site.order_ids(summary.request.new_name) == [1, 2]
    assert any(second in note and "passed over" in note for note in summary.notes)


def test_without_the_primary_region_the_replica_is_used_and_the_summary_says_so(
    site: Site, acme: str
) -> None:
    at = moment(site)
    site.insert(acme)
    site.archive()
    deployment = site.deployment(down=["primary"])
    summary = job.restore_database(deployment, request(site, acme, at))
    assert site.order_ids(summary.request.new_name) == [1, 2]
    assert any("is unreachable: the replica was used" in note for note in summary.notes)


def test_catalog_window_and_log_tell_what_there_is(site: Site, acme: str) -> None:
    start = site.now() - timedelta(minutes=1)
    site.postgres.execute("delete from orders where id = 1", acme)
    site.archive()
    assert site.json("catalog") == [f"{site.name}/{acme}"]
    catalog = site.json("catalog", acme)
    assert len(catalog["backups"]) == 1
    assert catalog["chains"][0]["segments"] >= 1
    window = site.json("window", acme)
    assert len(window["intervals"]) == 1
    assert window["gaps"] == []
    entries = site.json(
        "log", acme, "--from", start.isoformat(), "--to", site.now().isoformat(), "--rows"
    )
    assert [e["changes"][0]["kind"] for e in entries] == ["insert", "insert", "delete"]
    assert entries[-1]["rows"][0]["old"]["id"] == "1"
    unknown = site.json("window", "nobody", code=1)
    assert acme in unknown["hint"]
