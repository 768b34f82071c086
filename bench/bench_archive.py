"""Archiving: from commit to durable in both regions, and what it costs the server.

Latency is measured for every transaction: its commit time is in its segment, and a look at both
vaults, ten times a second, says when that segment could first be seen in the later one. All of it
is one machine and one clock; the figures are up to one look too high, never too low.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import duckdb

from bench.ground import (
    archived,
    archiver,
    folder,
    installation,
    sealed,
    tenant,
    wait_for,
)
from bench.machine import ProcessorTimes
from bench.pgbench import Pgbench, fill
from bench.primary import throughput, wal_levels, walsenders
from bench.table import note, seconds, table, verdict
from embedded.airflow import AirflowServer
from embedded.installation import Installation
from embedded.postgres import PostgresServer
from include.respaldo.model import keys
from include.respaldo.ports import Vault

TENANT = "tenant_busy"
RATE = 2_000
#: seconds between two looks at the vaults
_LOOK = 0.1


def run(*, small: bool) -> None:
    """Measure; print the tables."""
    with folder() as at, installation(at, settings={"query_log": {"idle_after": "5s"}}) as made:
        server = made.postgres
        fill(server, TENANT, scale=2 if small else 20)
        wal_levels(server, TENANT, duration=3 if small else 15, rounds=1 if small else 3)
        with archiver(made):
            wait_for("the full backup", lambda: sealed(made.deployment(), [TENANT]), 120)
        _latency(made, at, duration=10 if small else 90, commits=2 if small else 6)
        throughput(made, TENANT, duration=5 if small else 15, rounds=1 if small else 4)
        _from_idle_in_airflow(made, at, commits=1 if small else 4)


# -- latency ------------------------------------------------------------------------------------


class Sightings:
    """When each segment was first seen in both vaults, while the block runs."""

    def __init__(self, made: Installation) -> None:
        deployment = made.deployment()
        self._vaults: Sequence[Vault] = (deployment.vaults.primary, deployment.vaults.replica)
        self._prefix = keys.query_log_prefix(tenant(TENANT))
        self._seen: list[dict[str, datetime]] = [{}, {}]
        self._last = ["", ""]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Sightings:
        self._look()
        for seen in self._seen:
            seen.clear()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def durable(self) -> dict[str, datetime]:
        """Key of each segment -> when it was seen in the later of both."""
        primary, replica = self._seen
        return {key: max(at, replica[key]) for key, at in primary.items() if key in replica}

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK):
            self._look()

    def _look(self) -> None:
        for number, vault in enumerate(self._vaults):
            for stored in vault.list(self._prefix, after=self._last[number]):
                if stored.key.endswith(".parquet"):
                    self._seen[number][stored.key] = datetime.now(UTC)
                self._last[number] = max(self._last[number], stored.key)


def _latency(made: Installation, at: Path, *, duration: int, commits: int) -> None:
    server = made.postgres
    slots = ProcessorTimes({"walsender": lambda: walsenders(server)})
    with Sightings(made) as seen, archiver(made) as process:
        wait_for("the archiver", archived(server, [TENANT]), 60)
        with slots, ProcessorTimes({"archiver": lambda: [process.pid]}) as used:
            note(f"pgbench at {RATE} transactions a second for {duration} s")
            begun = datetime.now(UTC)
            load = Pgbench(server, TENANT, "-T", str(duration), rate=RATE).result()
            ended = datetime.now(UTC)
            wait_for("the archive", archived(server, [TENANT]), 60)
        time.sleep(0.5)
        durable = dict(seen.durable)
        note(f"{commits} commits, each from idle")
        idle = [_one_commit(server, seen, 12) for _ in range(commits)]
    latencies = sorted(_latencies(made, at, durable, begun, ended))
    print(
        f"\n{len(latencies):,} transactions, {load.tps:,.0f} a second, {len(durable)} segments; "
        f"processor time: archiver {used.seconds('archiver') / duration:.0%} of a core, "
        f"walsender {slots.seconds('walsender') / duration:.0%}"
    )

    def row(name: str, values: Sequence[float]) -> tuple[str, ...]:
        return (name, *(seconds(_percentile(values, p)) for p in (0.5, 0.99, 1.0)))

    table(
        ("commit to durable in both regions", "p50", "p99", "longest"),
        (row("while the drain runs", latencies), row("from idle, archiver running", sorted(idle))),
    )
    p99 = _percentile(latencies, 0.99)
    verdict(aim="p99 of 10 s while the drain runs", met=p99 <= 10, found=seconds(p99))


def _latencies(
    made: Installation, at: Path, durable: dict[str, datetime], begun: datetime, ended: datetime
) -> Iterator[float]:
    """Yield the seconds that each transaction of a time took."""
    replica = made.deployment().vaults.replica
    path = at / "one.parquet"
    for key, seen_at in durable.items():
        with replica.open(key) as source:
            path.write_bytes(source.read())
        commits = duckdb.sql(
            f"select epoch_us(commit_at) from '{path}' group by commit_lsn, commit_at"
        ).fetchall()
        for (microseconds,) in commits:
            committed = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
            if begun <= committed <= ended:
                yield (seen_at - committed).total_seconds()


def _one_commit(server: PostgresServer, seen: Sightings, quiet: float) -> float:
    """Commit after some quiet seconds; return the seconds until that is durable."""
    time.sleep(quiet)
    before = set(seen.durable)
    server.execute("update pgbench_branches set filler = clock_timestamp()::text", TENANT)
    committed = datetime.now(UTC)
    wait_for("the segment", lambda: bool(set(seen.durable) - before), 120, 0.02)
    [new] = set(seen.durable) - before
    return (seen.durable[new] - committed).total_seconds()


def _percentile(values: Sequence[float], part: float) -> float:
    return values[min(len(values) - 1, int(part * len(values)))]


# -- Airflow ------------------------------------------------------------------------------------


def _from_idle_in_airflow(made: Installation, at: Path, *, commits: int) -> None:
    """Print the same from idle where the DAG archives: its sensor waits, no task runs."""
    server, dag = made.postgres, "archive_query_log"
    server.execute("create database airflow")
    airflow = AirflowServer(
        at / "airflow", env=made.environment(), database=server.connection_uri("airflow")
    )
    found: list[float] = []
    with airflow, airflow.client() as client, Sightings(made) as seen:
        client.wait_for_dags(dag)
        client.unpause(dag)

        def waits() -> bool:
            """Say whether the newest run has nothing but a sensor in the triggerer."""
            run, *before = client.runs(dag, limit=2) or [{}]
            if not before or run["state"] != "running":
                return False
            tasks = client.task_instances(dag, run["dag_run_id"])
            return {t["state"] for t in tasks if t["task_id"] == "wait_for_changes"} == {"deferred"}

        for number in range(commits):
            wait_for("the DAG to be idle", waits, 180, 0.5)
            note(f"commit {number + 1} from idle, archived by the DAG")
            found.append(_one_commit(server, seen, 3 + number))
        client.pause(dag)
    table(
        ("commit to durable in both regions", "median", "longest"),
        [("from idle, by the DAG in Airflow", seconds(median(found)), seconds(max(found)))],
    )
    verdict(aim="60 s from idle", met=max(found) <= 60, found=f"longest {seconds(max(found))}")
