"""A PostgreSQL server in one folder, ready for logical decoding."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from include.respaldo.connections import Connection

SETTINGS: dict[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "250",
    "max_wal_senders": "50",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_line_prefix": "%m [%p] %d ",
    "lc_messages": "C",
}
START_LIMIT = 60


class PostgresServer:
    """A server whose data, log and password lie in `folder`; listens on 127.0.0.1 only.

    PostgreSQL refuses to run as root: then it runs as the system's user ``postgres``.

    :param port: None takes a free one, and keeps it over restarts.
    :param settings: further lines of postgresql.conf; they win over those here.
    :param durable: False turns fsync off: faster, and lost with the machine's power.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        bin_dir: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        max_slot_wal_keep_size: str = "2GB",
        durable: bool = True,
    ) -> None:
        self.folder = folder.resolve()
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.bin_dir = bin_dir or find_bin_dir()
        self._wanted_port = port
        self.settings = SETTINGS | {"max_slot_wal_keep_size": max_slot_wal_keep_size}
        if not durable:
            # not synchronous_commit: decoding reads only what was flushed
            self.settings |= {"fsync": "off", "full_page_writes": "off"}
        self.settings |= dict(settings or {})

    @classmethod
    def attach(cls, folder: Path, bin_dir: Path | None = None) -> PostgresServer:
        """Return the server of a folder made before, running or not; its settings stay."""
        server = cls(folder, bin_dir=bin_dir)
        if not (server.data / "PG_VERSION").exists():
            raise FileNotFoundError(f"no server in {folder}")
        server.settings = {}
        for line in (server.data / "respaldo.conf").read_text().splitlines():
            name, _, value = line.partition(" = ")
            server.settings[name] = value.removeprefix("'").removesuffix("'").replace("''", "'")
        return server

    @property
    def port(self) -> int:
        return int(self.settings["port"])

    @property
    def password(self) -> str:
        return (self.folder / "password").read_text()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None when it does not run."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if _alive(pid) and self._is_postmaster(pid) else None

    def _is_postmaster(self, pid: int) -> bool:
        """Return whether the process serves this folder; the file outlives a crashed machine."""
        try:
            return os.fsencode(self.data) in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def bin(self, name: str) -> str:
        """Return the path of one of this server's programs: ``pg_dump``, ``pgbench`` …"""
        return str(self.bin_dir / name)

    # -- life ---------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the cluster (initdb); nothing to do where it was made before."""
        if (self.data / "PG_VERSION").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, *_account())
        password = self.folder / "password"
        password.touch(0o600)
        password.write_text(secrets.token_urlsafe(24))
        if os.geteuid() == 0:
            shutil.chown(password, *_account())
        self._run([
            self.bin("initdb"),
            f"--pgdata={self.data}",
            "--username=postgres",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            *([] if self.settings.get("fsync") != "off" else ["--no-sync"]),
        ])
        self.settings["port"] = str(self._wanted_port or free_port())
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write("\ninclude 'respaldo.conf'\n")
        self.configure()

    def configure(self, **settings: str) -> None:
        """Change settings; they count from the next start (or reload) on."""
        self.settings |= settings
        quoted = {name: value.replace("'", "''") for name, value in self.settings.items()}
        lines = [f"{name} = '{value}'" for name, value in quoted.items()]
        conf = self.data / "respaldo.conf"
        conf.write_text("\n".join(lines) + "\n")
        if os.geteuid() == 0:
            shutil.chown(conf, *_account())

    def start(self) -> PostgresServer:
        """Start it, made first if need be; returns once it accepts connections."""
        self.create()
        if self.pid is None:
            self._pg_ctl("start", f"--log={self.log}", "--wait", f"--timeout={START_LIMIT}")
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast``, ``immediate`` (like a crash of the machine) or ``smart``."""
        if self.pid is not None:
            self._pg_ctl("stop", f"--mode={mode}", "--wait", f"--timeout={START_LIMIT}")

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill9(self) -> None:
        """Kill the postmaster and its children as a crash would; returns once they are gone."""
        pid = self.pid
        if pid is None:
            return
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for process in (pid, *map(int, children)):
            while _alive(process):
                time.sleep(0.01)
        # in a container nobody may reap the dead: the next start would think that it lives
        (self.data / "postmaster.pid").unlink()

    def __enter__(self) -> PostgresServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")

    # -- use ----------------------------------------------------------------------------------

    def connection(self, database: str = "postgres", conn_id: str = "pg_test") -> Connection:
        """Return the superuser's connection, as Airflow would keep it."""
        return Connection(
            conn_id=conn_id,
            conn_type="postgres",
            host="127.0.0.1",
            port=self.port,
            login="postgres",
            password=self.password,
            schema=database,
        )

    def connection_uri(self, database: str = "postgres") -> str:
        """Return the value of an ``AIRFLOW_CONN_…`` variable; holds the password."""
        return (
            f"postgres://postgres:{quote(self.password, safe='')}"
            f"@127.0.0.1:{self.port}/{quote(database, safe='')}"
        )

    def connect(self, database: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        """Return an autocommit connection with the server's own defaults, as an application's."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            dbname=database,
            autocommit=True,
            **{"user": "postgres", "password": self.password} | more,
        )

    def execute(
        self, query: Any, database: str = "postgres", parameters: Sequence[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run statements in a connection of their own; return the rows of the last, if any."""
        with self.connect(database) as conn:
            cursor = conn.execute(query, parameters)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def psql(self, script: str, database: str = "postgres") -> str:
        """Run a script through psql, stopping at the first error; return what it printed."""
        return self._run(
            [self.bin("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            script=script,
            env=self.environment(database),
        )

    def environment(self, database: str = "postgres") -> dict[str, str]:
        """Return the environment in which PostgreSQL's programs find this server."""
        return os.environ | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
        }

    def _pg_ctl(self, action: str, *options: str) -> None:
        self._run([self.bin("pg_ctl"), action, f"--pgdata={self.data}", "--silent", *options])

    def _run(
        self, argv: list[str], *, script: str | None = None, env: Mapping[str, str] | None = None
    ) -> str:
        """Run a program as the server's account.

        Output goes through files: a postmaster that pg_ctl leaves behind would hold a pipe open.
        """
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            user, group = _account()
            account = {"user": user, "group": group, "extra_groups": []}
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                argv,
                input=script,
                stdin=subprocess.DEVNULL if script is None else None,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                cwd=self.folder,
                env=dict(env or os.environ),
                **account,
            )
            out.seek(0)
            text = out.read()
        if done.returncode:
            log = self.log.read_text()[-2000:] if self.log.exists() else ""
            raise RuntimeError(f"{Path(argv[0]).name} ended with {done.returncode}:\n{text}\n{log}")
        return text


def _account() -> tuple[str, str]:
    """Return the unprivileged user and group that a server started by root runs as."""
    entry = pwd.getpwnam("postgres")
    return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name


def _alive(pid: int) -> bool:
    """Return whether a process runs; one that ended and was not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def find_bin_dir() -> Path:
    """Return the folder of the newest PostgreSQL server installed here."""
    found = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda p: float(p.parent.name))
    if config := shutil.which("pg_config"):
        bin_dir = Path(subprocess.check_output([config, "--bindir"], text=True).strip())
        if (bin_dir / "initdb").exists():
            return bin_dir
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    raise FileNotFoundError("no PostgreSQL server is installed: apt-get install postgresql")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
