"""What exists of a database in the vaults, and the recovery window that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from operator import attrgetter

from include.respaldo.model.backup import Manifest, Source
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.segment import (
    Barrier,
    BarrierKind,
    ChainEnd,
    ChainStart,
    ChainTrim,
    Covered,
    Segment,
)

#: PostgreSQL's clock counts microseconds
TICK = timedelta(microseconds=1)

# chains have hundreds of thousands of segments
_START_AND_END = attrgetter("start", "end")
_END = attrgetter("end")
_LAST_COMMIT_AT = attrgetter("last_commit_at")


@dataclass(frozen=True)
class Chain:
    """An unbroken query log, as listed."""

    begin: ChainStart
    #: as listed, in the order of their start; may overlap after a crash
    segments: tuple[Segment, ...] = ()
    end: ChainEnd | None = None
    #: the newest coverage record that speaks of this chain
    covered: Covered | None = None
    barriers: tuple[Barrier, ...] = ()
    #: what came before was removed on purpose
    trim: ChainTrim | None = None

    @property
    def start(self) -> Lsn:
        """The position from which on everything is here."""
        begin = self.begin.start
        return begin if self.trim is None else max(begin, self.trim.start)

    @cached_property
    def path(self) -> tuple[Segment, ...]:
        """The segments that lead from the chain's start without a gap, needless ones left out.

        What follows a gap is left out: continuity beyond it is not proven.
        """
        found: list[Segment] = []
        position = self.start
        best: Segment | None = None
        for segment in sorted(self.segments, key=_START_AND_END):
            if segment.start > position:
                if best is None or best.end <= position:
                    break
                found.append(best)
                position, best = best.end, None
                if segment.start > position:
                    break
            if segment.end > position and (best is None or segment.end > best.end):
                best = segment
        if best is not None and best.start <= position < best.end:
            found.append(best)
        return tuple(found)

    @property
    def head(self) -> Lsn:
        """The position up to which segments hold everything."""
        path = self.path
        return path[-1].end if path else self.start

    @property
    def reach(self) -> Lsn:
        """The position up to which everything is known: segments, or coverage beyond them."""
        counted = self._counted
        return self.head if counted is None else max(self.head, counted.lsn)

    @property
    def _counted(self) -> Covered | None:
        """The coverage, if it follows from the segments at hand.

        Coverage says "all before this position is in the chain". With a segment missing that is
        true of what was written, not of what can be read: then only what the path reaches counts.
        """
        return self.covered if self.covered and self.head >= self.covered.head else None

    @cached_property
    def missing(self) -> bool:
        """Whether a segment that was written is not there."""
        head = self.head
        behind_coverage = self.covered is not None and head < self.covered.head
        return behind_coverage or max(map(_END, self.segments), default=head) > head

    @cached_property
    def until(self) -> datetime | None:
        """The latest time that can be a target; None while nothing at all is covered.

        A target is exact once a later commit is in the log, or coverage reaches it.
        """
        with_commits = (s for s in self.path if s.has_commits)
        latest = max(map(_LAST_COMMIT_AT, with_commits), default=None)
        times = [] if latest is None else [latest - TICK]
        if self._counted is not None:
            times.append(self._counted.until)
        return max(times, default=None)


@dataclass(frozen=True)
class DatabaseCatalog:
    """Everything that the vaults hold of one database."""

    source: Source
    #: sealed full backups, oldest first
    backups: tuple[Manifest, ...] = ()
    #: oldest first
    chains: tuple[Chain, ...] = ()
    #: what could not be read, in words ("the manifest of … is damaged in both regions")
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interval:
    """A stretch of time, both ends included, to every moment of which a source can be rebuilt."""

    start: datetime
    end: datetime
    backup_id: str
    chain_id: str | None
    #: why it ends where it does
    ends_because: str


@dataclass(frozen=True)
class Gap:
    """Times between two intervals that cannot be had, and why."""

    start: datetime
    end: datetime
    reason: str


@dataclass(frozen=True)
class RecoveryWindow:
    """The intervals, oldest first, and the gaps between them: never hidden."""

    intervals: tuple[Interval, ...]
    gaps: tuple[Gap, ...]


def is_anchored(backup: Manifest, chain: Chain) -> bool:
    """Return whether every transaction that the backup does not see is in the chain.

    The chain holds all commits past its start. A transaction still in progress when the chain's
    slot was ready may have written its commit record before; so the backup must see it.
    Of a chain that was trimmed, it must see all that was removed.
    """
    anchor = backup.anchor
    if anchor is None:
        return False
    begin = chain.begin
    return (
        anchor.system_identifier == begin.system_identifier
        and anchor.timeline == begin.timeline
        and anchor.database_oid == begin.database_oid
        and anchor.lsn >= chain.start
        and all(anchor.snapshot.sees(xid) for xid in begin.snapshot.in_progress)
        and (chain.trim is None or anchor.snapshot.includes(chain.trim.snapshot))
    )


def barriers_past(backup: Manifest, chain: Chain) -> tuple[Barrier, ...]:
    """Return the changes past the backup that the log cannot replay, in the order of their time."""
    anchor = backup.anchor
    if anchor is None:
        return ()
    return tuple(
        barrier
        for barrier in sorted(chain.barriers, key=lambda b: (b.at, b.first_lsn))
        if (
            not anchor.snapshot.sees_xid32(barrier.xid)
            if barrier.xid is not None
            else barrier.last_lsn > anchor.lsn
        )
    )


def large_object_changes(catalog: DatabaseCatalog) -> tuple[Barrier, ...]:
    """Return the changes of large objects that are known of, which no log holds, oldest first."""
    found = (
        barrier
        for chain in catalog.chains
        for barrier in chain.barriers
        if barrier.kind is BarrierKind.LARGE_OBJECT
    )
    return tuple(sorted(found, key=lambda b: b.at))


def first_barrier(
    backup: Manifest, chain: Chain, *, with_large_objects: bool = False
) -> Barrier | None:
    """Return the first change past the backup that no target may lie beyond, or None.

    :param with_large_objects: theirs count too; else they are restored as of the full backup.
    """
    for barrier in barriers_past(backup, chain):
        if with_large_objects or barrier.kind is not BarrierKind.LARGE_OBJECT:
            return barrier
    return None


def interval_of(
    backup: Manifest, chain: Chain, *, with_large_objects: bool = False
) -> Interval | None:
    """Return the moments that this backup and this chain give together, or None.

    :param with_large_objects: see `first_barrier`.
    """
    if backup.anchor is None or not is_anchored(backup, chain):
        return None
    start = backup.anchor.at
    until = chain.until
    if until is None or until < start:
        return None
    because = _why_it_ends(chain)
    barrier = first_barrier(backup, chain, with_large_objects=with_large_objects)
    if barrier is not None and barrier.at <= until:
        until = barrier.at - TICK
        because = f"{barrier.kind.value}: {barrier.what}"
    if until < start:
        return None
    return Interval(start, until, backup.backup_id, chain.begin.chain_id, because)


def _why_it_ends(chain: Chain) -> str:
    if chain.missing:
        return "a segment of the query log is missing"
    if chain.end is not None:
        return f"the query log was closed: {chain.end.reason}"
    return "the query log reaches no further yet"


def recovery_window(
    catalog: DatabaseCatalog, *, with_large_objects: bool = False
) -> RecoveryWindow:
    """Return every moment to which the database can be rebuilt, and the gaps with their reasons.

    A full backup outside every chain gives the one moment of its snapshot.

    :param with_large_objects: only moments whose large objects are exact, too.
    """
    found: list[Interval] = []
    for backup in catalog.backups:
        if backup.anchor is None:
            continue
        intervals = [
            interval
            for chain in catalog.chains
            if (interval := interval_of(backup, chain, with_large_objects=with_large_objects))
        ]
        found += intervals or [
            Interval(
                backup.anchor.at,
                backup.anchor.at,
                backup.backup_id,
                None,
                _why_alone(backup, catalog.chains, with_large_objects=with_large_objects),
            )
        ]
    merged = _merge(sorted(found, key=lambda i: (i.start, i.end)))
    gaps = tuple(Gap(a.end, b.start, a.ends_because) for a, b in pairwise(merged))
    return RecoveryWindow(tuple(merged), gaps)


def _why_alone(backup: Manifest, chains: Iterable[Chain], *, with_large_objects: bool) -> str:
    for chain in chains:
        if is_anchored(backup, chain):
            barrier = first_barrier(backup, chain, with_large_objects=with_large_objects)
            if barrier is not None:
                return f"{barrier.kind.value}: {barrier.what}"
            return _why_it_ends(chain)
    return "no query log holds what followed this full backup"


def _merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Join intervals that overlap or touch; the later end and its reason win."""
    merged: list[Interval] = []
    for interval in intervals:
        last = merged[-1] if merged else None
        if last is None or interval.start > last.end + TICK:
            merged.append(interval)
        elif interval.end > last.end:
            merged[-1] = Interval(
                last.start,
                interval.end,
                interval.backup_id,
                interval.chain_id,
                interval.ends_because,
            )
    return merged
