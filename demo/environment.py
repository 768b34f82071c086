"""Everything that runs in the demo: PostgreSQL, two regions of S3, Airflow, and the writers."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from pathlib import Path

from demo import place
from demo.erp.tenants import SYSTEM_DATABASE, TENANTS, create_system_database, create_tenant
from demo.web.server import KEPT, NAME, SPARE
from embedded.airflow import AirflowServer
from embedded.host import EmbeddedHostUnavailable, Host
from embedded.installation import SERVER, Installation
from embedded.postgres import PostgresServer, free_port
from embedded.process import Process
from embedded.s3 import S3Server
from include.respaldo.connections import Connection

#: transactions a second, each tenant
RATE = 4.0
_AIRFLOW_DATABASE = "airflow"
#: quicker than the defaults, so that nobody waits; see respaldo.example.yaml for what that costs
_QUERY_LOG = {"segment_age": "2s", "coverage_interval": "5s", "idle_after": "1min"}
#: what people expect; another one where somebody listens there already
AIRFLOW_PORT, POSTGRES_PORT = 8080, 55432


class Environment:
    """The servers of the demo, made or found again in one folder; all outlive this Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = _postgres(folder / "postgres")
        self.hosts = {name: Host(folder / name, name, detached=True) for name in (NAME, SPARE)}
        #: why there are no hosts; "": there are
        self.no_hosts = ""
        self._airflow: AirflowServer | None = None
        self.installation = self._installation()

    def _installation(self) -> Installation:
        return Installation(
            self.folder,
            postgres=self.postgres,
            detached=True,
            hosts={} if self.no_hosts else self.hosts,
            settings={
                "system_database": {"server": SERVER, "name": SYSTEM_DATABASE},
                "query_log": _QUERY_LOG,
                **({} if self.no_hosts else KEPT),
            },
        )

    # -- PostgreSQL and S3 ----------------------------------------------------------------------

    def start_servers(self) -> None:
        """Start PostgreSQL and both regions, and write the configuration."""
        for name in ("eu", "us", "landing", "scratch", "airflow", "writers"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        self.postgres.start()
        self._start_hosts()
        self.installation.start()

    def _start_hosts(self) -> None:
        """Start the two hosts; where none can be had, go on without."""
        try:
            for host in self.hosts.values():
                host.start()
        except EmbeddedHostUnavailable as error:
            self.no_hosts = str(error)
            self.installation = self._installation()

    @property
    def connection(self) -> Connection:
        """The ERP's way into the server."""
        return self.postgres.connection(conn_id="respaldo_pg1")

    def create_tenants(self) -> list[str]:
        """Make what is missing of the tenants and the vendor's database; return what was made."""
        made = [name for name in TENANTS if create_tenant(self.connection, name)]
        if create_system_database(self.connection):
            made.append(SYSTEM_DATABASE)
        return made

    # -- writers --------------------------------------------------------------------------------

    def start_writers(self) -> int:
        """Start a writer for each tenant that has none; return how many write now."""
        for number, name in enumerate(TENANTS):
            known = Process.load(self._writer_file(number))
            if known is not None and known.running:
                continue
            process = Process.spawn(
                [sys.executable, "-m", "demo.erp.writer", "--database", name, "--rate", str(RATE)],
                log=self.folder / "writers" / f"{number}.log",
                env=os.environ | self.installation.environment() | {"PYTHONPATH": str(place.ROOT)},
                detached=True,
            )
            process.save(self._writer_file(number))
        return len(TENANTS)

    def stop_writers(self) -> None:
        """Stop the writers that were started here."""
        found = [(n, Process.load(self._writer_file(n))) for n in range(len(TENANTS))]
        for _, process in found:
            if process is not None:
                process.terminate()
        for number, process in found:
            if process is not None:
                process.stop()
            self._writer_file(number).unlink(missing_ok=True)

    def _writer_file(self, number: int) -> Path:
        return self.folder / "writers" / f"{number}.pid.json"

    # -- Airflow --------------------------------------------------------------------------------

    @property
    def airflow(self) -> AirflowServer:
        """Airflow, with its metadata in a database of the same PostgreSQL server."""
        if self._airflow is None:
            folder = self.folder / "airflow"
            try:
                saved = AirflowServer.attach(folder)
                port = saved.port if saved.running else _free(saved.port)
            except FileNotFoundError:
                port = _free(AIRFLOW_PORT)
            self._airflow = AirflowServer(
                folder,
                port,
                env=self.installation.environment(),
                database=self.postgres.connection_uri(_AIRFLOW_DATABASE),
            )
        return self._airflow

    def start_airflow(self) -> None:
        """Start Airflow; returns once all its parts are healthy."""
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if not self.postgres.execute(query, parameters=[_AIRFLOW_DATABASE]):
            self.postgres.execute(f"CREATE DATABASE {_AIRFLOW_DATABASE}")
        self.airflow.start()

    # -- all of it ------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop everything that was started here, and nothing else."""
        self.stop_writers()
        if (self.folder / "airflow" / "server.json").exists():
            AirflowServer.attach(self.folder / "airflow").stop()
        for region in ("eu", "us"):
            if (self.folder / region / "server.json").exists():
                S3Server.attach(self.folder / region).stop()
        for host in self.hosts.values():
            host.stop()
        if (self.postgres.data / "PG_VERSION").exists():
            self.postgres.stop()

    @property
    def env_file(self) -> Path:
        """Source it to use the command line and psql."""
        return self.folder / "env.sh"

    def write_env_file(self) -> None:
        """Write the environment of the command line, for its owner's eyes only."""
        variables = self.installation.environment() | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.postgres.port),
            "PGUSER": "postgres",
            "PGPASSWORD": self.postgres.password,
            "PYTHONPATH": str(place.ROOT),
        }
        lines = ["# The demo's own servers. Holds passwords."]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        first, last = Path(sys.executable).parent, self.postgres.bin_dir
        lines.append(f'export PATH={shlex.quote(str(first))}:"$PATH":{shlex.quote(str(last))}')
        self.env_file.touch(0o600)
        self.env_file.chmod(0o600)
        self.env_file.write_text("\n".join(lines) + "\n")

    def addresses(self) -> list[tuple[str, str]]:
        """Return where to look: name and address."""
        passwords = self.folder / "airflow" / "passwords.json"
        return [
            ("Airflow", f"{self.airflow.url}   user admin, password in {passwords}"),
            ("", f"{self.airflow.url}/dags/restore_tenant_database   the form: Trigger"),
            ("command line", f". {self.env_file} && python -m include.respaldo check"),
            ("PostgreSQL", f". {self.env_file} && psql tenant_acme"),
            ("vaults", f"{self.installation.primary.folder}/objects (primary), "
             f"{self.installation.replica.folder}/objects (replica)"),
            ("logs", f"{self.folder}/*/*.log, {self.folder}/airflow/logs"),
        ]  # fmt: skip


def _postgres(folder: Path) -> PostgresServer:
    try:
        return PostgresServer.attach(folder)
    except FileNotFoundError:
        return PostgresServer(folder, _free(POSTGRES_PORT))


def _free(wanted: int) -> int:
    """Return the port, or another one where somebody listens on it."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted
