"""One test's own place: databases, vaults and a configuration nobody else uses; servers shared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg
import yaml
from psycopg import sql

from embedded.installation import BUCKET, Installation
from embedded.postgres import PostgresServer, free_port
from include.respaldo.config import load_config
from include.respaldo.connections import Connection, from_environment
from include.respaldo.jobs.archive_query_log import ArchiveMode, ArchiveReport, archive
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.read_catalog import read_catalog
from include.respaldo.jobs.take_backup import plan_batches, take_backup
from include.respaldo.model.backup import Category, Source, backup_id
from include.respaldo.model.catalog import DatabaseCatalog, RecoveryWindow, recovery_window

PROJECT = Path(__file__).parents[2]
REGIONS = ("primary", "replica")
#: coverage at once, so that nobody waits for it
CADENCE = {"segment_age": "500ms", "coverage_interval": "1s", "slot_timeout": "20s"}


class Site:
    """A configured installation of one test, upon servers that the tests share.

    :param name: names the protected server, and begins the names of its databases.
    :param elsewhere: a further server, named ``elsewhere``, without tenants.
    """

    def __init__(
        self,
        installation: Installation,
        folder: Path,
        name: str,
        *,
        postgres: PostgresServer | None = None,
        elsewhere: PostgresServer | None = None,
        query_log: Mapping[str, str] | None = None,
    ) -> None:
        self.installation = installation
        self.postgres = postgres or installation.postgres
        self.folder = folder
        self.name = name
        self.databases: list[str] = []
        #: further variables of the environment
        self.more: dict[str, str] = {}
        self.config_path = folder / "respaldo.yaml"
        servers = [(name, f"{name}_*")]
        if elsewhere is not None:
            servers.append(("elsewhere", "no tenant"))
            self.more["AIRFLOW_CONN_ELSEWHERE"] = elsewhere.connection_uri()
        self.config_path.write_text(
            yaml.safe_dump({
                "vaults": {
                    region: {"uri": f"s3://{BUCKET}/{name}", "connection": f"vault_{region}"}
                    for region in REGIONS
                },
                "landing_zone": (folder / "landing").as_uri(),
                "scratch": str(folder / "scratch"),
                "time_zone": "Europe/Madrid",
                "servers": [
                    {
                        "name": server,
                        "connection": "server" if server == name else server,
                        "tenants": {"pattern": pattern},
                    }
                    for server, pattern in servers
                ],
                "query_log": {**CADENCE, **(query_log or {})},
            })
        )

    # -- databases ----------------------------------------------------------------------------

    def tenant(self, suffix: str = "acme") -> str:
        """Make a database with a table of orders, and one without a primary key."""
        name = f"{self.name}_{suffix}"
        self.postgres.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        self.databases.append(name)
        self.postgres.psql(
            "create table orders (id bigserial primary key, item text not null default 'x');"
            "create table visits (at timestamptz default clock_timestamp(), what bigint)",
            name,
        )
        return name

    def insert(self, tenant: str, rows: int = 1) -> None:
        """Insert orders, each in a transaction of its own."""
        with self.postgres.connect(tenant) as conn:
            for _ in range(rows):
                insert_order(conn)

    def order_ids(self, database: str) -> list[int]:
        return [
            row[0] for row in self.postgres.execute("select id from orders order by 1", database)
        ]

    def now(self) -> datetime:
        """Return the server's time."""
        ((at,),) = self.postgres.execute("select clock_timestamp()")
        assert isinstance(at, datetime)
        return at

    def exists(self, database: str) -> bool:
        return bool(
            self.postgres.execute(
                "select from pg_database where datname = %s", parameters=[database]
            )
        )

    def restored_databases(self) -> list[str]:
        """Return the databases that restores have made or left, temporary ones too."""
        rows = self.postgres.execute(
            "select datname from pg_database where shobj_description(oid, 'pg_database')"
            " like 'respaldo:%' or datname like 'respaldo_restoring_%' order by 1"
        )
        return [name for (name,) in rows]

    # -- Respaldo -----------------------------------------------------------------------------

    def source(self, tenant: str) -> Source:
        return Source(Category.TENANT_DATABASES, self.name, tenant)

    def environment(self, down: Iterable[str] = ()) -> dict[str, str]:
        """Return what the command line needs; regions in `down` do not answer."""
        vaults = {
            region: server.connection_uri()
            for region, server in zip(
                REGIONS, (self.installation.primary, self.installation.replica), strict=True
            )
        }
        for region in down:
            vaults[region] = f"aws://k:s@/?endpoint_url=http://127.0.0.1:{free_port()}"
        return {
            "RESPALDO_CONFIG": str(self.config_path),
            "AIRFLOW_CONN_SERVER": self.postgres.connection_uri(),
            **{f"AIRFLOW_CONN_VAULT_{r.upper()}": uri for r, uri in vaults.items()},
            **self.more,
        }

    def deployment(self, down: Iterable[str] = ()) -> Deployment:
        """Return a fresh deployment, as a new process would make it."""
        environ = self.environment(down)

        def lookup(conn_id: str) -> Connection:
            return from_environment(conn_id, environ)

        return Deployment(load_config(self.config_path), lookup)

    def archive(self, down: Iterable[str] = ()) -> ArchiveReport:
        return archive(self.deployment(down), self.name, mode=ArchiveMode.ONCE)

    def backup(self, *only: str) -> str:
        """Take full backups; return their id."""
        deployment = self.deployment()
        run = backup_id(deployment.clock.now())
        take_backup(deployment, plan_batches(deployment, Category.TENANT_DATABASES, run, only))
        return run

    def catalog(self, tenant: str, down: Iterable[str] = ()) -> DatabaseCatalog:
        return read_catalog(self.deployment(down), self.source(tenant))

    def window(self, tenant: str) -> RecoveryWindow:
        return recovery_window(self.catalog(tenant))

    # -- the command line ---------------------------------------------------------------------

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "include.respaldo", *arguments]

    def spawn(
        self,
        *arguments: str,
        failpoint: str = "",
        down: Iterable[str] = (),
        quiet: bool = False,
    ) -> subprocess.Popen[str]:
        """Start the command line; `quiet`: nobody reads what it says."""
        out = subprocess.DEVNULL if quiet else subprocess.PIPE
        return subprocess.Popen(
            self.command(*arguments),
            stdout=out,
            stderr=out,
            text=True,
            cwd=PROJECT,
            env={**os.environ, **self.environment(down), "RESPALDO_FAILPOINT": failpoint},
        )

    def run(
        self, *arguments: str, failpoint: str = "", down: Iterable[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end."""
        process = self.spawn(*arguments, failpoint=failpoint, down=down)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with --json; return what it printed: one document, whatever happened."""
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    # -- the vaults ---------------------------------------------------------------------------

    def objects(self, region: str) -> dict[str, str]:
        """Return the keys of one region, each with a mark of its bytes."""
        client = getattr(self.installation, region).client()
        found: dict[str, str] = {}
        for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{self.name}/"
        ):
            found |= {
                o["Key"].removeprefix(f"{self.name}/"): o["ETag"] for o in page.get("Contents", ())
            }
        client.close()
        return found

    def sealed(self, region: str) -> set[str]:
        """Return the names of the sources of which a manifest seals a backup there."""
        found = (key.split("/") for key in self.objects(region) if key.endswith("/manifest.json"))
        return {unquote(parts[3]) for parts in found}

    def damage(self, region: str, ending: str) -> list[str]:
        """Change one byte in the middle of each object whose key ends so; return the keys."""
        client = getattr(self.installation, region).client()
        damaged = [key for key in self.objects(region) if key.endswith(ending)]
        for key in damaged:
            place = {"Bucket": BUCKET, "Key": f"{self.name}/{key}"}
            data = bytearray(client.get_object(**place)["Body"].read())
            data[len(data) // 2] ^= 1
            client.put_object(**place, Body=bytes(data))
        client.close()
        return damaged


def insert_order(conn: psycopg.Connection[Any]) -> int:
    """Insert one order and one visit of its id; return the id once it is committed."""
    row = conn.execute(
        "with o as (insert into orders default values returning id),"
        " v as (insert into visits (what) select id from o) select id from o"
    ).fetchone()
    assert row is not None
    return int(row[0])
