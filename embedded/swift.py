"""A second, independent S3 service: OpenStack Swift, for the vaults' contract tests.

It checks credentials, signatures, SHA-256 of what it receives, and ``If-None-Match``. Its
packages (eventlet among them) live in a virtual environment of their own.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

from embedded.s3 import S3Server

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).with_name("swift-requirements.txt")
VARIABLE = "RESPALDO_SWIFT_PYTHON"


class SwiftServer(S3Server):
    """A region served by Swift; all of it lies in `folder`, whose file system needs xattrs."""

    health = "/healthcheck"

    @property
    def access_key(self) -> str:
        return self._credentials()["access_key"]

    @property
    def secret_key(self) -> str:
        return self._credentials()["secret_key"]

    def _command(self) -> list[str]:
        self._credentials()
        try:
            os.setxattr(self.folder, "user.respaldo", b"1")
        except OSError as e:
            raise RuntimeError(
                f"Swift needs a file system with extended attributes at {self.folder}: {e}"
            ) from e
        server = Path(__file__).with_name("swift_server.py")
        # isolated: beside that script lies a module of the name "swift", this one
        python = [str(python_with_swift()), "-I", "-W", "ignore"]
        return [*python, str(server), str(self.folder)]

    def _environment(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def _forgotten(self) -> list[str]:
        return []

    def _credentials(self) -> dict[str, str]:
        file = self.folder / "credentials.json"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            file.touch(0o600)
            file.write_text(
                json.dumps({
                    "access_key": "respaldo:archiver",
                    "secret_key": secrets.token_urlsafe(24),
                })
            )
        found: dict[str, str] = json.loads(file.read_text())
        return found


def python_with_swift() -> Path:
    """Return the Python of Swift's virtual environment, which is made where it is missing.

    ``RESPALDO_SWIFT_PYTHON`` names one that exists already.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    home = ROOT / ".venv-swift"
    stamp = home / "requirements.txt"
    python = home / "bin" / "python"
    home.mkdir(exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS],
                check=True,
            )
            stamp.write_text(REQUIREMENTS.read_text())
    return python
