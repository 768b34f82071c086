"""Retention of trees: the calendar, the latest few, and what waits until somebody has looked."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from include.respaldo.model.acknowledgement import unacknowledged
from include.respaldo.model.backup import Category, Manifest, Source, backup_id
from include.respaldo.model.file_tree import StoredTree
from include.respaldo.model.retention import Policy, RetentionPlan, plan_retention

EXAMPLES = int(os.environ.get("RESPALDO_EXAMPLES", "150"))
UPLOADS = Source(Category.FILES, "web1", "uploads")
DAY_0 = datetime(2026, 2, 20, tzinfo=UTC)
MADRID = ZoneInfo("Europe/Madrid")


def manifest(hour: float, *, suspicious: bool) -> Manifest:
    at = DAY_0 + timedelta(hours=hour)
    found = ("30 of 40 files were modified",) if suspicious else ()
    tree = StoredTree(f"{hour}", "/srv", 1, 0, 0, 0, 1, 1, suspicions=found)
    return Manifest(UPLOADS, backup_id(at), at, (), "", {}, tree=tree)


class Days:
    """What the vaults hold of one tree; time passes in hours."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.hour = 0.0
        #: all that was ever made, oldest first
        self.made: list[Manifest] = []
        self.kept: list[Manifest] = []
        self.looked_at: set[str] = set()
        #: unacknowledged suspicious backup -> what was there when it was made, itself included
        self.held: dict[str, set[str]] = {}

    def back_up(self, passes: float, *, suspicious: bool) -> None:
        self.hour += passes
        made = manifest(self.hour, suspicious=suspicious)
        self.made.append(made)
        self.kept.append(made)
        if suspicious:
            self.held[made.backup_id] = {b.backup_id for b in self.kept}

    def look(self, number: int) -> None:
        waiting = sorted(self.held)
        if waiting:
            chosen = waiting[number % len(waiting)]
            self.looked_at.add(chosen)
            del self.held[chosen]

    def plan(self, backups: list[Manifest] | None = None, later: float = 0) -> RetentionPlan:
        found = self.kept if backups is None else backups
        return plan_retention(
            UPLOADS,
            found,
            self.policy,
            DAY_0 + timedelta(hours=self.hour + later),
            MADRID,
            unacknowledged=[b.backup_id for b in unacknowledged(found, self.looked_at)],
        )

    def retain(self, share: float = 1.0) -> RetentionPlan:
        """Remove what the plan says; with `share` < 1, stop on the way as a crash does."""
        plan = self.plan()
        gone = [b.backup_id for b in plan.removed]
        gone = gone[: round(share * len(gone))]
        self.kept = [b for b in self.kept if b.backup_id not in gone]
        return plan

    @property
    def ids(self) -> set[str]:
        return {b.backup_id for b in self.kept}


policies = st.builds(
    Policy, st.integers(0, 4), st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)
)
backups = st.tuples(st.just("backup"), st.floats(0.1, 60), st.sampled_from([False] * 4 + [True]))
steps = st.lists(
    st.one_of(
        backups,
        backups,
        st.tuples(st.just("look"), st.integers(0, 9)),
        st.tuples(st.just("retain"), st.floats(0, 1)),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(script=steps, policy=policies)
def test_nothing_from_before_a_suspicious_backup_goes_until_somebody_has_looked(
    script: list[tuple[object, ...]], policy: Policy
) -> None:
    days = Days(policy)
    for what, *more in script:
        if what == "backup":
            days.back_up(float(more[0]), suspicious=bool(more[1]))  # type: ignore[arg-type]
        elif what == "look":
            days.look(int(more[0]))  # type: ignore[call-overload]
        else:
            days.retain(float(more[0]))  # type: ignore[arg-type]
        for held in days.held.values():
            assert held <= days.ids
        if days.made:
            assert days.made[-1].backup_id in days.ids
        latest = {b.backup_id for b in days.made[-policy.latest :]} if policy.latest else set()
        assert latest <= days.ids


@settings(max_examples=EXAMPLES, deadline=None)
@given(script=steps, policy=policies, later=st.floats(0, 3000))
def test_after_any_sequence_of_days_what_stays_is_what_one_run_over_everything_keeps(
    script: list[tuple[object, ...]], policy: Policy, later: float
) -> None:
    """Once everything was looked at; what waits for it only ever adds to what stays."""
    days = Days(policy)
    for what, *more in script:
        if what == "backup":
            days.back_up(float(more[0]), suspicious=bool(more[1]))  # type: ignore[arg-type]
        elif what == "look":
            days.look(int(more[0]))  # type: ignore[call-overload]
        else:
            days.retain(float(more[0]))  # type: ignore[arg-type]
    assume(days.made)
    days.looked_at |= set(days.held)
    days.retain()
    assert days.ids == {v.backup.backup_id for v in days.plan(days.made).kept}
    assert not days.plan(later=later).removes_anything, "and nothing further goes with time"


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    script=st.lists(backups, min_size=1, max_size=30),
    policy=policies,
    later=st.floats(0, 3000),
    looked=st.sets(st.integers(0, 29)),
)
def test_what_goes_today_goes_at_any_later_time_and_after_anybody_has_looked(
    script: list[tuple[str, float, bool]],
    policy: Policy,
    later: float,
    looked: set[int],
) -> None:
    days = Days(policy)
    for _, passes, suspicious in script:
        days.back_up(passes, suspicious=suspicious)
    first = {b.backup_id for b in days.plan().removed}
    days.looked_at |= {b.backup_id for n, b in enumerate(days.made) if n in looked}
    assert first <= {b.backup_id for b in days.plan(later=later).removed}


@given(script=st.lists(backups, min_size=1, max_size=20), policy=policies)
def test_what_waits_says_for_which_backup(
    script: list[tuple[str, float, bool]], policy: Policy
) -> None:
    days = Days(policy)
    for _, passes, suspicious in script:
        days.back_up(passes, suspicious=suspicious)
    reasons = {v.backup.backup_id: v.reason for v in days.plan().kept}
    for suspicious_id, held in days.held.items():
        assert "nobody has acknowledged it" in reasons[suspicious_id]
        for older in held - days.held.keys():
            assert f"older than the suspicious {max(days.held)}" in reasons[older]
