"""The physical way: pgBackRest, tuned as its manual advises (lz4, asynchronous, two processes)."""

from __future__ import annotations

import os
import pwd
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.ground import execute, wait_for
from embedded.postgres import PostgresServer, free_port

STANZA = "bench"


@dataclass(frozen=True)
class Physical:
    """Seconds of each phase of a restore, and the bytes it had to bring."""

    files: float
    recovery: float
    copy: float
    #: of the write-ahead log that recovery asked for
    wal_bytes: int

    @property
    def total(self) -> float:
        return self.files + self.recovery + self.copy


class PgBackRest:
    """A repository on the local disk for one server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pgbackrest"
        self._config = self.folder / "pgbackrest.conf"

    def prepare(self, server: PostgresServer) -> None:
        """Make the repository, and let the server archive into it; its archive_mode is on."""
        for name in ("repo", "log", "spool", "lock"):
            (self.folder / name).mkdir(parents=True)
        self._write(server, server.data, self._config)
        for path in (self.folder, *self.folder.rglob("*")):
            shutil.chown(path, "postgres", "postgres")
        self._run(server, "stanza-create", config=self._config)
        command = f"pgbackrest --config={self._config} --stanza={STANZA} archive-push %p"
        server.configure(archive_command=command)
        server.execute("select pg_reload_conf()")

    def backup(self, server: PostgresServer) -> float:
        """Take a full backup; return its seconds."""
        return self._run(server, "backup", "--type=full", "--start-fast", config=self._config)

    def restore(
        self, server: PostgresServer, database: str, at: datetime, new_name: str, folder: Path
    ) -> Physical:
        """Restore one database to a time: files, recovery beside, dump, load into the server."""
        folder.mkdir()
        shutil.chown(folder, "postgres", "postgres")
        beside = self.folder / "beside.conf"
        self._write(server, folder / "data", beside)
        begun = time.monotonic()
        target = at.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")
        self._run(
            server,
            "restore",
            f"--db-include={database}",
            "--type=time",
            f"--target={target}",
            "--target-action=promote",
            config=beside,
        )
        files = time.monotonic()
        shutil.copy(server.folder / "password", folder / "password")
        shutil.chown(folder / "password", "postgres", "postgres")
        recovered = PostgresServer.attach(folder, server.bin_dir)
        # it is thrown away: what a crash could take from it does not matter
        recovered.configure(port=str(free_port()), archive_mode="off", fsync="off")
        try:
            recovered.start()
            wait_for("recovery", lambda: _recovered(recovered), 3600, 0.05)
            ready = time.monotonic()
            server.execute(f'create database "{new_name}" template template0')
            dump = ["pg_dump", "--format=directory", "--compress=0", "--jobs=2", "-f"]
            dumped = folder / "dump"
            execute([*dump, str(dumped), database], recovered.environment())
            execute(
                ["pg_restore", "--jobs=2", f"--dbname={new_name}", str(dumped)],
                server.environment(new_name),
            )
            ended = time.monotonic()
        finally:
            recovered.stop("immediate")
        log = recovered.log.read_text()
        brought = 16 * 2**20 * log.count("restored log file")
        return Physical(files - begun, ready - files, ended - ready, brought)

    def size(self) -> int:
        """Return the bytes of the repository."""
        return sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())

    def _write(self, server: PostgresServer, data: Path, config: Path) -> None:
        config.write_text(f"""
[global]
repo1-path={self.folder}/repo
log-path={self.folder}/log
lock-path={self.folder}/lock
spool-path={self.folder}/spool
log-level-console=error
log-level-file=off
compress-type=lz4
process-max=2
archive-async=y
archive-get-queue-max=1GiB
archive-timeout=600

[{STANZA}]
pg1-path={data}
pg1-host-user=postgres
pg1-user=postgres
pg1-port={server.port}
pg1-socket-path={server.folder}
""")
        config.chmod(0o640)
        shutil.chown(config, "postgres", "postgres")

    def _run(self, server: PostgresServer, *command: str, config: Path) -> float:
        environ = {"PGPASSWORD": server.password}
        return execute(
            ["pgbackrest", f"--config={config}", f"--stanza={STANZA}", *command],
            environ,
            cwd="/",
            **_account(),
        )


def _recovered(server: PostgresServer) -> bool:
    import psycopg

    try:
        return server.execute("select pg_is_in_recovery()") == [(False,)]
    except psycopg.OperationalError:
        if server.pid is None:
            raise RuntimeError(f"not recovered:\n{server.log.read_text()[-2000:]}") from None
        return False


def _account() -> dict[str, object]:
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
