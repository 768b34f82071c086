"""One region of an S3 service: a ministack process over one folder."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from embedded.postgres import free_port
from embedded.process import Process, wait_until

START_LIMIT = 60


class S3Server:
    """A region whose objects and log lie in `folder`; listens on 127.0.0.1 only.

    :param port: None takes a free one, and keeps it over restarts.
    :param detached: it outlives the Python that started it; `attach` finds it again.
    """

    health = "/_ministack/health"

    def __init__(
        self,
        folder: Path,
        region: str = "eu-west-1",
        port: int | None = None,
        *,
        detached: bool = False,
    ) -> None:
        self.folder = folder.resolve()
        self.region = region
        self.port = port or self._settings().get("port") or free_port()
        self.detached = detached
        self.log = self.folder / "server.log"

    @classmethod
    def attach(cls, folder: Path) -> Self:
        """Return the server of a folder where one was started before, running or not."""
        server = cls(folder, detached=True)
        settings = server._settings()
        if not settings:
            raise FileNotFoundError(f"no server was started in {folder}")
        server.region = settings["region"]
        return server

    @property
    def access_key(self) -> str:
        return "respaldo"

    @property
    def secret_key(self) -> str:
        return "respaldo-local"  # it checks no credentials

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        process = Process.load(self._pid_file)
        return process.pid if process and process.running else None

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it; returns once it answers. Nothing to do where it runs already."""
        if self.pid is not None:
            return self
        for name in ("objects", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._settings_file.write_text(json.dumps({"port": self.port, "region": self.region}))
        process = Process.spawn(
            self._command(),
            log=self.log,
            env=self._environment(),
            detached=self.detached,
        )
        process.save(self._pid_file)
        ready = wait_until(lambda: self._answers() or not process.running, START_LIMIT)
        if not ready or not process.running:
            process.stop()
            raise RuntimeError(f"the S3 server did not start:\n{self.log.read_text()[-2000:]}")
        for bucket in self._forgotten():
            self.create_bucket(bucket)
        return self

    def stop(self) -> None:
        """Stop it; the objects stay, open multipart uploads do not."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- use ----------------------------------------------------------------------------------

    def client(self) -> Any:
        """Return a boto3 client of this server."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    def create_bucket(self, name: str) -> None:
        """Make a bucket; nothing to do where it is there."""
        client = self.client()
        if name not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(
                Bucket=name, CreateBucketConfiguration={"LocationConstraint": self.region}
            )
        client.close()

    def connection_uri(self) -> str:
        """Return the value of an ``AIRFLOW_CONN_…`` variable."""
        extras = urlencode({"endpoint_url": self.endpoint_url, "region_name": self.region})
        key, secret = quote(self.access_key, safe=""), quote(self.secret_key, safe="")
        return f"aws://{key}:{secret}@/?{extras}"

    # -- inside -------------------------------------------------------------------------------

    @property
    def _pid_file(self) -> Path:
        return self.folder / "server.pid"

    @property
    def _settings_file(self) -> Path:
        return self.folder / "server.json"

    def _settings(self) -> dict[str, Any]:
        try:
            settings: dict[str, Any] = json.loads(self._settings_file.read_text())
        except (OSError, ValueError):
            return {}
        return settings

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "ministack"]

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MINISTACK_"))}
        return kept | {
            "BIND_HOST": "127.0.0.1",  # its default is every interface
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_REGION": self.region,
            "SERVICES": "s3",
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.folder / "objects"),
            "TMPDIR": str(self.folder / "tmp"),
            "LOG_LEVEL": "WARNING",
            "SFTP_ENABLED": "0",  # it would listen on further ports
            "IOT_MTLS_ENABLED": "0",
            # at its end it stops the containers of a Docker that it finds
            "DOCKER_HOST": f"unix://{self.folder}/no-docker.sock",
        }

    def _forgotten(self) -> list[str]:
        """Return the empty buckets: ministack does not load them."""
        found = (self.folder / "objects").glob("*/*")
        return [path.name for path in found if path.is_dir() and not any(path.iterdir())]

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _end(self, how: signal.Signals) -> None:
        process = Process.load(self._pid_file)
        if process:
            process.stop(how)
        self._pid_file.unlink(missing_ok=True)
