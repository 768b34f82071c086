"""Where a benchmark is held: servers of its own, in a folder that goes when it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from embedded.installation import SERVER, Installation
from embedded.postgres import PostgresServer
from embedded.process import Process
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.read_catalog import read_catalog
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.catalog import recovery_window

ROOT = Path(__file__).resolve().parents[1]
#: like those of a small production server; the demo's are smaller
POSTGRES = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "5min",
    "wal_compression": "off",
    "max_replication_slots": "250",
}


@contextmanager
def folder() -> Iterator[Path]:
    """Give a temporary folder (below $TMPDIR) that the server's account may enter."""
    made = Path(tempfile.mkdtemp(prefix="respaldo-bench-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def installation(
    at: Path, *, settings: Mapping[str, Any] | None = None, **postgres: str
) -> Iterator[Installation]:
    """Give a running installation with a durable PostgreSQL server."""
    server = PostgresServer(
        at / "postgres", settings=POSTGRES | postgres, max_slot_wal_keep_size="40GB"
    )
    try:
        with server, Installation(at, postgres=server, settings=settings) as made:
            yield made
    finally:
        server.stop("immediate")


def tenant(name: str) -> Source:
    """Return the source that a tenant's database is."""
    return Source(Category.TENANT_DATABASES, SERVER, name)


def respaldo(made: Installation, *arguments: str) -> float:
    """Run our command line; return the seconds it took.

    :raises RuntimeError: it failed; holds what it said.
    """
    return execute(
        [sys.executable, "-m", "include.respaldo", *arguments, "--quiet"], made.environment()
    )


def execute(argv: Sequence[str], environ: Mapping[str, str], **more: Any) -> float:
    """Run a program; return the seconds it took.

    :raises RuntimeError: it failed; holds what it said.
    """
    begun = time.monotonic()
    done = subprocess.run(
        argv,
        env=os.environ | dict(environ),
        cwd=more.pop("cwd", ROOT),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **more,
    )
    took = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return took


@contextmanager
def archiver(made: Installation, *, prefix: Sequence[str] = ()) -> Iterator[Process]:
    """Give a running ``archive --follow``, in a process of its own.

    :param prefix: words before its command, such as ``nice -n 19``.
    """
    process = Process.spawn(
        [*prefix, sys.executable, "-m", "include.respaldo", "archive", "--follow", "--quiet"],
        log=made.folder / "archiver.log",
        env=os.environ | made.environment() | {"PYTHONPATH": str(ROOT)},
        detached=False,
    )
    try:
        yield process
    finally:
        process.stop(within=60)


def wait_for(what: str, condition: Callable[[], bool], within: float, every: float = 0.1) -> float:
    """Return once the condition holds: how many seconds that took.

    :raises TimeoutError: it did not in so many seconds.
    """
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > within:
            raise TimeoutError(f"waited {within:.0f} s in vain for {what}")
        time.sleep(every)
    return time.monotonic() - begun


def sealed(deployment: Deployment, names: Sequence[str]) -> bool:
    """Return whether each tenant has a full backup in the replica region."""
    vault = deployment.vaults.replica
    return all(
        any(s.key.endswith(keys.MANIFEST) for s in vault.list(keys.backups_prefix(tenant(name))))
        for name in names
    )


def reaches(deployment: Deployment, name: str) -> datetime:
    """Return the last moment to which a tenant can be restored now."""
    catalog = read_catalog(deployment, tenant(name))
    return recovery_window(catalog).intervals[-1].end


def archived(server: PostgresServer, names: Sequence[str]) -> Callable[[], bool]:
    """Return a condition: all that was written up to now is archived, or known to be nothing."""
    server.execute("select pg_logical_emit_message(true, 'bench', '')")
    [(end,)] = server.execute("select pg_current_wal_lsn()")
    query = """
        select count(*) from pg_replication_slots
        where slot_name like 'respaldo%%' and database = any(%s) and confirmed_flush_lsn >= %s
    """
    return lambda: server.execute(query, parameters=[list(names), end]) == [(len(names),)]


def contents(server: PostgresServer, database: str) -> dict[str, str]:
    """Return a digest of every table of a pgbench database, whatever the order of its rows."""
    tables = [f"pgbench_{t}" for t in ("accounts", "branches", "tellers", "history")]
    return {
        table: str(
            server.execute(
                f"select count(*), sum(hashtextextended(t::text, 0)::numeric) from {table} t",
                database,
            )
        )
        for table in tables
    }
