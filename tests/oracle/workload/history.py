"""A server whose tenants live through random histories, archived and backed up all along."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from random import Random

from psycopg import sql

from embedded.installation import SERVER, Installation
from embedded.physical import EndedTransaction, PhysicalBackup
from embedded.postgres import PostgresServer
from include.respaldo.errors import RespaldoError, SomeFailed
from include.respaldo.jobs.archive_query_log import ArchiveMode, archive
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.take_backup import plan_batches, take_backup
from include.respaldo.model.backup import Category, Source, backup_id
from tests.oracle.workload.names import ROLES, quoted
from tests.oracle.workload.sessions import BEFORE, Session, Tenant
from tests.oracle.workload.statements import Choice

#: how databases are made; the rest as the server makes them
_UNUSUAL = {
    1: "encoding 'LATIN1' locale 'C' template template0",
    2: "locale_provider icu icu_locale 'de' template template0",
}
#: transactions of one session before Respaldo comes
_BEFORE = 40
_PATIENCE = 300


@dataclass(frozen=True)
class Plan:
    """How much happens, and what of it is chance."""

    seed: int
    tenants: int = 10
    sessions: int = 3
    #: of each session, after Respaldo has come
    transactions: int = 60
    #: how much of it changes the schema: 0 nothing
    ddl: float = 1.0
    #: full backups while it happens
    backups: int = 2
    #: numbers of the tenants that take part; empty: all
    only: tuple[int, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        return self.only or tuple(range(self.tenants))


@dataclass
class History:
    """What happened."""

    plan: Plan
    installation: Installation
    physical: PhysicalBackup
    tenants: list[Tenant]
    #: of all databases, in the order of the log
    transactions: list[EndedTransaction] = field(default_factory=list)
    begin: datetime | None = None
    end: datetime | None = None

    @cached_property
    def deployment(self) -> Deployment:
        return self.installation.deployment()

    @property
    def server(self) -> PostgresServer:
        return self.installation.postgres


def source_of(tenant: Tenant) -> Source:
    return Source(Category.TENANT_DATABASES, SERVER, tenant.name)


def make_server(folder: Path) -> PostgresServer:
    place = folder / "postgres"
    return PostgresServer(
        place,
        settings={
            "max_prepared_transactions": "50",
            "deadlock_timeout": "100ms",
            "log_min_messages": "fatal",
            **PhysicalBackup.archiving(place),
        },
        durable=False,
    )


def live(plan: Plan, installation: Installation) -> History:
    """Let the tenants live; return once everything of them is archived, by us and physically."""
    server = installation.postgres
    prepare_server(server)
    tenants = [_make(server, plan, number) for number in plan.numbers]
    _run(server, plan, tenants, BEFORE, _BEFORE, threading.Event())
    history = History(plan, installation, PhysicalBackup(server), tenants)
    archiver = Archiver(installation.deployment(), len(tenants))
    archiver.start()
    try:
        archiver.wait_for_slots(server)
        history.physical.take()
        for backup in range(plan.backups):
            meanwhile = threading.Thread(target=_full_backup, args=(installation,))
            # the first one before anything else, so that targets begin early
            if backup == 0:
                _full_backup(installation)
                history.begin = _now(server)
            else:
                meanwhile.start()
            _run(server, plan, tenants, f"part {backup}", plan.transactions // plan.backups,
                 archiver.failed)  # fmt: skip
            if backup:
                meanwhile.join()
        history.end = _now(server)
        for tenant in tenants:  # a commit past every target, which no trigger of theirs can fail
            server.execute("select pg_logical_emit_message(true, 'the end', '')", tenant.name)
    finally:
        archiver.stop()
    archive(installation.deployment(), SERVER, mode=ArchiveMode.ONCE)
    history.physical.end_of_log()
    history.physical.stop_archiving()
    history.transactions = history.physical.ended_transactions()
    return history


def prepare_server(server: PostgresServer) -> None:
    """Make the roles that statements name."""
    for role in ROLES:
        server.execute(sql.SQL("create role {}").format(sql.Identifier(role)))


def _make(server: PostgresServer, plan: Plan, number: int) -> Tenant:
    name = f"tenant_{number}" if number else 'tenant_we"ird; $(x)'
    how = _UNUSUAL.get(number % 5, "") if number < 5 else ""
    server.execute(
        sql.SQL("create database {} {}").format(sql.Identifier(name), sql.SQL(how))  # type: ignore[arg-type]
    )
    server.execute(f"grant all on schema public to {quoted('app_owner')}", name)
    sessions = Random(f"{plan.seed}/{number}").randint(2, max(plan.sessions, 2))
    return Tenant(name, f"{plan.seed}/{number}", min(sessions, plan.sessions))


def _run(
    server: PostgresServer,
    plan: Plan,
    tenants: list[Tenant],
    part: str,
    transactions: int,
    stop: threading.Event,
) -> None:
    """Let all sessions of all tenants run at the same time, to their ends."""
    choice = Choice(1.0, unseen=True) if part == "before" else Choice(plan.ddl)
    sessions = [
        Session(server, tenant, number, part=part, choice=choice, transactions=transactions,
                stop=stop)
        for tenant in tenants
        for number in range(tenant.sessions if part != "before" else 1)
    ]  # fmt: skip
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    for session in sessions:
        if session.failure is not None:
            raise session.failure


def _now(server: PostgresServer) -> datetime:
    ((at,),) = server.execute("select clock_timestamp()")
    assert isinstance(at, datetime)
    return at


def _full_backup(installation: Installation) -> None:
    """Take one of each tenant; pg_dump may stumble over what is dropped while it reads."""
    deployment = installation.deployment()
    run = backup_id(deployment.clock.now())
    batches = plan_batches(deployment, Category.TENANT_DATABASES, run)
    for _ in range(5):
        try:
            take_backup(deployment, batches)
        except RespaldoError as error:
            print(f"full backup {run}: {str(error)[:600]}")
        else:
            return


class Archiver:
    """`archive --follow` in a thread."""

    def __init__(self, deployment: Deployment, databases: int) -> None:
        self._databases = databases
        self._stop = threading.Event()
        #: set when it ended by itself
        self.failed = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(deployment,))

    def start(self) -> None:
        self._thread.start()

    def wait_for_slots(self, server: PostgresServer) -> None:
        """Return once every tenant has its slot, hence a chain."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            ((ready,),) = server.execute(
                "select count(*) from pg_replication_slots where slot_type = 'logical'"
                " and confirmed_flush_lsn is not null and not temporary"
            )
            if ready >= self._databases:
                return
            if self._failure is not None:
                raise self._failure
            time.sleep(0.05)
        raise TimeoutError("not every tenant got its slot")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self, deployment: Deployment) -> None:
        try:
            archive(deployment, SERVER, mode=ArchiveMode.FOLLOW, stop=self._stop)
        except SomeFailed as e:
            # a full backup that changes overtook again and again: tried again once they are over
            print(f"archiving: {str(e)[:600]}")
        except BaseException as e:  # noqa: BLE001 - raised again by `stop`
            self._failure = e
            self.failed.set()


def full_run() -> bool:
    """Return whether the long tests were asked for."""
    return bool(os.environ.get("RESPALDO_FULL"))
