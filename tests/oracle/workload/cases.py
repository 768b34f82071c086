"""Cases: a tenant restored to a target by us, and recovered to it by PostgreSQL itself."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import count
from pathlib import Path
from random import Random

from psycopg import sql

from embedded.installation import SERVER
from embedded.postgres import PostgresServer
from include.respaldo.errors import LogDiverged, RestoreRefused
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.jobs.restore_database import replay, restore, verify
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.target import Target, TargetLsn, TargetTime
from tests.conftest import drop_database
from tests.oracle.workload.comparison import (
    database_differences,
    first_lines,
    undo_preparation,
)
from tests.oracle.workload.history import History, source_of
from tests.oracle.workload.sessions import Tenant

MICROSECOND = timedelta(microseconds=1)
_names = count(1)


class Outcome(StrEnum):
    EQUAL = "equal"
    #: before anything was begun
    REFUSED = "refused"
    #: while the log was replayed
    REFUSED_LATE = "refused late"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Moment:
    """A target for the whole server."""

    number: int
    target: datetime | Lsn
    #: the commit that it stands at, or follows
    at: datetime

    @property
    def for_tenant(self) -> Target:
        if isinstance(self.target, datetime):
            return TargetTime(self.target)
        return TargetLsn(self.target)


@dataclass(frozen=True)
class Case:
    tenant: Tenant
    moment: Moment
    outcome: Outcome
    #: the reason of a refusal; the differences
    words: str = ""
    route: str = ""


def moments(history: History, how_many: int) -> Iterator[Moment]:
    """Choose targets: random times, those at a commit, just before one, and positions.

    PostgreSQL stops at the first record of any database, an abort included, that bears a later
    time. Sessions take the time before they write the record: where one with a time that is not
    later stands past that record, recovery of the server and of one database mean something else
    (docs/FORMAT.md, "The target"). Such moments are passed over.
    """
    assert history.begin is not None
    assert history.end is not None
    begin, end = history.begin, history.end
    rng = Random(f"{history.plan.seed}/moments")
    inside = [t for t in history.transactions if begin < t.at < end]
    commits = [t for t in inside if t.committed]
    number = 0
    while number < how_many:
        commit = rng.choice(commits)
        kind = number % 4
        if kind == 3:
            yield Moment(number, commit.lsn, commit.at)
            number += 1
            continue
        if kind == 0:
            at = begin + (end - begin) * rng.random()
        else:
            at = commit.at - (MICROSECOND if kind == 2 else timedelta(0))
        stop = next((t for t in history.transactions if t.at > at), None)
        if stop is None or any(t.lsn > stop.lsn and t.at <= at for t in history.transactions):
            continue
        yield Moment(number, at, at)
        number += 1


def cases(
    history: History, folder: Path, how_many: int, workers: int = 2, only: tuple[int, ...] = ()
) -> Iterator[Case]:
    """Restore and compare every tenant at each of so many moments.

    :param only: numbers of the moments; empty: all.
    """
    with ThreadPoolExecutor(workers) as pool:
        for moment in moments(history, how_many):
            if only and moment.number not in only:
                continue
            with _recovered(history, moment, folder / f"recovered-{moment.number}") as server:
                yield from pool.map(
                    lambda tenant: _case(history, tenant, moment, server),  # noqa: B023
                    history.tenants,
                )


def _case(history: History, tenant: Tenant, moment: Moment, theirs: PostgresServer) -> Case:
    """Try one case; whatever is raised but a refusal is a difference, too."""
    name = f"restored_{next(_names)}"
    rng = Random(f"{tenant.seed}/{moment.number}/route")
    server = history.server
    route = ""
    deployment = history.deployment
    request = RestoreRequest(source_of(tenant), moment.for_tenant, name, SERVER)
    try:
        planned = plan(deployment, request)
    except RestoreRefused as error:
        return Case(tenant, moment, Outcome.REFUSED, error.message)
    except Exception:  # noqa: BLE001
        return Case(tenant, moment, Outcome.DIFFERENT, traceback.format_exc())
    chosen = rng.choice(planned.routes)
    planned = replace(planned, routes=(chosen,))
    route = f"from {chosen.backup_id} and {len(chosen.segments)} segments"
    try:
        restore(deployment, planned)
        replay(deployment, planned)
        notes = verify(deployment, planned).notes
        found = database_differences(theirs, tenant.name, server, name, tenant.name, notes)
    except LogDiverged as error:
        return Case(tenant, moment, Outcome.REFUSED_LATE, error.message, route)
    except Exception:  # noqa: BLE001
        return Case(tenant, moment, Outcome.DIFFERENT, traceback.format_exc(), route)
    finally:
        for database in (planned.temporary_name, name):
            drop_database(server, database)
    if found:
        return Case(tenant, moment, Outcome.DIFFERENT, first_lines(found), route)
    return Case(tenant, moment, Outcome.EQUAL, "", route)


@contextmanager
def _recovered(history: History, moment: Moment, folder: Path) -> Iterator[PostgresServer]:
    """Recover the whole server to the moment, and take our own objects out."""
    server = history.physical.recover_to(moment.target, folder)
    try:
        # neither committed nor rolled back at that moment: they are kept, and keep their locks
        for gid, database in server.execute("select gid, database from pg_prepared_xacts"):
            server.execute(sql.SQL("rollback prepared {}").format(sql.Literal(gid)), database)
        for tenant in history.tenants:
            with server.connect(tenant.name) as conn:
                undo_preparation(conn)
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)
