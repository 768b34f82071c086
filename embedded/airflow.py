"""Airflow in one folder: API server, scheduler, DAG processor and triggerer on 127.0.0.1."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from embedded.airflow_client import AirflowClient
from embedded.postgres import free_port
from embedded.process import Process, wait_until

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT = 120
#: none of them serves logs over a port of its own: the API server reads the folder
COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


class AirflowServer:
    """An Airflow whose settings, secrets, logs and process ids lie in `folder`.

    It loads the DAGs and plugins of this project only; signing in needs a password.

    :param port: of the API server and the web pages; None takes a free one and keeps it.
    :param env: further environment, such as ``RESPALDO_CONFIG`` and ``AIRFLOW_CONN_…``.
    :param database: ``postgresql://…`` of the metadata; None keeps it in a SQLite file.
    :param users: name -> role (``admin``, ``op``, ``user``, ``viewer``); tasks use the first one to
        write the notes of their runs.
    :param parallelism: tasks that run at the same time.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        *,
        database: str | None = None,
        users: Mapping[str, str] | None = None,
        parallelism: int = 4,
    ) -> None:
        self.folder = folder.resolve()
        self._port = port
        self._env = dict(env or {})
        self._database = database
        self._users = dict(users or {"admin": "admin"})
        self._parallelism = parallelism

    @classmethod
    def attach(cls, folder: Path) -> AirflowServer:
        """Return the Airflow of a folder where one was started before, running or not."""
        server = cls(folder)
        if not server._settings_file.exists():
            raise FileNotFoundError(f"no Airflow was started in {folder}")
        saved = json.loads(server._settings_file.read_text())
        server._port, server._env = saved["port"], saved["env"]
        server._database, server._users = saved["database"], saved["users"]
        server._parallelism = saved["parallelism"]
        return server

    @property
    def port(self) -> int:
        if self._port is None:
            self._port = free_port()
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether all four components run."""
        return all((p := self._process(name)) is not None and p.running for name in COMPONENTS)

    def password(self, user: str = "admin") -> str:
        """Return a user's password, made at the first start."""
        return str(json.loads(self._passwords_file.read_text())[user])

    def client(self, user: str = "admin") -> AirflowClient:
        """Return a client of the REST API, signed in as that user."""
        return AirflowClient(self.url, user, self.password(user))

    def connection_uri(self, user: str = "admin") -> str:
        """Return the value of an ``AIRFLOW_CONN_…`` variable that leads to this API."""
        return f"http://{quote(user)}:{quote(self.password(user))}@127.0.0.1:{self.port}"

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> AirflowServer:
        """Start what does not run; returns once all components say that they are healthy."""
        if self.running:
            return self
        self.stop()
        self._write_settings()
        environment = self.environment()
        self._migrate(environment)
        for name, command in COMPONENTS.items():
            process = Process.spawn(
                [sys.executable, "-m", "airflow", *command],
                log=self.folder / f"{name}.log",
                env=environment,
                detached=True,  # a session of its own: what it forks can be found and ended
            )
            process.save(self._pid_file(name))
        if not wait_until(lambda: self._dead() is not None or self._healthy(), START_LIMIT):
            problem = f"Airflow was not healthy after {START_LIMIT} s"
            self.stop()
            raise RuntimeError(problem)
        if (dead := self._dead()) is not None:
            log = (self.folder / f"{dead}.log").read_text()[-3000:]
            self.stop()
            raise RuntimeError(f"Airflow's {dead} ended:\n{log}")
        return self

    def stop(self) -> None:
        """End all components and what they forked; folder and metadata stay."""
        found = {name: p for name in COMPONENTS if (p := self._process(name)) is not None}
        members = {m for p in found.values() if p.running for m in p.session()}
        for process in found.values():
            process.terminate()
        end = time.monotonic() + 10
        for process in found.values():
            process.stop(within=max(0.1, end - time.monotonic()))
        for member in members:
            member.stop(within=1)
        for name in found:
            self._pid_file(name).unlink(missing_ok=True)

    def __enter__(self) -> AirflowServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- inside -------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Return the environment of every component; holds secrets."""
        kept = {
            name: value
            for name, value in os.environ.items()
            # without .pyc files every command starts three times slower
            if not name.startswith("AIRFLOW") and name != "PYTHONDONTWRITEBYTECODE"
        }
        settings = {
            "CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": str(self._parallelism),
            "CORE__FERNET_KEY": self._secret("fernet.key", _fernet_key),
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(
                f"{name}:{role}" for name, role in self._users.items()
            ),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._passwords_file),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.port),
            "API__BASE_URL": self.url,
            "API__SECRET_KEY": self._secret("api.key", secrets.token_hex),
            "API_AUTH__JWT_SECRET": self._secret("jwt.key", secrets.token_hex),
            "DATABASE__SQL_ALCHEMY_CONN": self._sqlalchemy_uri(),
            "LOGGING__BASE_LOG_FOLDER": str(self.folder / "logs"),
            "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(
                self.folder / "logs" / "dag_processor"
            ),
            # a new or changed DAG file is seen at once, not after 5 minutes
            "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        return {
            **kept,
            "AIRFLOW_HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            # with which tasks write the notes of their runs
            "AIRFLOW_CONN_RESPALDO_AIRFLOW": self.connection_uri(next(iter(self._users))),
            "NO_PROXY": "127.0.0.1,localhost",
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            **self._env,
        }

    def _migrate(self, environment: Mapping[str, str]) -> None:
        log = self.folder / "migrate.log"
        with log.open("wb") as out:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(environment),
                cwd=self.folder,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"airflow db migrate failed:\n{log.read_text()[-3000:]}")

    def _healthy(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5, trust_env=False)
            health: dict[str, Any] = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return False
        return all(
            (health.get(part) or {}).get("status") == "healthy"
            for part in ("metadatabase", "scheduler", "triggerer", "dag_processor")
        )

    def _dead(self) -> str | None:
        for name in COMPONENTS:
            process = self._process(name)
            if process is None or not process.running:
                return name
        return None

    def _process(self, name: str) -> Process | None:
        return Process.load(self._pid_file(name))

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"{name}.pid.json"

    @property
    def _settings_file(self) -> Path:
        return self.folder / "server.json"

    @property
    def _passwords_file(self) -> Path:
        return self.folder / "passwords.json"

    def _sqlalchemy_uri(self) -> str:
        if self._database is None:
            return f"sqlite:///{self.folder}/airflow.db"
        scheme, _, rest = self._database.partition("://")
        if scheme not in {"postgres", "postgresql"}:
            raise ValueError("the metadata database is given as postgresql://…")
        return f"postgresql+psycopg2://{rest}"

    def _write_settings(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        passwords = json.loads(_read(self._passwords_file) or "{}")
        for user in self._users:
            passwords.setdefault(user, secrets.token_urlsafe(12))
        _write_private(self._passwords_file, json.dumps(passwords))
        saved = {
            "port": self.port,
            "env": self._env,
            "database": self._database,
            "users": self._users,
            "parallelism": self._parallelism,
        }
        _write_private(self._settings_file, json.dumps(saved))

    def _secret(self, name: str, make: Callable[[], str]) -> str:
        file = self.folder / name
        found = _read(file)
        if found is None:
            found = make()
            _write_private(file, found)
        return found


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _read(file: Path) -> str | None:
    return file.read_text() if file.exists() else None


def _write_private(file: Path, text: str) -> None:
    file.touch(0o600)
    file.chmod(0o600)
    file.write_text(text)
