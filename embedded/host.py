"""A Debian host of one's own: a chroot in one folder with its own sshd on 127.0.0.1."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from embedded.host_base import EmbeddedHostUnavailable, copy_base
from embedded.postgres import free_port
from embedded.process import Process, wait_until
from include.respaldo.connections import Connection

__all__ = ["EmbeddedHostUnavailable", "Host"]

START_LIMIT = 30
#: within the host; not below /etc: what is rebuilt there does not shut us out
_SSHD = "run/respaldo-sshd"
_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey /{folder}/host_key
AuthorizedKeysFile /{folder}/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
LogLevel VERBOSE
MaxStartups 100
Subsystem sftp internal-sftp
"""
#: namespaces end with the process that has them: mounts, processes and the name leave no trace
_NAMESPACES = ("unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child")
_ENTER = """\
hostname "$2" && mount -t proc proc "$1/proc" && mount -t sysfs -o ro sysfs "$1/sys"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$1/dev/pts"
exec chroot "$1" /usr/sbin/sshd -D -e -f "/$3/sshd_config"
"""


class Host:
    """A host whose whole tree, key and log lie in `folder`; needs root.

    It has an sshd, rsync, apt and systemd's programs; its services are never started, except the
    sshd. The same folder is the same host, however often it is started.

    :param name: its host name; None keeps the one that it has.
    :param port: None takes a free one, and keeps it over restarts.
    :param detached: it outlives the Python that started it; `attach` finds it again.
    """

    def __init__(
        self,
        folder: Path,
        name: str | None = None,
        port: int | None = None,
        *,
        detached: bool = False,
    ) -> None:
        self.folder = folder.resolve()
        self.root = self.folder / "root"
        self.log = self.folder / "sshd.log"
        settings = self._settings()
        self.name: str = name or settings.get("name") or "host"
        self.port = port or int(settings.get("port") or free_port())
        self.detached = detached

    @classmethod
    def attach(cls, folder: Path) -> Self:
        """Return the host of a folder where one was started before, running or not."""
        host = cls(folder, detached=True)
        if not host._settings():
            raise FileNotFoundError(f"no host was started in {folder}")
        return host

    @property
    def pid(self) -> int | None:
        """The process id of what keeps it alive; None when it does not run."""
        process = Process.load(self._pid_file)
        return process.pid if process and process.running else None

    @property
    def private_key(self) -> str:
        """The key that opens it, for any of its users."""
        return (self.folder / "key").read_text()

    @property
    def host_key(self) -> str:
        """Its public key, as in known_hosts: ``ssh-ed25519 AAAA…``."""
        text = (self.root / _SSHD / "host_key.pub").read_text()
        return " ".join(text.split()[:2])

    # -- life ---------------------------------------------------------------------------------

    def create(self) -> None:
        """Make its tree and keys; nothing to do where they were made before.

        :raises EmbeddedHostUnavailable: it cannot be had here.
        """
        if self._settings():
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.root.exists():  # a copy that was not completed
            shutil.rmtree(self.root)
        self._install()
        sshd = self.root / _SSHD
        sshd.mkdir(parents=True)
        _keygen(self.folder / "key", "respaldo")
        _keygen(sshd / "host_key", self.name)
        shutil.copyfile(self.folder / "key.pub", sshd / "authorized_keys")
        self._write_settings()

    def _install(self) -> None:
        """Make the tree of a bare host."""
        copy_base(self.root)
        # no copy of the base's: two hosts are never taken for one
        (self.root / "etc/machine-id").write_text(f"{secrets.token_hex(16)}\n")
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1\tlocalhost\n127.0.1.1\t{self.name}\n")
        shutil.copyfile("/etc/resolv.conf", self.root / "etc/resolv.conf")
        (self.root / "run/sshd").mkdir(exist_ok=True)
        self.run(["ssh-keygen", "-q", "-A"])

    def start(self) -> Self:
        """Start it, made first if need be; returns once it accepts connections.

        :raises EmbeddedHostUnavailable: it cannot be had here.
        """
        self.create()
        if self.pid is not None:
            return self
        self._write_settings()
        config = _CONFIG.format(port=self.port, folder=_SSHD)
        (self.root / _SSHD / "sshd_config").write_text(config)
        process = Process.spawn(
            self._command(),
            log=self.log,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            detached=self.detached,
        )
        process.save(self._pid_file)
        ready = wait_until(lambda: self._answers() or not process.running, START_LIMIT)
        if not ready or not process.running:
            process.stop(signal.SIGKILL)
            said = self.log.read_text(errors="replace")[-2000:]
            raise EmbeddedHostUnavailable(f"the host's sshd did not start:\n{said}")
        return self

    def stop(self) -> None:
        """Stop it and all that runs in it, as a power failure would; its tree stays."""
        process = Process.load(self._pid_file)
        if process:
            sessions = process.descendants() if process.running else []
            process.stop(signal.SIGKILL)
            for session in sessions:  # where no namespace of its own has ended them
                session.stop(signal.SIGKILL)
        self._pid_file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def reinstall(self) -> None:
        """Make it a bare host again, at the same address and with the same keys; not started."""
        self._replace_tree(self._install)

    def move_to(self, other: Host) -> None:
        """Go on in the place of another host, which is lost: this disk, that address and its keys.

        Neither is started; this one is a bare host then.
        """
        self.stop()
        shutil.copytree(self.root / _SSHD, self.folder / "sshd")
        other._replace_tree(lambda: self.root.rename(other.root))
        self._replace_tree(self._install)

    def _replace_tree(self, make: Callable[[], object]) -> None:
        self.stop()
        sshd = self.folder / "sshd"
        if not sshd.exists():  # else an earlier replacement was not completed
            shutil.copytree(self.root / _SSHD, sshd)
        shutil.rmtree(self.root, ignore_errors=True)
        make()
        shutil.rmtree(self.root / _SSHD, ignore_errors=True)
        sshd.rename(self.root / _SSHD)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- use ----------------------------------------------------------------------------------

    def connection(self, conn_id: str = "respaldo_host", login: str = "root") -> Connection:
        """Return the connection to it, as Airflow would keep it."""
        return Connection(
            conn_id=conn_id,
            conn_type="ssh",
            host="127.0.0.1",
            port=self.port,
            login=login,
            extra={"private_key": self.private_key, "host_key": self.host_key},
        )

    def connection_uri(self, login: str = "root") -> str:
        """Return the value of an ``AIRFLOW_CONN_…`` variable, as JSON; holds the key."""
        connection = self.connection(login=login)
        return json.dumps({
            "conn_type": connection.conn_type,
            "host": connection.host,
            "port": connection.port,
            "login": connection.login,
            "extra": dict(connection.extra),
        })

    def run(
        self, argv: Sequence[str], *, input: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program within the host as root, not over SSH; return what it printed."""
        inner = self._inner_pid()
        enter = (
            ["chroot", str(self.root)]
            if inner is None
            else ["nsenter", f"--target={inner}", "--mount", "--pid", "--uts", "--root", "--wd"]
        )
        done = subprocess.run(
            [*enter, *argv],
            input=input,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/root",
                "LC_ALL": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive",
            },
            check=False,
        )
        if check and done.returncode:
            said = done.stdout + done.stderr
            raise RuntimeError(f"{argv[0]} ended with {done.returncode} in {self.name}:\n{said}")
        return done

    def add_user(self, name: str) -> None:
        """Add an ordinary user, whom the key lets in."""
        # '*': no password fits, and yet the account is not locked
        self.run(["useradd", "--create-home", "--shell=/bin/sh", "--password=*", name])

    # -- inside -------------------------------------------------------------------------------

    @property
    def _pid_file(self) -> Path:
        return self.folder / "host.pid"

    @property
    def _settings_file(self) -> Path:
        return self.folder / "host.json"

    def _settings(self) -> dict[str, str]:
        try:
            settings: dict[str, str] = json.loads(self._settings_file.read_text())
        except (OSError, ValueError):
            return {}
        return settings

    def _write_settings(self) -> None:
        self._settings_file.write_text(json.dumps({"name": self.name, "port": str(self.port)}))

    def _command(self) -> list[str]:
        """Return what runs the sshd: in namespaces of its own where this machine lets us."""
        probe = subprocess.run(
            [*_NAMESPACES, "mount", "-t", "proc", "proc", str(self.root / "proc")],
            capture_output=True,
            check=False,
        )
        if probe.returncode:  # its /proc stays empty; sshd and rsync need none
            sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", f"/{_SSHD}/sshd_config"]
            return ["chroot", str(self.root), *sshd]
        return [*_NAMESPACES, "sh", "-c", _ENTER, "sh", str(self.root), self.name, _SSHD]

    def _inner_pid(self) -> int | None:
        """Return the first process in its namespaces; None where it has none of its own."""
        pid = self.pid
        if pid is None:
            return None
        try:
            own = Path(f"/proc/{pid}/ns/mnt").samefile("/proc/self/ns/mnt")
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        return None if own or not children else int(children[0])

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                return s.recv(4) == b"SSH-"
        except OSError:
            return False


def _keygen(path: Path, comment: str) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
