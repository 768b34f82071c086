"""A restore gives what PostgreSQL's own recovery of the same server to the same moment gives.

The server's tenants are changed at random by several writers, while their logs are archived and two
full backups are taken. Then moments are chosen; each is restored from full backup and query log,
and the whole server is recovered to it from a base backup and archived WAL. Every row of every
table has to be equal, as text.

``RESPALDO_ORACLE_SEED`` repeats what the writers did (not how they met), ``RESPALDO_FULL`` takes
longer, ``RESPALDO_KEEP`` keeps the folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import psycopg
import pytest
from psycopg import sql

from embedded.installation import SERVER
from embedded.postgres import PostgresServer
from embedded.process import wait_until
from include.respaldo.jobs.archive_query_log import ArchiveMode, archive
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.jobs.read_catalog import read_catalog
from include.respaldo.jobs.restore_database import replay, restore, verify
from include.respaldo.jobs.take_backup import backup_of, take_backup
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.target import Target, TargetLsn, TargetTime
from tests.conftest import drop_database
from tests.oracle.conftest import FULL, TENANTS, History, source_of
from tests.oracle.sequences import sequence_differences
from tests.postgres.compare import content_differences, database_content, schema_text

# many recoveries of a whole server, one after the other
pytestmark = pytest.mark.timeout(3600 if FULL else 900)

RANDOM_MOMENTS = 40 if FULL else 10
#: each gives three: at a commit, and a microsecond before and after it
COMMITS = 15 if FULL else 1
POSITIONS = 15 if FULL else 1
#: sequences that the writers set back
RESTARTED = frozenset({"carts_id_seq"})
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Moment:
    """A target for the whole server, and what it is for each tenant."""

    target: datetime | Lsn
    of_tenant: dict[str, Target]


def moments(history: History) -> Iterator[Moment]:
    """Choose the moments: random ones, those around commits, at positions, of full backups."""
    rng = history.random
    span = history.end - history.begin
    commits = [
        t
        for t in history.transactions
        if t.committed and t.xid in history.database_of and history.begin < t.at < history.end
    ]
    for _ in range(RANDOM_MOMENTS):
        yield at_time(
            history, history.begin + timedelta(seconds=span.total_seconds() * rng.random())
        )
    for commit in rng.sample(commits, COMMITS):
        for offset in (-MICROSECOND, timedelta(0), MICROSECOND):
            yield at_time(history, commit.at + offset)
    for tenant in TENANTS if FULL else TENANTS[:1]:
        for backup in read_catalog(history.deployment, source_of(tenant)).backups:
            if backup.anchor and backup.anchor.at > history.begin:
                yield at_time(history, backup.anchor.at)
    for commit in rng.sample(commits, POSITIONS):
        yield Moment(commit.lsn, {tenant: TargetLsn(commit.lsn) for tenant in TENANTS})


def at_time(history: History, at: datetime) -> Moment:
    """Return the moment of a time.

    PostgreSQL stops at the first record of *any* database, an abort included, that bears a later
    time. Sessions take the time just before they write the record; so one of ours with a time that
    is not later may stand just past that record. We include it (docs/FORMAT.md, "The target"):
    such a tenant is compared at the position where the server stopped.
    """
    stop = next(t for t in history.transactions if t.at > at)
    late = {
        history.database_of.get(t.xid)
        for t in history.transactions
        if t.committed and t.lsn > stop.lsn and t.at <= at
    }
    before_it = TargetLsn.before(stop.lsn)
    return Moment(at, {name: before_it if name in late else TargetTime(at) for name in TENANTS})


def test_any_moment_is_restored_as_physical_recovery_of_the_server_restores_it(
    history: History, folder: Path
) -> None:
    rng = history.random
    differences: list[str] = []
    compared = raced = 0
    for number, moment in enumerate(moments(history)):
        with recovered(history, moment, folder / f"recovered-{number}") as server:
            for tenant, target in moment.of_tenant.items():
                with server.connect(tenant) as theirs:
                    wrong = compare(history, tenant, target, rng, theirs)
                differences += [f"moment {number}, {moment.target}, {what}" for what in wrong]
                print(*differences[-len(wrong) :] if wrong else (), sep="\n", end="", flush=True)
                raced += isinstance(moment.target, datetime) and isinstance(target, TargetLsn)
                compared += 1
    print(f"{compared} restores compared, {raced} of them by position instead of time")
    assert not differences, f"seed {history.seed}:\n" + "\n".join(differences)


def compare(
    history: History, tenant: str, target: Target, rng: Random, theirs: psycopg.Connection[Any]
) -> list[str]:
    """Restore a tenant and return how it differs from the recovered one, in words."""
    server = history.installation.postgres
    how = f"{tenant} to {target}"
    try:
        with (
            restored(history, tenant, target, rng) as (name, made_from),
            server.connect(name) as ours,
            server.connect(tenant) as live,
        ):
            how += f" {made_from}"
            found = content_differences(database_content(theirs), database_content(ours))
            found += sequence_differences(theirs, ours, live, restarted=RESTARTED)
    except Exception as error:  # noqa: BLE001 - a restore that fails is a difference, too
        found = [f"{type(error).__name__}: {error}"]
    return [f"{how}: {what}" for what in found]


def test_a_restored_schema_is_what_it_was_before_respaldo_touched_it(history: History) -> None:
    server = history.installation.postgres
    for tenant in TENANTS:
        at = TargetTime(history.end)
        with restored(history, tenant, at, history.random) as (name, _):
            assert schema_text(server.connection(), name) == history.schemas[tenant]


def test_a_transaction_that_commits_while_the_backup_begins_is_there_at_the_backups_moment(
    history: History,
) -> None:
    """It has its commit time, but is not visible yet: here because a standby has to confirm it."""
    tenant, server = TENANTS[0], history.installation.postgres
    source = source_of(tenant)
    waiting = "select pid from pg_stat_activity where wait_event = 'SyncRep'"
    held = Event()

    def insert_until_held(app: psycopg.Connection[Any]) -> int:
        """The server takes a moment to learn of the standby: the first few may not wait."""
        app.execute("set synchronous_commit to on")
        count = 0
        while not held.is_set():
            app.execute("insert into things (what) values ('at last')")
            count += 1
        return count

    with server.connect(tenant) as app, ThreadPoolExecutor() as pool:
        wait_for_standby(server, "nobody")
        try:
            committing = pool.submit(insert_until_held, app)
            assert wait_until(lambda: bool(server.execute(waiting)), within=30)
            take_backup(history.deployment, [backup_of(history.deployment, source)])
        finally:
            held.set()
            wait_for_standby(server, "")
        inserted = committing.result()
    archive(history.deployment, SERVER, mode=ArchiveMode.ONCE)
    newest = read_catalog(history.deployment, source).backups[-1]
    assert newest.anchor is not None
    target = TargetTime(newest.anchor.at)
    with restored(history, tenant, target, history.random) as (name, _):
        found = server.execute("select count(*) from things where what = 'at last'", name)
    assert found == [(inserted,)]


def wait_for_standby(server: PostgresServer, name: str) -> None:
    """Let every commit wait for that standby; for none, if it has no name."""
    server.configure(synchronous_standby_names=name)
    server.execute("select pg_reload_conf()")


@contextmanager
def recovered(history: History, moment: Moment, folder: Path) -> Iterator[PostgresServer]:
    """Recover the whole server to the moment."""
    server = history.physical.recover_to(moment.target, folder)
    try:
        # neither committed nor rolled back at that moment: they are kept, and keep their locks
        for gid, database in server.execute("select gid, database from pg_prepared_xacts"):
            server.execute(sql.SQL("rollback prepared {}").format(sql.Literal(gid)), database)
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


@contextmanager
def restored(
    history: History, tenant: str, target: Target, rng: Random
) -> Iterator[tuple[str, str]]:
    """Restore a tenant from any of the full backups that lead to the target.

    :return: the new database's name, and what it was made from.
    """
    deployment, name = history.deployment, "restored"
    planned = plan(deployment, RestoreRequest(source_of(tenant), target, name, SERVER))
    route = rng.choice(planned.routes)
    planned = replace(planned, routes=(route,))
    how = f"from {route.backup_id} and {len(route.segments)} segments"
    try:
        restore(deployment, planned)
        replay(deployment, planned)
        verify(deployment, planned)
        yield name, how
    finally:
        for database in (planned.temporary_name, name):
            drop_database(history.installation.postgres, database)
