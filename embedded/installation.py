"""A whole installation in one folder: a PostgreSQL server, two regions of S3, a configuration."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from embedded.host import Host
from embedded.postgres import PostgresServer
from embedded.s3 import S3Server
from include.respaldo.config import load_config
from include.respaldo.connections import Connection, from_environment
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.ports import Progress

BUCKET = "respaldo"
SERVER = "pg1"
#: sections of the configuration whose sources lie in encrypted repositories
_TREES = frozenset({"files", "applications", "server_configuration"})


class Installation:
    """All that Respaldo needs to run for real, on 127.0.0.1, in a folder that can be deleted.

    :param postgres: a server to protect; None makes one in the folder.
    :param tenants: what the configuration says of how tenants are discovered.
    :param settings: further settings of the configuration, by section: also `files`,
        `applications` and `server_configuration`, which get a repository with its own password.
    :param hosts: hosts that the configuration names, as it names them; whoever made them starts
        and stops them.
    :param connections: further connections, id -> URI or JSON.
    """

    def __init__(
        self,
        folder: Path,
        *,
        postgres: PostgresServer | None = None,
        tenants: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        hosts: Mapping[str, Host] | None = None,
        connections: Mapping[str, str] | None = None,
        detached: bool = False,
    ) -> None:
        self.folder = folder.resolve()
        self.postgres = postgres or PostgresServer(self.folder / "postgres")
        self._owns_postgres = postgres is None
        self.primary = S3Server(self.folder / "eu", "eu-west-1", detached=detached)
        self.replica = S3Server(self.folder / "us", "us-east-2", detached=detached)
        self._tenants = dict(tenants or {"pattern": "tenant_*"})
        self._settings = dict(settings or {})
        self.hosts = dict(hosts or {})
        self._connections = dict(connections or {})

    @property
    def config_path(self) -> Path:
        return self.folder / "respaldo.yaml"

    @property
    def repository_password(self) -> str:
        """What encrypts the repositories; made once, and kept in the folder."""
        file = self.folder / "repository-password"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            file.touch(0o600)
            file.write_text(secrets.token_urlsafe(24))
        return file.read_text()

    def start(self) -> Installation:
        """Start what does not run, and write the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._owns_postgres:
            self.postgres.start()
        for region in (self.primary, self.replica):
            region.start()
            region.create_bucket(BUCKET)
        self.config_path.write_text(yaml.safe_dump(self._config(), allow_unicode=True))
        return self

    def stop(self) -> None:
        """Stop what was started here."""
        for region in (self.primary, self.replica):
            region.stop()
        if self._owns_postgres:
            self.postgres.stop()

    def __enter__(self) -> Installation:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """Return the variables that tell the command line and Airflow where everything is."""
        return {
            "RESPALDO_CONFIG": str(self.config_path),
            "AIRFLOW_CONN_RESPALDO_PG1": self.postgres.connection_uri(),
            "AIRFLOW_CONN_RESPALDO_VAULT_PRIMARY": self.primary.connection_uri(),
            "AIRFLOW_CONN_RESPALDO_VAULT_REPLICA": self.replica.connection_uri(),
            "AIRFLOW_CONN_RESPALDO_REPOSITORY": json.dumps({
                "conn_type": "generic",
                "password": self.repository_password,
            }),
            **{
                f"AIRFLOW_CONN_{_connection_of(name).upper()}": host.connection_uri()
                for name, host in self.hosts.items()
            },
            **{f"AIRFLOW_CONN_{name.upper()}": uri for name, uri in self._connections.items()},
        }

    def deployment(self, progress: Progress | None = None) -> Deployment:
        """Return a fresh deployment, as a new process would make it."""
        environ = self.environment()

        def lookup(conn_id: str) -> Connection:
            return from_environment(conn_id, environ)

        return Deployment(load_config(self.config_path), lookup, progress=progress)

    def _config(self) -> dict[str, Any]:
        hosts = [{"name": name, "connection": _connection_of(name)} for name in self.hosts]
        return {
            "vaults": {
                "primary": {"uri": f"s3://{BUCKET}/eu", "connection": "respaldo_vault_primary"},
                "replica": {"uri": f"s3://{BUCKET}/us", "connection": "respaldo_vault_replica"},
            },
            "landing_zone": (self.folder / "landing").as_uri(),
            "scratch": str(self.folder / "scratch"),
            "time_zone": "Europe/Madrid",
            "servers": [{"name": SERVER, "connection": "respaldo_pg1", "tenants": self._tenants}],
            **({"hosts": hosts} if hosts else {}),
            **(
                {"repository": {"connection": "respaldo_repository"}}
                if _TREES & set(self._settings)
                else {}
            ),
            **self._settings,
        }


def _connection_of(host: str) -> str:
    """Return the id of a host's connection."""
    return f"respaldo_{host}"
