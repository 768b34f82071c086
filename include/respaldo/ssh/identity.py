"""Our key, where ssh finds it: a private file, or an agent of our own when it has a passphrase."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from include.respaldo.connections import Connection
from include.respaldo.errors import ConfigurationError
from include.respaldo.ssh.keys import passphrase_of, private_key_of

_AGENT_LIMIT = 10
_LIMIT = 30
#: answers once: ssh-add asks again and again while the answer is wrong
_ASKPASS = """\
#!/bin/sh
cd "${0%/*}" && cat passphrase && rm -f passphrase
"""


class Identity:
    """A connection's key within a private folder, until `close`.

    :raises ConfigurationError: it is no key, or its passphrase is missing or wrong.
    """

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._where = f"connection {connection.conn_id!r}"
        self._folder = folder
        self._agent: subprocess.Popen[bytes] | None = None
        #: what ssh is told to use: the key, or its public part where an agent holds the key
        self.file = folder / "key"
        _write_private(self.file, private_key_of(connection))
        done = self._ssh_keygen("-y", "-P", "", "-f", str(self.file))
        if done.returncode == 0:
            self.public_key = _public_part(done.stdout)
            return
        if b"passphrase" not in done.stderr:
            raise ConfigurationError(
                f"{self._where}: its private key is not one that OpenSSH can read",
                hint="paste the whole file, from '-----BEGIN' to the last '-----', line ends "
                "included; convert a PuTTY key first (puttygen key.ppk -O private-openssh-new)",
            )
        passphrase = passphrase_of(connection)
        if passphrase is None:
            raise ConfigurationError(
                f"{self._where}: its private key has a passphrase, and the connection does not",
                hint="put it into the extra 'private_key_passphrase'",
            )
        try:
            self._hand_to_agent(passphrase)
        except BaseException:
            self.close()
            raise

    @property
    def agent(self) -> Path | None:
        """The socket of the agent that holds the key; None where the file is all."""
        return self._folder / "agent" if self._agent else None

    def close(self) -> None:
        """End the agent, if there is one; the folder is its owner's to remove."""
        if self._agent is not None:
            self._agent.terminate()
            self._agent.wait()

    def _hand_to_agent(self, passphrase: str) -> None:
        socket = self._folder / "agent"
        self._agent = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(socket)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + _AGENT_LIMIT
        while not socket.exists():
            if self._agent.poll() is not None or time.monotonic() > end:
                raise ConfigurationError(
                    "ssh-agent does not start here; a key with a passphrase needs it",
                    hint="see that openssh-client is whole and TMPDIR's path is short; or use a "
                    "key without a passphrase",
                )
            time.sleep(0.01)
        askpass = self._folder / "askpass"
        askpass.write_text(_ASKPASS)
        askpass.chmod(0o700)
        _write_private(self._folder / "passphrase", passphrase.encode() + b"\n")
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "SSH_AUTH_SOCK": str(socket),
            "SSH_ASKPASS": str(askpass),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": "none",
        }
        try:
            done = self._run(["ssh-add", "-q", str(self.file)], env)
            listed = self._run(["ssh-add", "-L"], env)
        finally:
            for name in ("passphrase", "askpass", "key"):
                (self._folder / name).unlink(missing_ok=True)
        if done.returncode or listed.returncode:
            raise ConfigurationError(
                f"{self._where}: its private_key_passphrase does not open its private key",
                hint="correct the extra 'private_key_passphrase'",
            )
        self.public_key = _public_part(listed.stdout)
        self.file = self._folder / "key.pub"
        self.file.write_text(self.public_key + "\n")

    def _ssh_keygen(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return self._run(["ssh-keygen", *arguments], {"PATH": os.environ.get("PATH", os.defpath)})

    def _run(self, argv: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=env | {"LC_ALL": "C.UTF-8"},
            timeout=_LIMIT,
            check=False,
            start_new_session=True,  # no terminal to ask at
        )


def _write_private(path: Path, data: bytes) -> None:
    path.touch(0o600, exist_ok=False)
    path.write_bytes(data)


def _public_part(text: bytes) -> str:
    return " ".join(text.decode(errors="replace").split()[:2])
