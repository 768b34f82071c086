"""One host over SSH: commands are run there, and rsync finds its way."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from include.respaldo.connections import Connection
from include.respaldo.errors import (
    ConfigurationError,
    HostUnreachable,
    RespaldoError,
    ToolFailed,
)
from include.respaldo.ssh.failures import SSH_FAILED, failure
from include.respaldo.ssh.identity import Identity
from include.respaldo.ssh.keys import host_key_of

#: what ssh and rsync call the host; its real name stands in the private configuration only
ALIAS = "respaldo"
_HOST = re.compile(r"[A-Za-z0-9_.:%][A-Za-z0-9_.:%-]*")
_LOGIN = re.compile(r"[^\s\"'\\%$\x00-\x20-][^\s\"'\\%$\x00-\x20]*")
_LAST_LINES = 20

_CONFIG = """\
Host {alias}
  HostName {host}
  Port {port}
  User {login}
  IdentitiesOnly yes
  IdentityFile {identity}
  IdentityAgent {agent}
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile none
  HostKeyAlias {alias}
  HostKeyAlgorithms {algorithms}
  StrictHostKeyChecking yes
  UpdateHostKeys no
  PreferredAuthentications publickey
  BatchMode yes
  ConnectTimeout {timeout}
  ServerAliveInterval 15
  ServerAliveCountMax 4
  ForwardAgent no
  ForwardX11 no
  ClearAllForwardings yes
  RequestTTY no
  LogLevel INFO
"""


@dataclass(frozen=True)
class Finished:
    """What a command left."""

    stdout: bytes
    stderr: bytes
    returncode: int

    @property
    def text(self) -> str:
        """What it printed; a byte that is no UTF-8 is a surrogate."""
        return os.fsdecode(self.stdout)

    @property
    def said(self) -> str:
        """The last lines of what it complained of, for people."""
        lines = self.stderr.decode(errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])


class SshHost:
    """A host and how it is entered; leaving the ``with`` block removes all traces of its key.

    The connection says host, port (22) and login; its extras `private_key` or `key_file`,
    `private_key_passphrase` and `host_key`, named as Airflow's SSH provider names them. The
    account's shell must be a POSIX shell. Settings of the user's or the system's ssh do not count.
    """

    def __init__(self, connection: Connection, connect_timeout: int = 10) -> None:
        self.connection = connection
        self._connect_timeout = connect_timeout
        self._numbers = count(1)
        host, login = connection.host or "", connection.login or ""
        for what, value, form in (("host", host, _HOST), ("login", login, _LOGIN)):
            if form.fullmatch(value) is None:
                raise ConfigurationError(
                    f"connection {connection.conn_id!r} has no {what} that ssh could take: "
                    f"found {value!r}",
                    hint=f"set the {what} of the connection",
                )
        self.host_key = host_key_of(connection)

    @classmethod
    def of(cls, connection: Connection) -> Self:
        """Return the host of a connection, to be entered with ``with``; nothing is sent yet.

        :raises ConfigurationError: the connection does not say enough, or asks not to check who
            answers.
        """
        return cls(connection)

    @property
    def name(self) -> str:
        """For messages: where it is, and which connection says so."""
        at = f"{self.connection.host}:{self.connection.port or 22}"
        return f"host {at} (connection {self.connection.conn_id!r})"

    @property
    def login(self) -> str:
        """The account that commands run as."""
        return self.connection.login or ""

    def __enter__(self) -> Self:
        """:raises ConfigurationError: there is no ssh here, or the key cannot be used."""
        if shutil.which("ssh") is None:
            raise ConfigurationError("ssh is not installed", hint="apt-get install openssh-client")
        self._folder = Path(tempfile.mkdtemp(prefix="respaldo-ssh-"))
        try:
            self._identity = Identity(self.connection, self._folder)
            self._write_config()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    def run(
        self, arguments: Sequence[str], *, input: bytes | None = None, timeout: float = 60
    ) -> Finished:
        """Run a program on the host and return what it left, whatever its exit status.

        :param arguments: the program and its arguments, data all of them: they are quoted here.
        :param timeout: seconds after which the connection is cut and the host called unreachable.
        :raises HostUnreachable: no connection, or it was lost; trying again can help.
        :raises ConfigurationError: another host key, or the key was refused.
        """
        log = self.new_log()
        command = " ".join(shlex.quote(argument) for argument in arguments)
        try:
            done = subprocess.run(
                ["ssh", "-F", self._config, "-E", log, ALIAS, command],
                input=input or b"",
                capture_output=True,
                env=self.environment(),
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise HostUnreachable(
                f"{self.name}: {arguments[0]} did not end within {timeout:.0f} s",
                hint="see what the host is busy with; trying again can help",
            ) from None
        if done.returncode == SSH_FAILED:
            error = self.failure(log, done.stderr)
            if error is not None:
                raise error
        log.unlink(missing_ok=True)
        return Finished(done.stdout, done.stderr, done.returncode)

    def check(
        self, arguments: Sequence[str], *, input: bytes | None = None, timeout: float = 60
    ) -> Finished:
        """As `run`, and raise ToolFailed with its last lines where it ends with an error."""
        done = self.run(arguments, input=input, timeout=timeout)
        if done.returncode:
            raise ToolFailed(
                f"{arguments[0]} ended with {done.returncode} on {self.name}:\n{done.said}"
            )
        return done

    # -- for programs that use ssh themselves -------------------------------------------------

    def new_log(self) -> Path:
        """Return a file in the private folder where one ssh may write what it has to say."""
        return self._folder / f"log-{next(self._numbers)}"

    def rsync_shell(self, log: Path) -> str:
        """Return what rsync takes as its remote shell (``-e``); the host's name is `ALIAS`.

        :param log: of `new_log`; `failure` reads it.
        """
        # rsync splits it at spaces, and knows quotes (not backslashes)
        return f"ssh -F '{self._config}' -E '{log}'"

    def environment(self) -> dict[str, str]:
        """Return the environment for ssh and what starts it: nothing that changes its ways."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "LC_ALL": "C.UTF-8",
            "LANGUAGE": "C",
        }

    def failure(self, log: Path, stderr: bytes = b"") -> RespaldoError | None:
        """Return the error that one ssh has told of in its log; None where it tells of none."""
        said = log.read_text(errors="replace") if log.exists() else ""
        return failure(
            self.name,
            self.host_key,
            self._identity.public_key,
            said,
            stderr.decode(errors="replace"),
        )

    @property
    def _config(self) -> Path:
        return self._folder / "config"

    def _write_config(self) -> None:
        known_hosts = self._folder / "known_hosts"
        known_hosts.write_text(f"{ALIAS} {self.host_key}\n")
        agent = self._identity.agent
        self._config.write_text(
            _CONFIG.format(
                alias=ALIAS,
                host=(self.connection.host or "").replace("%", "%%"),
                port=self.connection.port or 22,
                login=self.login,
                identity=_quoted(self._identity.file),
                agent=_quoted(agent) if agent else "none",
                known_hosts=_quoted(known_hosts),
                algorithms=self.host_key.algorithms,
                timeout=self._connect_timeout,
            )
        )

    def _clear(self) -> None:
        identity: Identity | None = getattr(self, "_identity", None)
        if identity is not None:
            identity.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _quoted(path: Path) -> str:
    """Return a path as a value of ssh's configuration."""
    return '"' + str(path).replace("%", "%%") + '"'
