"""One tenant among 50 to a minute, against the physical way, which replays everybody's log.

Both restore the same database of the same server to the same moment, into a new database beside
the live one, from a full backup with at least 4 GB of write-ahead log since. pgBackRest reads from
the local disk, Respaldo from an S3 server.
"""

from __future__ import annotations

from datetime import timedelta
from statistics import median

from bench.ground import (
    archiver,
    contents,
    folder,
    installation,
    reaches,
    respaldo,
    sealed,
    tenant,
    wait_for,
)
from bench.pgbackrest import PgBackRest, Physical
from bench.pgbench import Pgbench, fill
from bench.table import megabytes, note, seconds, table, verdict
from embedded.installation import SERVER, Installation
from embedded.postgres import PostgresServer
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.jobs.restore_database import restore_database
from include.respaldo.model.target import TargetTime

WANTED = "tenant_00"
SETTINGS = {"query_log": {"coverage_interval": "10s", "streams": 4}}


def run(*, small: bool) -> None:
    """Measure; print the table."""
    tenants, gigabytes, rounds = (4, 0.2, 1) if small else (50, 4.2, 2)
    with folder() as at:
        physical = PgBackRest(at)
        extra = {"archive_mode": "on", "archive_command": "/bin/true"}  # until it has a repository
        extra |= {"unix_socket_directories": str(at / "postgres")}
        with installation(at, settings=SETTINGS, **extra) as made:
            _measure(made, physical, tenants=tenants, gigabytes=gigabytes, rounds=rounds)


def _measure(
    made: Installation, physical: PgBackRest, *, tenants: int, gigabytes: float, rounds: int
) -> None:
    server = made.postgres
    names = [f"tenant_{number:02d}" for number in range(tenants)]
    fill(server, WANTED, scale=2)
    for name in names[1:]:
        server.execute(f"create database {name} template {WANTED}")
    physical.prepare(server)
    with archiver(made):
        wait_for("the full backups", lambda: sealed(made.deployment(), names), 600, 1)
        took = physical.backup(server)
        note(f"both have a full backup of {tenants} tenants (pgBackRest's took {seconds(took)})")
        [(begun,)] = server.execute("select pg_current_wal_insert_lsn()")
        _work(server, names, begun, gigabytes)
        [(end,)] = server.execute("select clock_timestamp()")
        server.execute("update pgbench_branches set bbalance = 0", WANTED)  # after the target
        lag = wait_for("the window", lambda: reaches(made.deployment(), WANTED) > end, 900, 0.5)
        note(f"restorable to the target after {seconds(lag)}")
        server.execute("select pg_switch_wal()")
    written = _written(server, begun)
    note(f"{megabytes(written)} of write-ahead log since")
    wait_for("pgBackRest's archive", lambda: _all_pushed(server), 900, 1)
    target = end - timedelta(milliseconds=1)
    ours, theirs, same = [], [], True
    phases: dict[str, float] = {}
    for number in range(rounds):
        new = f"ours_{number}"
        ours.append(respaldo(made, "restore", WANTED, "--to", target.isoformat(), "--as", new))
        note(f"Respaldo: {seconds(ours[-1])}")
        theirs.append(
            physical.restore(server, WANTED, target, f"theirs_{number}", made.folder / new)
        )
        note(f"pgBackRest: {seconds(theirs[-1].total)}")
        same &= contents(server, new) == contents(server, f"theirs_{number}")
    deployment = made.deployment()
    request = RestoreRequest(tenant(WANTED), TargetTime(target), "phases", SERVER)
    planned = plan(deployment, request)
    phases = restore_database(deployment, request).durations
    _print(ours, theirs, phases, planned.routes[0].size, physical.size())
    print(f"both restored the same rows: {'yes' if same else 'NO'}\n")


def _work(server: PostgresServer, names: list[str], begun: str, gigabytes: float) -> None:
    """Let all tenants work, most of them in bulk, until that much log was written."""
    others = names[1:]
    number = 0
    while _written(server, begun) < gigabytes * 1e9:
        name = others[number % len(others)]
        Pgbench(server, name, "-t", "100", clients=2).result()
        server.execute("update pgbench_accounts set abalance = abalance + 1", name)
        Pgbench(server, WANTED, "-t", "60", clients=4).result()
        number += 1
    note(
        f"{number} bulk updates of 200,000 rows in the others; "
        f"{number * 240:,} transactions of the one to restore"
    )


def _written(server: PostgresServer, begun: str) -> float:
    [(size,)] = server.execute(
        "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", parameters=[begun]
    )
    return float(size)


def _all_pushed(server: PostgresServer) -> bool:
    """Return whether the last log file that is full is in pgBackRest's repository."""
    query = """
        select last_archived_wal >= pg_walfile_name(pg_current_wal_insert_lsn() - 16777216)
        from pg_stat_archiver
    """
    return server.execute(query) == [(True,)]


def _print(
    ours: list[float], theirs: list[Physical], phases: dict[str, float], size: int, repo: int
) -> None:
    print(f"\n{len(ours)} rounds in turns; both from the command to the database that is there")
    theirs_total = median(t.total for t in theirs)
    wal = theirs[0].wal_bytes
    rows = [
        ("Respaldo (command line)", seconds(median(ours)), megabytes(size)),
        *((f"  {phase}", seconds(took), "") for phase, took in phases.items()),
        ("pgBackRest, pg_dump, pg_restore", seconds(theirs_total), ""),
        ("  files (--db-include)", seconds(median(t.files for t in theirs)), ""),
        (
            "  recovery to the time",
            seconds(median(t.recovery for t in theirs)),
            f"{megabytes(wal)} of WAL",
        ),
        ("  dump and load", seconds(median(t.copy for t in theirs)), ""),
    ]
    table(("", "time", "brought"), rows)
    print(f"pgBackRest's repository: {megabytes(repo)}\n")
    ratio = theirs_total / median(ours)
    verdict(aim="10 times faster", met=ratio >= 10, found=f"{ratio:.1f} times")
