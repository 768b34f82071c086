"""A server whose tenants were changed at random while it was archived and backed up."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from psycopg import sql

from embedded.installation import SERVER, Installation
from embedded.physical import EndedTransaction, PhysicalBackup
from embedded.postgres import PostgresServer
from include.respaldo.jobs.archive_query_log import ArchiveMode, archive
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.take_backup import plan_batches, take_backup
from include.respaldo.model.backup import Category, Source, backup_id
from tests.oracle.writers import Writers
from tests.postgres.compare import schema_text

FULL = bool(os.environ.get("RESPALDO_FULL"))
TENANTS = ("tenant_acme", 'tenant_we"ird; drop--$(x)')
WRITERS = 4
#: how long they write before, between and after the full backups, in seconds
STRETCH = 20.0 if FULL else 4.0
SCHEMA = Path(__file__).with_name("schema.sql")


@dataclass(frozen=True)
class History:
    """What happened, as Respaldo archived it and as PostgreSQL itself did."""

    seed: int
    installation: Installation
    deployment: Deployment
    physical: PhysicalBackup
    #: tenant -> its schema as it was before Respaldo touched it
    schemas: dict[str, str]
    #: 32-bit id of each transaction that wrote -> its database
    database_of: dict[int, str]
    #: of all databases, in the order of the log
    transactions: list[EndedTransaction]
    #: the first full backup was complete, and the writers had stopped
    begin: datetime
    end: datetime

    @property
    def random(self) -> Random:
        return Random(self.seed)


def source_of(tenant: str) -> Source:
    return Source(Category.TENANT_DATABASES, SERVER, tenant)


def now(server: PostgresServer) -> datetime:
    ((at,),) = server.execute("select clock_timestamp()")
    assert isinstance(at, datetime)
    return at


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder that the server's account may enter; kept with RESPALDO_KEEP set."""
    path = Path(tempfile.mkdtemp(prefix="respaldo-oracle-"))
    path.chmod(0o755)
    yield path
    if not os.environ.get("RESPALDO_KEEP"):
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def installation(folder: Path) -> Iterator[Installation]:
    place = folder / "postgres"
    with PostgresServer(
        place,
        settings={"max_prepared_transactions": "20", **PhysicalBackup.archiving(place)},
        durable=False,
    ) as postgres:
        for tenant in TENANTS:
            postgres.execute(sql.SQL("create database {}").format(sql.Identifier(tenant)))
            postgres.psql(SCHEMA.read_text(), tenant)
        cadence = {"segment_age": "1s", "segment_size": "256 KiB", "coverage_interval": "1s"}
        with Installation(
            folder / "respaldo", postgres=postgres, settings={"query_log": cadence}
        ) as made:
            yield made


@pytest.fixture(scope="module")
def history(installation: Installation) -> History:
    """Write, archive and back up, all at the same time; then stop."""
    seed = int(os.environ.get("RESPALDO_ORACLE_SEED") or Random().getrandbits(32))
    print(f"\nto try the same again: RESPALDO_ORACLE_SEED={seed}")
    server = installation.postgres
    schemas = {tenant: schema_text(server.connection(), tenant) for tenant in TENANTS}
    archiver = Archiver(installation.deployment())
    archiver.start()
    archiver.wait_for_slots(server)
    physical = PhysicalBackup(server)
    writers = Writers(server, TENANTS, seed, WRITERS).start()
    try:
        physical.take()
        time.sleep(STRETCH / 2)
        full_backup(installation.deployment())
        begin = now(server)
        time.sleep(STRETCH)
        full_backup(installation.deployment())
        time.sleep(STRETCH)
    finally:
        writers.stop()
    end = now(server)
    print(f"transactions: {dict(writers.outcomes)}")
    for tenant in TENANTS:  # a commit past every target
        ((xid,),) = server.execute(
            "insert into things (what) values ('the end') returning pg_current_xact_id()::text",
            tenant,
        )
        writers.database_of[int(xid) & 0xFFFFFFFF] = tenant
    archiver.stop()
    archive(installation.deployment(), SERVER, mode=ArchiveMode.ONCE)
    physical.end_of_log()
    physical.stop_archiving()
    return History(
        seed,
        installation,
        installation.deployment(),
        physical,
        schemas,
        writers.database_of,
        physical.ended_transactions(),
        begin,
        end,
    )


def full_backup(deployment: Deployment) -> None:
    run = backup_id(deployment.clock.now())
    take_backup(deployment, plan_batches(deployment, Category.TENANT_DATABASES, run))


class Archiver:
    """`archive --follow` in a thread."""

    def __init__(self, deployment: Deployment) -> None:
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(deployment,))

    def start(self) -> None:
        self._thread.start()

    def wait_for_slots(self, server: PostgresServer) -> None:
        """Return once every tenant has its slot, hence a chain."""
        while True:
            ((ready,),) = server.execute(
                "select count(*) from pg_replication_slots where slot_type = 'logical'"
                " and confirmed_flush_lsn is not null and not temporary"
            )
            if ready == len(TENANTS):
                return
            if self._failures:
                raise self._failures[0]
            time.sleep(0.05)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self, deployment: Deployment) -> None:
        try:
            archive(deployment, SERVER, mode=ArchiveMode.FOLLOW, stop=self._stop)
        except BaseException as e:  # noqa: BLE001 - raised again by `stop`
            self._failures.append(e)
