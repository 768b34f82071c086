"""PostgreSQL's own load generator."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.ground import execute
from embedded.postgres import PostgresServer

CLIENTS = 8
#: pgbench's default transaction, but most of it on few accounts, as in a shop's stock
HOT = """\\set aid random_zipfian(1, 100000 * :scale, 1.2)
\\set bid random(1, 1 * :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime)
VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
"""


@dataclass(frozen=True)
class Load:
    """What pgbench says of a run."""

    tps: float
    #: seconds
    latency: float


def fill(server: PostgresServer, database: str, scale: int) -> None:
    """Make a database with pgbench's tables: 100,000 accounts for each unit of scale."""
    server.execute(f'create database "{database}"')
    execute(
        [server.bin("pgbench"), "-i", "-q", "-s", str(scale)],
        server.environment(database),
    )


class Pgbench:
    """A run of pgbench's default transactions: three updates, one insert, one select.

    :param limit: ``-T`` seconds or ``-t`` transactions a client; further options.
    :param rate: transactions a second; None: as many as go.
    """

    def __init__(
        self,
        server: PostgresServer,
        database: str,
        *limit: str,
        rate: int | None = None,
        clients: int = CLIENTS,
        prefix: Sequence[str] = (),
    ) -> None:
        rated = [] if rate is None else ["-R", str(rate)]
        self._process = subprocess.Popen(
            [
                *prefix,
                server.bin("pgbench"),
                "-n",
                "-M",
                "prepared",
                "-c",
                str(clients),
                "-j",
                "2",
                *limit,
                *rated,
            ],
            env=os.environ | server.environment(database),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path("/"),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def result(self) -> Load:
        """Wait for its end.

        :raises RuntimeError: it failed.
        """
        out, err = self._process.communicate()
        tps = re.search(r"tps = ([\d.]+)", out)
        latency = re.search(r"latency average = ([\d.]+) ms", out)
        if self._process.returncode or not tps or not latency:
            raise RuntimeError(f"pgbench ended with {self._process.returncode}:\n{out}{err}")
        return Load(float(tps[1]), float(latency[1]) / 1000)
