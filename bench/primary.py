"""What archiving costs the server that is archived."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from bench.ground import archived, archiver, wait_for
from bench.machine import ProcessorTimes, children, command
from bench.pgbench import Load, Pgbench
from bench.table import note, seconds, table, verdict
from embedded.installation import Installation
from embedded.postgres import PostgresServer

_EVERYWHERE = frozenset(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class Place:
    """Who runs where."""

    name: str
    #: cores of the server; of pgbench, the archiver and the S3 servers
    server: frozenset[int] = _EVERYWHERE
    others: frozenset[int] = _EVERYWHERE
    #: of the archiver and the S3 servers
    nice: int = 0
    #: transactions a second; None: as many as go
    rate: int | None = None


PLACES = (
    Place("2,000 tps offered, same cores", rate=2_000),
    Place("no limit, same cores"),
    Place("no limit, archiver and S3 at nice 19", nice=19),
    Place("no limit, server alone on its core", frozenset({0}), frozenset({1}), nice=5),
)


@dataclass(frozen=True)
class Run:
    """One run of pgbench; times in seconds of processor."""

    tps: float
    #: seconds, of a transaction
    latency: float
    duration: float
    server: float
    walsender: float = 0.0
    archiver: float = 0.0
    #: seconds until all was archived, once pgbench had ended
    behind: float = 0.0


def throughput(made: Installation, tenant: str, *, duration: int, rounds: int) -> None:
    """Compare pgbench without and with archiving, in turns; print the table."""
    rows = []
    losses: dict[str, float] = {}
    for place in PLACES:
        alone: list[Run] = []
        archiving: list[Run] = []
        with _arranged(made, place):
            for number in range(rounds):
                turns = [alone, archiving] if number % 2 == 0 else [archiving, alone]
                for runs in turns:
                    measure = _alone if runs is alone else _archiving
                    runs.append(measure(made, tenant, place, duration))
                note(
                    f"{place.name}: {alone[-1].tps:,.0f} tps alone, "
                    f"{archiving[-1].tps:,.0f} archiving"
                )
        rows.append(_row(place, alone, archiving))
        losses[place.name] = 1 - mean(r.tps for r in archiving) / mean(r.tps for r in alone)
    print(f"\npgbench, {rounds} pairs of {duration} s in turns; processor time in cores")
    table(
        ("", "tps alone", "archiving", "loss", "latency alone", "archiving", "server alone",
         "archiving", "of it walsender", "archiver", "behind by"),
        rows,
    )  # fmt: skip
    for name, loss in losses.items():
        verdict(
            aim="at most 5 % of the primary's throughput",
            met=loss <= 0.05,
            found=f"{loss:.1%}: {name}",
        )


def _row(place: Place, alone: Sequence[Run], archiving: Sequence[Run]) -> tuple[str, ...]:
    losses = [1 - b.tps / a.tps for a, b in zip(alone, archiving, strict=True)]
    spread = f" ± {stdev(losses) * 100:.1f}" if len(losses) > 1 else ""

    def cores(values: Iterator[float]) -> str:
        return f"{mean(values):.2f}"

    return (
        place.name,
        f"{mean(r.tps for r in alone):,.0f}",
        f"{mean(r.tps for r in archiving):,.0f}",
        f"{mean(losses) * 100:.1f}{spread} %",
        f"{mean(r.latency for r in alone) * 1000:.1f} ms",
        f"{mean(r.latency for r in archiving) * 1000:.1f} ms",
        cores(r.server / r.duration for r in alone),
        cores(r.server / r.duration for r in archiving),
        cores(r.walsender / r.duration for r in archiving),
        cores(r.archiver / r.duration for r in archiving),
        seconds(mean(r.behind for r in archiving)),
    )


def _alone(made: Installation, tenant: str, place: Place, duration: int) -> Run:
    server = made.postgres
    server.execute("checkpoint")
    with ProcessorTimes({"server": lambda: processes(server)}) as used:
        load = Pgbench(
            server, tenant, "-T", str(duration), rate=place.rate, prefix=_on(place.others)
        ).result()
    return Run(load.tps, load.latency, duration, used.seconds("server"))


def _archiving(made: Installation, tenant: str, place: Place, duration: int) -> Run:
    server = made.postgres
    prefix = [*_on(place.others), "nice", "-n", str(place.nice)]
    with archiver(made, prefix=prefix) as process:
        # what the run before it has left is no part of this one
        wait_for("the archiver to catch up", archived(server, [tenant]), 300)
        server.execute("checkpoint")
        groups = {
            "server": lambda: processes(server),
            "walsender": lambda: walsenders(server),
            "archiver": lambda: [process.pid],
        }
        with ProcessorTimes(groups) as used:
            load = Pgbench(
                server, tenant, "-T", str(duration), rate=place.rate, prefix=_on(place.others)
            ).result()
        behind = wait_for("the archive", archived(server, [tenant]), 300)
    return Run(
        load.tps,
        load.latency,
        duration,
        used.seconds("server"),
        used.seconds("walsender"),
        used.seconds("archiver"),
        behind,
    )


def _load(server: PostgresServer, tenant: str, place: Place, duration: int) -> Load:
    prefix = _on(place.others)
    return Pgbench(server, tenant, "-T", str(duration), rate=place.rate, prefix=prefix).result()


def wal_levels(server: PostgresServer, tenant: str, *, duration: int, rounds: int) -> None:
    """Compare ``wal_level`` replica and logical, before anything is archived; print the table."""
    found: dict[str, list[float]] = {"replica": [], "logical": []}
    for number in range(rounds):
        for level in sorted(found, reverse=number % 2 == 0):
            server.configure(wal_level=level)
            server.restart()
            found[level].append(Pgbench(server, tenant, "-T", str(duration)).result().tps)
    server.configure(wal_level="logical")
    server.restart()
    replica, logical = mean(found["replica"]), mean(found["logical"])
    print(f"\nwal_level, nothing archived, {rounds} pairs of {duration} s")
    table(
        ("", "tps"),
        [
            ("replica", f"{replica:,.0f}"),
            ("logical", f"{logical:,.0f} ({logical / replica - 1:+.1%})"),
        ],
    )


def processes(server: PostgresServer) -> list[int]:
    """Return the server's processes."""
    pid = server.pid
    return [pid, *children(pid)] if pid else []


def walsenders(server: PostgresServer) -> list[int]:
    """Return those of them that send its log."""
    return [pid for pid in processes(server) if "walsender" in command(pid)]


def _on(cores: frozenset[int]) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, sorted(cores)))]


@contextmanager
def _arranged(made: Installation, place: Place) -> Iterator[None]:
    """Put the server and the S3 servers where they belong, while the block runs."""
    regions = [pid for r in (made.primary, made.replica) if (pid := r.pid)]
    _put(processes(made.postgres), place.server, None)
    _put(regions, place.others, place.nice)
    try:
        yield
    finally:
        _put(processes(made.postgres), _EVERYWHERE, None)
        _put(regions, _EVERYWHERE, 0)


def _put(pids: Sequence[int], cores: frozenset[int], nice: int | None) -> None:
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)
            if nice is not None:
                os.setpriority(os.PRIO_PROCESS, int(task.name), nice)
