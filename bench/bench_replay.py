"""Replay of a query log, against PostgreSQL's native logical apply of the same changes.

Both begin with the same copy of a database and end with the same rows, on the same server. The
native side's decoding runs at the same time as its apply, as it does in production; ours was done
when the log was archived, and fetching the log from the vault is counted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.ground import (
    archiver,
    contents,
    folder,
    installation,
    reaches,
    sealed,
    tenant,
    wait_for,
)
from bench.pgbench import HOT, Pgbench, fill
from bench.table import megabytes, note, seconds, table, verdict
from embedded.installation import SERVER, Installation
from embedded.postgres import PostgresServer
from include.respaldo.jobs.fetch_restore import fetch_segments, read_manifest
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.model.target import TargetTime
from include.respaldo.postgres.apply import apply_replay
from include.respaldo.postgres.connect import connect
from include.respaldo.querylog.reduction import reduce_log

LIVE, COPY = "tenant_live", "copy"
SLOT = "native"
SETTINGS = {"query_log": {"coverage_interval": "5s"}}
TABLES = "pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history"


@dataclass(frozen=True)
class Ours:
    """Seconds of each phase.

    The last states of a table are written while the one before it is applied.
    """

    fetch: float
    reduce: float
    apply: float

    @property
    def total(self) -> float:
        return self.fetch + self.reduce + self.apply


def run(*, small: bool) -> None:
    """Measure; print the tables."""
    with folder() as at:
        script = at / "hot.sql"
        script.write_text(HOT)
        for number, (what, options) in enumerate((
            ("accounts at random: nearly each is changed once", ()),
            ("the same with few accounts often (Zipf, 1.2)", ("-f", str(script), "-D", "scale=10")),
        )):
            home = at / str(number)
            home.mkdir()
            home.chmod(0o755)
            with installation(home, settings=SETTINGS) as made:
                _measure(made, what, options, small=small)


def _measure(made: Installation, what: str, options: Sequence[str], *, small: bool) -> None:
    transactions, rounds = (4_000, 1) if small else (82_000, 5)
    server = made.postgres
    fill(server, LIVE, scale=10)
    server.execute(f"create database {COPY} template {LIVE}")
    server.execute(f"create publication {SLOT} for table {TABLES}", LIVE)
    server.execute(f"select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')", LIVE)
    with archiver(made):
        wait_for("the full backup", lambda: sealed(made.deployment(), [LIVE]), 120)
        note(f"{transactions:,} transactions of pgbench, {what}")
        Pgbench(server, LIVE, "-t", str(transactions // 8), *options).result()
        server.execute("update pgbench_branches set filler = 'the end' where bid = 1", LIVE)
        [(end,)] = server.execute("select clock_timestamp()")
        wait_for("the archive", lambda: reaches(made.deployment(), LIVE) > end, 120)
    wanted = contents(server, LIVE)
    ours: list[Ours] = []
    native: list[float] = []
    said = ""
    for number in range(rounds):
        native.append(_native(server, f"{SLOT}_{number}", wanted))
        found, said = _ours(made, end, made.folder / "work", wanted)
        ours.append(found)
        note(
            f"round {number + 1}: native {seconds(native[-1])}, ours {seconds(found.total)}; "
            "the same rows"
        )
    _print(f"{what}: {said}", ours, native)


def _native(server: PostgresServer, name: str, wanted: dict[str, str]) -> float:
    """Let a subscription catch up; return the seconds from its start until all is applied."""
    server.execute(f"create database {name} template {COPY}")
    server.execute(f"select pg_copy_logical_replication_slot('{SLOT}', '{name}')", LIVE)
    live = make_conninfo(
        host="127.0.0.1", port=server.port, user="postgres", password=server.password, dbname=LIVE
    )
    with server.connect(name) as conn:
        conn.execute(
            sql.SQL(
                "create subscription {name} connection {live} publication {publication} with"
                " (create_slot = false, slot_name = {name}, enabled = false, copy_data = false)"
            ).format(
                name=sql.Identifier(name),
                live=sql.Literal(live),
                publication=sql.Identifier(SLOT),
            )
        )
        begun = time.monotonic()
        conn.execute(f"alter subscription {name} enable")
        ended = "select bid from pgbench_branches where filler = 'the end'"
        wait_for("the subscription", lambda: bool(conn.execute(ended).fetchall()), 600, 0.02)
        took = time.monotonic() - begun
        conn.execute(f"drop subscription {name}")  # and its slot
    _compare(server, name, wanted)
    return took


def _ours(
    made: Installation, end: datetime, work: Path, wanted: dict[str, str]
) -> tuple[Ours, str]:
    """Replay the log into a copy; return how long it took, and how much it was."""
    server, name = made.postgres, "replayed"
    server.execute(f"create database {name} template {COPY}")
    work.mkdir()
    deployment = made.deployment()
    request = RestoreRequest(tenant(LIVE), TargetTime(end), "never_made", SERVER)
    planned = plan(deployment, request)
    route = planned.routes[0]
    manifest = read_manifest(deployment, planned, route)
    assert manifest.anchor is not None
    begun = time.monotonic()
    segments = fetch_segments(deployment, planned, route, work)
    fetched = time.monotonic()
    replayed, tables = reduce_log(
        segments, snapshot=manifest.anchor.snapshot, target=request.target, scratch=work
    )
    reduced = time.monotonic()
    with (
        connect(server.connection(name), name) as conn,
        connect(server.connection(name), name) as beside,
    ):
        apply_replay(conn, tables, beside=beside)
    applied = time.monotonic()
    _compare(server, name, wanted)
    shutil.rmtree(work)
    size = sum(s.size for s in route.segments)
    said = (
        f"{replayed.changes:,} row changes of {replayed.transactions:,} transactions, "
        f"{len(segments)} segments, {megabytes(size)}"
    )
    return Ours(fetched - begun, reduced - fetched, applied - reduced), said


def _compare(server: PostgresServer, name: str, wanted: dict[str, str]) -> None:
    """Drop the database, having seen that it holds the same rows as the live one."""
    found = contents(server, name)
    if found != wanted:
        raise RuntimeError(f"{name} differs from {LIVE}: {found} {wanted}")
    server.execute(f"drop database {name} (force)")


def _print(said: str, ours: list[Ours], native: list[float]) -> None:
    print(f"\n{said}; median of {len(ours)} rounds, alternating")

    def row(name: str, values: list[float]) -> tuple[str, str, str]:
        span = f"{seconds(min(values))} - {seconds(max(values))}"
        return name, seconds(median(values)), span

    table(
        ("", "median", "range"),
        (
            row("PostgreSQL's logical apply", native),
            row("Respaldo", [o.total for o in ours]),
            row("  fetch and verify the segments", [o.fetch for o in ours]),
            row("  reduce to the last states", [o.reduce for o in ours]),
            row("  write and apply them, commit", [o.apply for o in ours]),
        ),
    )
    ratio = median(native) / median(o.total for o in ours)
    verdict(aim="3 times faster", met=ratio >= 3, found=f"{ratio:.1f} times")
