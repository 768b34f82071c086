"""A physical backup of a PostgreSQL server: PostgreSQL's own point-in-time recovery."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from embedded.postgres import PostgresServer, free_port
from embedded.process import wait_until
from include.respaldo.model.lsn import Lsn

RECOVERY_LIMIT = 120
_PATIENCE = 30
_ENDED = re.compile(
    r"tx: +(?P<xid>\d+), lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+), .*"
    r"desc: (?P<how>COMMIT|ABORT)(?:_PREPARED (?P<prepared>\d+):)? (?P<at>[-0-9]+ [0-9:.]+) UTC"
)


@dataclass(frozen=True)
class EndedTransaction:
    """A commit or abort record of the write-ahead log."""

    #: where the record starts
    lsn: Lsn
    at: datetime
    #: 32 bits
    xid: int
    committed: bool


class PhysicalBackup:
    """One base backup and all the write-ahead log since; both lie in the server's own folder.

    The server has to be made with `archiving(folder)` among its settings.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.base = server.folder / "base"
        self.archive = server.folder / "archive"

    @staticmethod
    def archiving(folder: Path) -> dict[str, str]:
        """Return the settings with which the server of that folder archives its log."""
        archive = shlex.quote(str(folder.resolve() / "archive")).replace("%", "%%")
        # renamed once whole; a log file that is there already is the same one
        copy = f"mkdir -p {archive} && cp %p {archive}/%f.part && mv {archive}/%f.part {archive}/%f"
        return {"archive_mode": "on", "archive_command": copy}

    def take(self) -> None:
        """Take the base backup of the running server."""
        _run(
            [
                self.server.bin("pg_basebackup"),
                f"--pgdata={self.base}",
                "--wal-method=none",
                "--checkpoint=fast",
                "--no-sync",
            ],
            self.server.environment(),
        )
        for path in (self.base, *self.base.rglob("*")):
            _give(path, like=self.server.data)

    def end_of_log(self) -> None:
        """Return once everything written so far is archived."""
        ((current,),) = self.server.execute("select pg_walfile_name(pg_current_wal_insert_lsn())")
        # a switch does nothing at the very beginning of a file
        self.server.execute("select pg_logical_emit_message(false, '', ''), pg_switch_wal()")
        if not wait_until((self.archive / str(current)).exists, _PATIENCE):
            raise TimeoutError(f"log file {current} was not archived in {_PATIENCE} seconds")

    def stop_archiving(self) -> None:
        """Let the server discard what it writes from now on."""
        self.server.configure(archive_command="/bin/true")
        self.server.execute("select pg_reload_conf()")

    def ended_transactions(self) -> list[EndedTransaction]:
        """Return the commits and aborts of all databases, in the order of the log."""
        files = sorted(f.name for f in self.archive.iterdir() if len(f.name) == 24)
        shown = _run(
            [
                self.server.bin("pg_waldump"),
                "--rmgr=Transaction",
                f"--path={self.archive}",
                files[0],
                files[-1],
            ],
            os.environ | {"TZ": "UTC"},
        )
        return [
            EndedTransaction(
                Lsn.parse(found["lsn"]),
                datetime.fromisoformat(found["at"]).replace(tzinfo=UTC),
                int(found["prepared"] or found["xid"]),
                found["how"] == "COMMIT",
            )
            for found in _ENDED.finditer(shown)
        ]

    def recover_to(self, target: datetime | Lsn, folder: Path) -> PostgresServer:
        """Return a second server, running, as this one was at the target; the target included.

        :param folder: where to make it; its parent is open to the server's account.
        :raises RuntimeError: the log does not reach the target, or recovery took too long.
        """
        if isinstance(target, Lsn):
            until = {"recovery_target_lsn": str(target)}
        else:
            at = target.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")
            until = {"recovery_target_time": at}
        folder.mkdir()
        # cp keeps owners, and shares the blocks where the file system can
        _run(["cp", "-a", "--reflink=auto", str(self.base), str(folder / "data")], os.environ)
        shutil.copy(self.server.folder / "password", folder / "password")
        (folder / "data" / "recovery.signal").touch()
        for path in (folder, folder / "password", folder / "data" / "recovery.signal"):
            _give(path, like=self.server.data)
        recovered = PostgresServer.attach(folder, self.server.bin_dir)
        recovered.configure(
            port=str(free_port()),
            archive_mode="off",
            archive_command="",
            restore_command=f"cp {shlex.quote(str(self.archive)).replace('%', '%%')}/%f %p",
            recovery_target_inclusive="on",
            recovery_target_action="promote",
            # nobody enters before it is recovered
            hot_standby="off",
            **until,
        )
        recovered.start()
        _wait_until_recovered(recovered)
        return recovered


def _wait_until_recovered(server: PostgresServer) -> None:
    end = time.monotonic() + RECOVERY_LIMIT
    while True:
        try:
            server.execute("select 1")
        except psycopg.OperationalError:
            if server.pid is None or time.monotonic() > end:
                server.stop("immediate")
                raise RuntimeError(f"not recovered:\n{server.log.read_text()[-2000:]}") from None
            time.sleep(0.05)
        else:
            return


def _give(path: Path, *, like: Path) -> None:
    """Give it to the account that owns another; only root has to and can."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _run(argv: list[str], environ: dict[str, str] | os._Environ[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(environ))
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
