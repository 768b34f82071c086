"""From what exists and what is wanted to a plan, or to a refusal that says what can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from include.respaldo.model.backup import Manifest
from include.respaldo.model.catalog import (
    Chain,
    DatabaseCatalog,
    RecoveryWindow,
    barriers_past,
    first_barrier,
    interval_of,
    is_anchored,
    recovery_window,
)
from include.respaldo.model.segment import Barrier, BarrierKind, Segment
from include.respaldo.model.target import Target, TargetLsn, TargetTime


@dataclass(frozen=True)
class Route:
    """A full backup and the segments that lead from it to the target."""

    backup: Manifest
    chain: Chain | None
    #: in log order; none where the full backup is itself what is wanted
    segments: tuple[Segment, ...]
    #: the last of `segments`, or the next one: its sequence states are at or past the target
    sequences_from: Segment | None
    #: changes of large objects that it cannot replay: they are as of the full backup
    large_objects_left_out: tuple[Barrier, ...] = ()

    @property
    def size(self) -> int:
        """Bytes to fetch from a vault."""
        wanted = {s.sha256: s.size for s in self.segments}
        if self.sequences_from is not None:
            wanted[self.sequences_from.sha256] = self.sequences_from.size
        return self.backup.stored_size + sum(wanted.values())


@dataclass(frozen=True)
class Refusal:
    """Why the target cannot be had exactly, and the nearest points that can."""

    reason: str
    #: latest restorable moment before the target
    before: datetime | None
    #: earliest restorable moment after the target
    after: datetime | None
    window: RecoveryWindow


def plan_routes(
    catalog: DatabaseCatalog,
    target: Target,
    now: datetime,
    *,
    with_large_objects: bool = False,
) -> tuple[Route, ...] | Refusal:
    """Return the ways to the target, best (shortest log) first, or the refusal.

    More than one way is given so that a damaged full backup does not end a restore that an older
    one, with more of the log, can still do exactly.

    :param with_large_objects: refuse rather than restore them as of the full backup.
    """
    routes = tuple(_routes(catalog, target, with_large_objects))
    if routes:
        return routes
    window = recovery_window(catalog, with_large_objects=with_large_objects)
    before, after = _nearest(window, target)
    return Refusal(_reason(catalog, target, now, window), before, after, window)


def _routes(catalog: DatabaseCatalog, target: Target, with_large_objects: bool) -> Iterator[Route]:
    newest_first = sorted(
        (b for b in catalog.backups if b.anchor is not None),
        key=lambda b: b.anchor.at if b.anchor else b.started_at,
        reverse=True,
    )
    for backup in newest_first:
        assert backup.anchor is not None
        by_log = [
            _route(backup, chain, target)
            for chain in reversed(catalog.chains)
            if _leads_to(backup, chain, target, with_large_objects)
        ]
        yield from by_log
        # Its own moment, too, takes the log where there is one: a transaction that had its commit
        # time, and was not visible yet when the snapshot was taken, belongs to it
        if not by_log and isinstance(target, TargetTime) and target.at == backup.anchor.at:
            yield Route(backup, None, (), None)


def _leads_to(backup: Manifest, chain: Chain, target: Target, with_large_objects: bool) -> bool:
    assert backup.anchor is not None
    if isinstance(target, TargetTime):
        interval = interval_of(backup, chain, with_large_objects=with_large_objects)
        return interval is not None and interval.start <= target.at <= interval.end
    if not is_anchored(backup, chain) or not backup.anchor.lsn <= target.lsn < chain.reach:
        return False
    barrier = first_barrier(backup, chain, with_large_objects=with_large_objects)
    return barrier is None or barrier.first_lsn > target.lsn


def _route(backup: Manifest, chain: Chain, target: Target) -> Route:
    """Take the segments that hold something the backup does not see, up to the target.

    All whose largest transaction id is below the snapshot's xmin hold only what the backup sees;
    a transaction that it does not see may well stand in a segment before the snapshot's position.
    """
    assert backup.anchor is not None
    wanted: list[Segment] = []
    sequences_from: Segment | None = None
    for segment in chain.path:
        if segment.end > backup.anchor.lsn or segment.max_xid >= backup.anchor.snapshot.xmin:
            sequences_from = segment
            if _begins_past(segment, target):
                break
            wanted.append(segment)
            if _ends_past(segment, target):
                break
    left_out = tuple(
        barrier
        for barrier in barriers_past(backup, chain)
        if barrier.kind is BarrierKind.LARGE_OBJECT and _may_be_before(barrier, target)
    )
    return Route(backup, chain, tuple(wanted), sequences_from, left_out)


def _may_be_before(barrier: Barrier, target: Target) -> bool:
    if isinstance(target, TargetLsn):
        return barrier.first_lsn <= target.lsn
    return barrier.at <= target.at


def _begins_past(segment: Segment, target: Target) -> bool:
    """Return whether no commit of the segment belongs to the target."""
    if isinstance(target, TargetLsn):
        return segment.start > target.lsn
    return segment.has_commits and segment.first_commit_at > target.at


def _ends_past(segment: Segment, target: Target) -> bool:
    """Return whether recovery stops within the segment: it holds a commit past the target."""
    if isinstance(target, TargetLsn):
        return segment.end > target.lsn
    return segment.has_commits and segment.last_commit_at > target.at


def _nearest(window: RecoveryWindow, target: Target) -> tuple[datetime | None, datetime | None]:
    if isinstance(target, TargetLsn):
        return None, None
    before = [i.end for i in window.intervals if i.end <= target.at]
    after = [i.start for i in window.intervals if i.start > target.at]
    return max(before, default=None), min(after, default=None)


def _reason(catalog: DatabaseCatalog, target: Target, now: datetime, window: RecoveryWindow) -> str:
    if not catalog.backups:
        return f"no full backup of {catalog.source} is in the vault"
    if isinstance(target, TargetLsn):
        return f"position {target.lsn} is outside every stretch of the log that can be replayed"
    if target.at > now:
        return "that moment is in the future"
    if not window.intervals or target.at < window.intervals[0].start:
        return "that moment is before the first full backup"
    if target.at > window.intervals[-1].end:
        return f"that moment is past the recovery window ({window.intervals[-1].ends_because})"
    for gap in window.gaps:
        if gap.start < target.at < gap.end:
            return f"that moment lies in a gap of the recovery window ({gap.reason})"
    return "no full backup and query log lead to that moment"
