"""Retention keeps its promises, whatever the order of backups, chains, barriers and days."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from include.respaldo.model.backup import Anchor, Category, Manifest, Source, backup_id
from include.respaldo.model.catalog import Chain, DatabaseCatalog, is_anchored, recovery_window
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import moment_key
from include.respaldo.model.restore_plan import Refusal, plan_routes
from include.respaldo.model.retention import (
    Policy,
    RetentionPlan,
    plan_retention,
    superfluous_coverage,
)
from include.respaldo.model.segment import (
    Barrier,
    BarrierKind,
    ChainEnd,
    ChainStart,
    Covered,
    DatabaseState,
    Segment,
)
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import TargetTime

EXAMPLES = int(os.environ.get("RESPALDO_EXAMPLES", "150"))
ACME = Source(Category.TENANT_DATABASES, "pg1", "acme")
DAY_0 = datetime(2026, 2, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
MADRID = ZoneInfo("Europe/Madrid")


def at(hour: float) -> datetime:
    return DAY_0 + hour * HOUR


class History:
    """What the vaults hold, hour by hour: one position and one transaction id a minute."""

    def __init__(self) -> None:
        self.backups: list[Manifest] = []
        self.chains: list[Chain] = []

    @property
    def catalog(self) -> DatabaseCatalog:
        return DatabaseCatalog(ACME, tuple(self.backups), tuple(self.chains))

    def back_up(self, hour: float, *, took: float = 0.5, running: float | None = None) -> None:
        """Take a full backup; `running`: a transaction begun then, which it does not see."""
        xid = 1000 + round(hour * 60)
        old = () if running is None else (1000 + round(running * 60),)
        self.backups.append(
            Manifest(
                source=ACME,
                backup_id=backup_id(at(hour)),
                started_at=at(hour),
                files=(),
                server_version="15.1",
                tools={},
                anchor=Anchor(
                    "42", 1, 5, position(hour), Snapshot(min((xid, *old)), xid, old), at(hour)
                ),
            )
        )
        self.backups.sort(key=lambda b: b.backup_id)

    def begin_chain(self, hour: float, running: float | None = None) -> None:
        """Close the chain that is open, and begin another."""
        if self.chains and self.chains[-1].end is None:
            last = self.chains[-1]
            end = ChainEnd(last.begin.chain_id, at(hour), "the slot was lost", last.covered)
            self.chains[-1] = replace(last, end=end)
        xid = 1000 + round(hour * 60)
        old = () if running is None else (1000 + round(running * 60),)
        chain_id = moment_key(at(hour))
        begin = ChainStart(
            ACME,
            chain_id,
            "42",
            1,
            5,
            "respaldo_5",
            position(hour),
            Snapshot(min((xid, *old)), xid, old),
            at(hour),
            "first time",
            DatabaseState(at(hour)),
        )
        self.chains.append(Chain(begin))

    def archive(self, hour: float, to: float, barrier: BarrierKind | None, late: float = 0) -> None:
        """Add a segment; `late`: the largest id in it began so many hours before it committed."""
        chain = self.chains[-1]
        found = tuple(chain.segments)
        start = chain.head
        segment = Segment(
            start,
            position(to),
            at(hour),
            at(to),
            1000 + round((to - late) * 60),
            barrier is not None,
            f"{len(found):064x}",
            1,
        )
        barriers = chain.barriers
        if barrier is not None:
            middle = (hour + to) / 2
            xid = None if barrier is BarrierKind.LARGE_OBJECT else 1000 + round(middle * 60)
            place = position(middle)
            barriers += (Barrier(barrier, place, place, at(middle), "a change", xid),)
        covered = Covered(chain.begin.chain_id, position(to), at(to), position(to))
        self.chains[-1] = replace(
            chain, segments=(*found, segment), barriers=barriers, covered=covered
        )

    def carry_out(self, plan: RetentionPlan, share: float = 1.0) -> None:
        """Remove what the plan says; with `share` < 1, stop on the way as a crash does."""
        gone = [b.backup_id for b in plan.removed]
        gone = gone[: round(share * len(gone))]
        self.backups = [b for b in self.backups if b.backup_id not in gone]
        if len(gone) < len(plan.removed):
            return
        kept: list[Chain] = []
        for log in plan.logs:
            removed = set(log.removed[: round(share * len(log.removed))])
            if log.whole and len(removed) == len(log.removed) and share == 1:
                continue
            segments = tuple(s for s in log.chain.segments if s not in removed)
            kept.append(replace(log.chain, segments=segments, trim=log.trim or log.chain.trim))
        self.chains = kept


def position(hour: float) -> Lsn:
    return Lsn(10_000 + round(hour * 60))


hours = st.floats(0.5, 40)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("backup"), hours, st.none() | st.floats(0, 60)),
        st.tuples(st.just("chain"), hours, st.none() | st.floats(0, 60)),
        st.tuples(
            st.just("segment"),
            hours,
            st.sampled_from([None, None, None, *BarrierKind]),
            st.sampled_from([0.0, 0.0, 0.3, 20.0]),
        ),
        st.tuples(st.just("days"), st.just(0.0), st.integers(1, 8), st.integers(1, 3)),
        st.tuples(st.just("lose a segment"), st.just(0.0), st.integers(0, 20)),
    ),
    min_size=2,
    max_size=25,
).map(lambda script: [("chain", 1.0, None), ("backup", 1.0, None), *script])
policies = st.builds(
    Policy,
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(1, 6).map(lambda days: timedelta(days=days)),
)


def live(history: History, script: list[tuple[object, ...]], begun: float = 0) -> float:
    """Let time pass step by step; return the last hour."""
    hour = begun
    for what, passes, *more in script:
        before, hour = hour, hour + float(passes)  # type: ignore[arg-type]
        if what == "backup":
            running = more[0]
            history.back_up(hour, running=None if running is None else hour - running)  # type: ignore[operator]
        elif what == "chain":
            running = more[0]
            history.begin_chain(hour, None if running is None else hour - running)  # type: ignore[operator]
        elif what == "segment" and history.chains:
            if history.chains[-1].end is None and not history.chains[-1].missing:
                history.archive(before, hour, *more)  # type: ignore[arg-type]
        elif what == "days":
            for _ in range(int(more[0])):  # type: ignore[call-overload]
                parts = int(more[1])  # type: ignore[call-overload]
                for _ in range(parts):
                    before, hour = hour, hour + 24 / parts
                    if history.chains[-1].end is None and not history.chains[-1].missing:
                        history.archive(before, hour, None)
                history.back_up(hour)
        elif what == "lose a segment" and history.chains:
            chain = history.chains[-1]
            number = int(more[0])  # type: ignore[call-overload]
            if number < len(chain.segments):
                rest = chain.segments[:number] + chain.segments[number + 1 :]
                history.chains[-1] = replace(chain, segments=rest)
                history.begin_chain(hour)
    return hour


def retention(history: History, policy: Policy, hour: float) -> RetentionPlan:
    return plan_retention(ACME, history.backups, policy, at(hour), MADRID, chains=history.chains)


def moments(history: History, since: datetime, *, exact: bool = False) -> list[datetime]:
    """Return the ends of all intervals within the window, and points between."""
    found: list[datetime] = []
    window = recovery_window(history.catalog, with_large_objects=exact)
    for interval in window.intervals:
        if interval.end >= since:
            start = max(since, interval.start)
            found += [start, start + (interval.end - start) / 2, interval.end]
    return found


def window_start(history: History, policy: Policy, hour: float) -> datetime:
    """Return where the window begins: counted from what is known last, if that is before now."""
    assert policy.window is not None
    known = [c.until for c in history.chains if c.until is not None]
    known += [b.anchor.at for b in history.backups if b.anchor is not None]
    return min(at(hour), max(known, default=at(hour))) - policy.window


def assert_still_to_be_had(
    history: History, wanted: dict[bool, list[datetime]], hour: float
) -> None:
    for exact, targets in wanted.items():
        for target in targets:
            found = plan_routes(
                history.catalog, TargetTime(target), at(hour), with_large_objects=exact
            )
            assert not isinstance(found, Refusal), (target, found)


@settings(max_examples=EXAMPLES, deadline=None)
@given(script=steps, policy=policies, later=st.floats(0, 800))
def test_the_newest_never_goes_and_the_window_stays_whole_and_nothing_more_goes_then(
    script: list[tuple[object, ...]], policy: Policy, later: float
) -> None:
    history = History()
    now = live(history, script) + later
    assume(history.backups)
    since = window_start(history, policy, now)
    wanted = {exact: moments(history, since, exact=exact) for exact in (False, True)}
    routes = {
        target: plan_routes(history.catalog, TargetTime(target), at(now))
        for target in wanted[False]
    }
    plan = retention(history, policy, now)
    history.carry_out(plan)
    assert history.backups[-1].backup_id == plan.kept[0].backup.backup_id
    assert {b.backup_id for b in history.backups} == {v.backup.backup_id for v in plan.kept}
    assert_still_to_be_had(history, wanted, now)
    again = retention(history, policy, now)
    assert not again.removes_anything
    assert [v.reason for v in again.kept] == [v.reason for v in plan.kept]
    # what is restored is the same, too: no segment that a remaining way needs has gone
    kept = {b.backup_id for b in history.backups}
    for target, before in routes.items():
        after = plan_routes(history.catalog, TargetTime(target), at(now))
        assert not isinstance(before, Refusal)
        assert not isinstance(after, Refusal)
        known = {(r.backup.backup_id, r.chain and r.chain.begin.chain_id): r for r in before}
        for route in after:
            was = known.get((route.backup.backup_id, route.chain and route.chain.begin.chain_id))
            if was is not None and route.backup.backup_id in kept:
                assert route.segments == was.segments


@settings(max_examples=EXAMPLES, deadline=None)
@given(script=steps, policy=policies, later=st.floats(0, 400), still_later=st.floats(0, 400))
def test_what_goes_today_goes_at_any_later_time_too(
    script: list[tuple[object, ...]], policy: Policy, later: float, still_later: float
) -> None:
    history = History()
    now = live(history, script)
    first = retention(history, policy, now + later)
    second = retention(history, policy, now + later + still_later)
    assert set(gone(first)) <= set(gone(second))


def gone(plan: RetentionPlan) -> list[str]:
    return [b.backup_id for b in plan.removed] + [
        f"{log.chain.begin.chain_id}/{s.start}" for log in plan.logs for s in log.removed
    ]


@settings(max_examples=EXAMPLES, deadline=None)
@given(scripts=st.lists(steps, min_size=2, max_size=5), policy=policies, share=st.floats(0, 1))
def test_after_any_sequence_of_days_the_window_is_what_it_would_be_without_retention(
    scripts: list[list[tuple[object, ...]]], policy: Policy, share: float
) -> None:
    kept, everything = History(), History()
    hour = 0.0
    for number, drawn in enumerate(scripts):
        # segments are lost in the last part only: after that a run could not know what they held
        script = [s for s in drawn if s[0] != "lose a segment"]
        live(everything, script, hour)
        hour = live(kept, script, hour)
        plan = retention(kept, policy, hour)
        kept.carry_out(plan, share if number % 2 else 1.0)
        if not everything.backups:
            continue
        since = window_start(everything, policy, hour)
        assert since == window_start(kept, policy, hour)
        wanted = {exact: moments(everything, since, exact=exact) for exact in (False, True)}
        assert_still_to_be_had(kept, wanted, hour)


@settings(max_examples=EXAMPLES, deadline=None)
@given(script=steps, policy=policies, share=st.floats(0, 1), later=st.floats(0, 800))
def test_carried_out_in_part_the_rest_goes_the_next_time(
    script: list[tuple[object, ...]], policy: Policy, share: float, later: float
) -> None:
    history, whole = History(), History()
    now = live(history, script) + later
    live(whole, script)
    plan = retention(history, policy, now)
    whole.carry_out(plan)
    history.carry_out(plan, share)
    wanted = {False: moments(whole, window_start(whole, policy, now))}
    assert_still_to_be_had(history, wanted, now)
    history.carry_out(retention(history, policy, now))
    assert history.backups == whole.backups
    assert [c.path for c in history.chains] == [c.path for c in whole.chains]
    for chain in history.chains:
        for backup in history.backups:
            same = [c for c in whole.chains if c.begin == chain.begin]
            assert is_anchored(backup, chain) == is_anchored(backup, same[0])


@given(
    recorded=st.lists(st.floats(0, 500), max_size=30), first=st.floats(0, 600), more=st.floats(0, 9)
)
def test_the_newest_coverage_record_stays_and_two_days_beside_it(
    recorded: list[float], first: float, more: float
) -> None:
    times = [at(hour) for hour in recorded]
    removed = superfluous_coverage(times, at(first))
    assert not times or max(times) not in removed
    assert set(removed) <= set(superfluous_coverage(times, at(first + more)))
    kept = [t for t in times if t not in removed]
    assert superfluous_coverage(kept, at(first)) == ()
    assert all(t < at(first) - timedelta(days=2) for t in removed)
