"""What is kept, what goes, and why: decided from what exists, the policy and the time alone.

Promises, which tests/property/test_retention.py holds it to:

- the newest backup never goes;
- a moment within the recovery window that can be had before can be had after;
- what goes today would go at any later time, too: nothing is missed that went too early;
- once it was carried out, wholly or in part, nothing further goes;
- a suspicious backup that nobody has acknowledged stays, and so does all from before it.

The recovery window is counted back from the last moment that the source is known of, not from now:
a server that is lost, or whose backups stopped, keeps all that leads to its last moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import takewhile
from operator import attrgetter
from typing import NamedTuple, Protocol

from include.respaldo.model.backup import Manifest, Source, parse_backup_id
from include.respaldo.model.catalog import Chain, interval_of, is_anchored
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.segment import ChainTrim, Segment

#: only the newest coverage record is read; what is younger than this beside it stays
COVERAGE_KEPT = timedelta(days=2)


class Backup(Protocol):
    """What retention asks of a backup of any category; those of databases are manifests."""

    @property
    def backup_id(self) -> str: ...
    @property
    def started_at(self) -> datetime: ...
    @property
    def stored_size(self) -> int: ...


@dataclass(frozen=True)
class Policy:
    """How many stay: the newest of each day, week and month that has one, and the latest few."""

    daily: int
    weekly: int
    monthly: int
    #: whatever their age
    latest: int = 0
    #: the promised recovery window; None: of sources that have none
    window: timedelta | None = None

    @property
    def text(self) -> str:
        """For people: ``7 daily, 4 weekly and 3 monthly``."""
        counts = [(self.latest, "latest"), (self.daily, "daily"), (self.weekly, "weekly")]
        parts = [f"{n} {what}" for n, what in counts if n]
        if self.monthly:
            parts.append(f"{self.monthly} monthly")
        return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) if parts else "no"

    @property
    def window_text(self) -> str:
        """For people: ``the recovery window of 7 days``."""
        days = self.window.days if self.window else 0
        return f"the recovery window of {days} day{'s' if days != 1 else ''}"


class Verdict(NamedTuple):
    """Why one backup stays."""

    backup: Backup
    #: for people
    reason: str


@dataclass(frozen=True)
class LogVerdict:
    """What becomes of one chain of a query log."""

    chain: Chain
    #: for people: why it stays, or what goes and why
    reason: str
    #: segments that go, in log order
    removed: tuple[Segment, ...] = ()
    #: recorded before they go; None: nothing of the chain has ever gone, or it goes whole
    trim: ChainTrim | None = None
    #: the chain goes, with all of its objects
    whole: bool = False

    @property
    def goes(self) -> bool:
        return self.whole or bool(self.removed)


@dataclass(frozen=True)
class RetentionPlan:
    """What is kept and what goes of one source; nothing has been changed yet."""

    source: Source
    #: newest first, as `removed`
    kept: tuple[Verdict, ...]
    removed: tuple[Backup, ...]
    #: the reason is one for all of them
    why_removed: str
    #: oldest first
    logs: tuple[LogVerdict, ...] = ()
    #: ids of the suspicious backups at which nobody has looked: nothing older goes; newest first
    waiting: tuple[str, ...] = ()

    @property
    def segments(self) -> int:
        """How many segments go."""
        return sum(len(log.removed) for log in self.logs)

    @property
    def freed(self) -> int:
        """Bytes that go, in each region."""
        return sum(b.stored_size for b in self.removed) + sum(
            s.size for log in self.logs for s in log.removed
        )

    @property
    def removes_anything(self) -> bool:
        return bool(self.removed) or any(log.goes for log in self.logs)


def plan_retention(
    source: Source,
    backups: Iterable[Backup],
    policy: Policy,
    now: datetime,
    zone: tzinfo,
    *,
    chains: Sequence[Chain] = (),
    unacknowledged: Collection[str] = (),
) -> RetentionPlan:
    """Return what is kept of a source's sealed backups and query log, what goes, and why.

    :param zone: that of people: whose days, weeks and months these are.
    :param chains: of a database, oldest first, with their barriers.
    :param unacknowledged: ids of suspicious backups at which nobody has looked.
    """
    newest_first = sorted(backups, key=attrgetter("backup_id"), reverse=True)
    by_moment = sorted(newest_first, key=_at, reverse=True)
    since = _window_start(by_moment, chains, policy, now)
    reasons: dict[str, list[str]] = defaultdict(list)
    for backup in newest_first[:1]:
        reasons[backup.backup_id].append("the newest")
    for backup in newest_first[: policy.latest]:
        reasons[backup.backup_id].append(f"one of the latest {policy.latest}")
    for found, reason in _of_the_calendar(newest_first, policy, zone):
        reasons[found].append(reason)
    serving: list[Backup] = []
    if policy.window is not None:
        within = list(takewhile(lambda b: _at(b) >= since, by_moment))
        for backup in within:
            if backup.backup_id not in reasons:
                reasons[backup.backup_id].append(f"within {policy.window_text}")
        bases = _bases(by_moment[len(within) :], chains, since)
        for backup in bases:
            reasons[backup.backup_id].append(f"{policy.window_text} needs it")
        serving = [*within, *bases]
    for found, reason in _held(newest_first, unacknowledged):
        reasons[found].append(reason)
    why_not = f"no longer among the {policy.text} ones"
    if policy.window is not None:
        why_not = f"older than {policy.window_text} needs, and {why_not}"
    kept = tuple(
        Verdict(b, ", ".join(reasons[b.backup_id])) for b in newest_first if b.backup_id in reasons
    )
    removed = tuple(b for b in newest_first if b.backup_id not in reasons)
    manifests = [b for b in by_moment if isinstance(b, Manifest)]
    logs = tuple(
        _of_chain(number, chains, manifests, serving, since, policy)
        for number in range(len(chains))
    )
    waiting = tuple(b.backup_id for b in newest_first if b.backup_id in unacknowledged)
    return RetentionPlan(source, kept, removed, why_not, logs, waiting)


def superfluous_coverage(recorded: Sequence[datetime], now: datetime) -> tuple[datetime, ...]:
    """Return those of a server's coverage records that nobody reads any more: never the newest."""
    if not recorded:
        return ()
    since = min(now, max(recorded)) - COVERAGE_KEPT
    return tuple(at for at in recorded if at < since)


def _held(newest_first: Sequence[Backup], suspicious: Collection[str]) -> Iterable[tuple[str, str]]:
    """Yield the id and the reason of each backup that waits until somebody has looked.

    Of several suspicious ones each holds what is older than itself: the first may be a false alarm,
    and the good ones before the next one are needed.
    """
    holding = ""
    for backup in newest_first:
        if backup.backup_id in suspicious:
            holding = holding or backup.backup_id
            yield backup.backup_id, "suspicious, and nobody has acknowledged it"
        elif holding:
            yield backup.backup_id, f"older than the suspicious {holding}, not acknowledged yet"


def _at(backup: Backup) -> datetime:
    """Return the first moment that the backup gives."""
    anchor = backup.anchor if isinstance(backup, Manifest) else None
    return backup.started_at if anchor is None else anchor.at


def _window_start(
    by_moment: Sequence[Backup],
    chains: Sequence[Chain],
    policy: Policy,
    now: datetime,
) -> datetime:
    known = [c.until for c in chains if c.until is not None] + [_at(b) for b in by_moment[:1]]
    return min(now, max(known, default=now)) - (policy.window or timedelta(0))


def _of_the_calendar(
    newest_first: Sequence[Backup], policy: Policy, zone: tzinfo
) -> Iterable[tuple[str, str]]:
    """Yield the id and the reason of the newest backup of each day, week and month that counts."""
    days: set[str] = set()
    weeks: set[str] = set()
    months: set[str] = set()
    tiers = (
        (policy.daily, days, "daily"),
        (policy.weekly, weeks, "weekly"),
        (policy.monthly, months, "monthly"),
    )
    for backup in newest_first:
        if all(len(seen) >= count for count, seen, _ in tiers):
            return
        moment = parse_backup_id(backup.backup_id) or backup.started_at
        day = moment.astimezone(zone).date()
        year, week, _ = day.isocalendar()
        labels = (day.isoformat(), f"{year}-W{week:02}", day.isoformat()[:7])
        for (count, seen, name), label in zip(tiers, labels, strict=True):
            if len(seen) < count and label not in seen:
                seen.add(label)
                yield backup.backup_id, f"{name} of {label}"


def _bases(older: Sequence[Backup], chains: Sequence[Chain], since: datetime) -> tuple[Backup, ...]:
    """Return the backups from before the window by which its first moments can be had.

    Of all that reach into the window the one that reaches furthest, and of those the newest: what
    it gives holds what the others give.

    :param older: than the window; newest first.
    """
    if not chains:
        # nothing leads from one backup to the next: the window begins with the last one before it
        return tuple(older[:1])
    manifests = [b for b in older if isinstance(b, Manifest)]
    found: dict[str, Manifest] = {}
    for number, chain in enumerate(chains):
        if chain.missing and not _is_over(number, chains, since):
            # nobody knows yet whether the gap can be closed: as if it were
            newest = _newest_leading_into(chain, manifests)
            found |= {newest.backup_id: newest} if newest else {}
    live = [c for c in chains if c.until is not None and c.until >= since]
    furthest = max((c.until for c in live if c.until is not None), default=None)
    for exact in (False, True):
        best: tuple[datetime, Manifest] | None = None
        for backup in manifests if live else ():
            for chain in live:
                interval = interval_of(backup, chain, with_large_objects=exact)
                if interval is None or interval.end < since:
                    continue
                if best is None or interval.end > best[0]:
                    best = interval.end, backup
            if best is not None and best[0] == furthest:
                break
        if best is not None:
            found[best[1].backup_id] = best[1]
    return tuple(found.values())


def _newest_leading_into(chain: Chain, newest_first: Sequence[Manifest]) -> Manifest | None:
    return next((b for b in newest_first if is_anchored(b, chain)), None)


def _ended_at(number: int, chains: Sequence[Chain]) -> datetime | None:
    """Return when a chain ended; None: it goes on, or it is the newest, which never goes whole."""
    if number == len(chains) - 1:
        return None
    end = chains[number].end
    return end.closed_at if end is not None else chains[number + 1].begin.started_at


def _is_over(number: int, chains: Sequence[Chain], since: datetime) -> bool:
    """Return whether a chain ended before the window; clocks may differ: all of it did."""
    chain, ended_at = chains[number], _ended_at(number, chains)
    return (
        ended_at is not None
        and ended_at < since
        and all(s.last_commit_at < since for s in chain.segments)
        and (chain.until is None or chain.until < since)
    )


def _of_chain(
    number: int,
    chains: Sequence[Chain],
    newest_first: Sequence[Manifest],
    serving: Sequence[Backup],
    since: datetime,
    policy: Policy,
) -> LogVerdict:
    chain = chains[number]
    ended_at = _ended_at(number, chains)
    if ended_at is not None and _is_over(number, chains, since):
        reason = f"closed {ended_at:%Y-%m-%d}, before {policy.window_text}"
        return LogVerdict(chain, reason, chain.segments, whole=True)
    if chain.missing:
        return _stays(chain, "a segment is missing: nothing of it goes while that may be healed")
    newest = _newest_leading_into(chain, newest_first)
    if newest is None:
        return _stays(chain, "no full backup leads into it yet")
    # later full backups will see what the newest one sees, whether that is kept or not
    needing = [b for b in serving if isinstance(b, Manifest) and is_anchored(b, chain)] + [newest]
    oldest = min(needing, key=lambda b: b.anchor.lsn if b.anchor else Lsn(0))
    assert oldest.anchor is not None
    snapshot = oldest.anchor.snapshot
    if not all(b.anchor is not None and b.anchor.snapshot.includes(snapshot) for b in needing):
        return _stays(chain, "full backups that were taken at the same time need it")
    start = _kept_from(chain, needing, since)
    if start <= chain.start:
        return _stays(chain, f"{policy.window_text} needs all of it")
    removed = tuple(s for s in chain.segments if s.end <= start)
    trim = ChainTrim(chain.begin.chain_id, start, snapshot)
    return LogVerdict(chain, f"older than {policy.window_text} needs", removed, trim)


def _stays(chain: Chain, reason: str) -> LogVerdict:
    """Keep all; but what an earlier run has decided on, and not ended, goes."""
    start = chain.start
    removed = tuple(s for s in chain.segments if s.end <= start) if chain.trim else ()
    return LogVerdict(chain, reason, removed, chain.trim)


def _kept_from(chain: Chain, needing: Sequence[Manifest], since: datetime) -> Lsn:
    """Return where the first segment starts that is needed, is young, or is the last one."""
    anchors = [b.anchor for b in needing if b.anchor is not None]
    lsn = min(anchor.lsn for anchor in anchors)
    xmin = min(anchor.snapshot.xmin for anchor in anchors)
    for segment in chain.path[:-1]:
        if segment.end > lsn or segment.max_xid >= xmin or segment.last_commit_at >= since:
            return segment.start
    return chain.path[-1].start if chain.path else chain.start
