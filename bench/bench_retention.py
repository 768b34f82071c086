"""How long it takes to decide what is kept of 500 sources with two years of daily backups."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from bench.table import seconds, table, verdict
from include.respaldo.model.backup import Anchor, Category, Manifest, Source, backup_id
from include.respaldo.model.catalog import Chain
from include.respaldo.model.file_tree import StoredTree
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import moment_key
from include.respaldo.model.retention import Policy, plan_retention
from include.respaldo.model.segment import ChainStart, Covered, DatabaseState, Segment
from include.respaldo.model.snapshot import Snapshot

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
DAY = timedelta(days=1)


def history(source: Source, days: int) -> tuple[list[Manifest], Chain]:
    """Return a backup and a segment for each day, oldest first, all in one chain."""
    begun = NOW - days * DAY
    chain_id = moment_key(begun)
    backups: list[Manifest] = []
    segments: list[Segment] = []
    for day in range(days):
        at, start = begun + day * DAY, 1000 + 1000 * day
        anchor = Anchor("42", 1, 5, Lsn(start), Snapshot(start, start), at)
        backups.append(Manifest(source, backup_id(at), at, (), "15.1", {}, anchor=anchor))
        segments.append(
            Segment(Lsn(start), Lsn(start + 1000), at, at + DAY, start + 999, False, "", 1)
        )
    head = segments[-1].end
    begin = ChainStart(
        source, chain_id, "42", 1, 5, "slot", Lsn(1000), Snapshot(1000, 1000), begun, "first time",
        DatabaseState(begun),
    )  # fmt: skip
    return backups, Chain(begin, tuple(segments), covered=Covered(chain_id, head, NOW, head))


def planned(sources: int, days: int, *, with_log: bool) -> tuple[list[object], float]:
    """Return a row of the table, and the processor time of all plans in seconds."""
    policy, zone = Policy(7, 4, 3, window=7 * DAY), ZoneInfo("Europe/Madrid")
    took, kept, gone, segments = 0.0, 0, 0, 0
    for number in range(sources):
        source = Source(Category.TENANT_DATABASES, "pg1", f"tenant_{number}")
        backups, chain = history(source, days)
        chains = [chain] if with_log else []
        begun = time.process_time()
        plan = plan_retention(source, backups, policy, NOW, zone, chains=chains)
        took += time.process_time() - begun
        kept += len(plan.kept)
        gone += len(plan.removed)
        segments += plan.segments
    what = "databases with query log" if with_log else "databases"
    return [what, sources, days, days if with_log else 0, kept, gone, segments, seconds(took)], took


def planned_trees(sources: int, days: int, *, suspicious: bool) -> tuple[list[object], float]:
    """Return the same for trees; `suspicious`: nobody has looked at a backup of half a year ago."""
    policy, zone = Policy(7, 4, 3), ZoneInfo("Europe/Madrid")
    took, kept, gone = 0.0, 0, 0
    tree = StoredTree("0" * 64, "/srv/uploads", 1000, 10, 0, 0, 10**9, 10**6)
    for number in range(sources):
        source = Source(Category.FILES, "web1", f"uploads_{number}")
        begun = NOW - days * DAY
        backups = [
            Manifest(source, backup_id(at), at, (), "", {}, tree=tree)
            for at in (begun + day * DAY for day in range(days))
        ]
        held = [backups[days * 3 // 4].backup_id] if suspicious else []
        began = time.process_time()
        plan = plan_retention(source, backups, policy, NOW, zone, unacknowledged=held)
        took += time.process_time() - began
        kept += len(plan.kept)
        gone += len(plan.removed)
    what = "files, one suspicious" if suspicious else "files"
    return [what, sources, days, 0, kept, gone, 0, seconds(took)], took


def run(*, small: bool = False) -> None:
    """Print the time of one plan for all sources, and what it decides."""
    sources, days = (50, 100) if small else (500, 730)
    alone, took = planned(sources, days, with_log=False)
    with_log, _ = planned(sources, days, with_log=True)
    trees, took_trees = planned_trees(sources, days, suspicious=False)
    held, took_held = planned_trees(sources, days, suspicious=True)
    table(
        [
            "",
            "sources",
            "backups of each",
            "segments of each",
            "stay",
            "go",
            "segments go",
            "processor",
        ],
        [alone, with_log, trees, held],
    )
    longest = max(took, took_trees, took_held)
    verdict(aim="backups planned in under a second", met=longest < 1, found=seconds(longest))
