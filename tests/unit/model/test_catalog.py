"""What follows from what exists: the recovery window, the way to a target, or the refusal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.respaldo.model import keys
from include.respaldo.model.backup import Anchor, Category, Manifest, Source
from include.respaldo.model.catalog import TICK, Chain, DatabaseCatalog, recovery_window
from include.respaldo.model.continuity import BeginAnew, GoOn, SlotFacts, continuity
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.restore_plan import Refusal, plan_routes
from include.respaldo.model.segment import (
    Barrier,
    BarrierKind,
    ChainEnd,
    ChainStart,
    Coverage,
    Covered,
    DatabaseState,
    Segment,
)
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import TargetLsn, TargetTime

ACME = Source(Category.TENANT_DATABASES, "pg1", 'we"ird; drop--$(x)')
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def at(seconds: float) -> datetime:
    return NOON + seconds * SECOND


def begin(lsn: int = 100, running: tuple[int, ...] = ()) -> ChainStart:
    return ChainStart(
        source=ACME,
        chain_id="20261122T120000.000000Z",
        system_identifier="42",
        timeline=1,
        database_oid=5,
        slot="respaldo_5",
        start=Lsn(lsn),
        snapshot=Snapshot(10, 20, running),
        started_at=at(0),
        reason="first time",
        state=DatabaseState(at(0)),
    )


def segment(start: int, end: int, first: float, last: float, **other: object) -> Segment:
    return Segment(Lsn(start), Lsn(end), at(first), at(last), 50, False, "ab" * 32, 10, **other)  # type: ignore[arg-type]


def backup(number: int, lsn: int, taken: float, snapshot: Snapshot | None = None) -> Manifest:
    return Manifest(
        source=ACME,
        backup_id=f"2026112{number}T020000.000000Z",
        started_at=at(taken),
        files=(),
        server_version="15.1",
        tools={},
        anchor=Anchor("42", 1, 5, Lsn(lsn), snapshot or Snapshot(30, 30), at(taken)),
    )


def covered(lsn: int, until: float, head: int) -> Covered:
    return Covered("20261122T120000.000000Z", Lsn(lsn), at(until), Lsn(head))


def test_segments_that_touch_make_a_path_and_overlaps_are_left_out() -> None:
    parts = (segment(100, 150, 1, 2), segment(100, 180, 1, 4), segment(150, 200, 3, 6))
    chain = Chain(begin(), parts)
    assert chain.path == (parts[1], parts[2])
    assert chain.head == Lsn(200)
    assert not chain.missing


def test_a_gap_between_segments_ends_the_path_and_is_seen() -> None:
    chain = Chain(begin(), (segment(100, 150, 1, 2), segment(160, 200, 3, 6)))
    assert chain.head == Lsn(150)
    assert chain.missing


def test_coverage_does_not_count_when_a_segment_it_rests_on_is_gone() -> None:
    whole = Chain(begin(), (segment(100, 150, 1, 2),), covered=covered(900, 60, 150))
    assert whole.until == at(60)
    assert whole.reach == Lsn(900)
    lost = Chain(begin(), (), covered=covered(900, 60, 150))
    assert lost.missing
    assert lost.until is None
    assert lost.reach == Lsn(100)


def test_the_window_runs_from_the_first_full_backup_to_the_end_of_coverage() -> None:
    chain = Chain(begin(), (segment(100, 150, 6, 8),), covered=covered(900, 60, 150))
    window = recovery_window(DatabaseCatalog(ACME, (backup(1, 120, 5),), (chain,)))
    assert [(i.start, i.end) for i in window.intervals] == [(at(5), at(60))]


def test_a_full_backup_blind_to_what_ran_at_the_chains_start_stands_alone() -> None:
    chain = Chain(begin(running=(15,)), (), covered=covered(900, 60, 100))
    blind = backup(1, 120, 5, Snapshot(15, 30, (15,)))
    window = recovery_window(DatabaseCatalog(ACME, (blind,), (chain,)))
    assert [(i.start, i.end) for i in window.intervals] == [(at(5), at(5))]


def test_a_schema_change_closes_the_window_until_the_next_full_backup() -> None:
    change = Barrier(
        BarrierKind.SCHEMA_CHANGE, Lsn(140), Lsn(140), at(7), "ALTER TABLE public.orders", 35
    )
    chain = Chain(
        begin(), (segment(100, 150, 6, 8),), covered=covered(900, 60, 150), barriers=(change,)
    )
    before = backup(1, 120, 5)
    after = backup(2, 200, 20, Snapshot(40, 40))
    catalog = DatabaseCatalog(ACME, (before, after), (chain,))
    window = recovery_window(catalog)
    tick = timedelta(microseconds=1)
    assert [(i.start, i.end) for i in window.intervals] == [
        (at(5), at(7) - tick),
        (at(20), at(60)),
    ]
    assert "ALTER TABLE public.orders" in window.gaps[0].reason
    refusal = plan_routes(catalog, TargetTime(at(10)), at(100))
    assert isinstance(refusal, Refusal)
    assert (refusal.before, refusal.after) == (at(7) - tick, at(20))
    assert "schema change" in refusal.reason


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (1, "before the first full backup"),
        (70, "past the recovery window"),
        (101, "in the future"),
    ],
)
def test_a_target_outside_the_window_is_refused_by_name(wanted: float, why: str) -> None:
    chain = Chain(begin(), (segment(100, 150, 6, 8),), covered=covered(900, 60, 150))
    catalog = DatabaseCatalog(ACME, (backup(1, 120, 5),), (chain,))
    refusal = plan_routes(catalog, TargetTime(at(wanted)), at(100))
    assert isinstance(refusal, Refusal)
    assert why in refusal.reason
    assert refusal.before or refusal.after


def test_a_gap_inside_the_window_refuses_the_target_and_names_the_nearest_points() -> None:
    first = Chain(
        begin(),
        (segment(100, 150, 6, 8),),
        ChainEnd("x", at(30), "the replication slot is gone"),
        covered(160, 25, 150),
    )
    second = Chain(begin(500), (), covered=covered(900, 60, 500))
    catalog = DatabaseCatalog(ACME, (backup(1, 120, 5), backup(2, 600, 40)), (first, second))
    refusal = plan_routes(catalog, TargetTime(at(33)), at(100))
    assert isinstance(refusal, Refusal)
    assert (refusal.before, refusal.after) == (at(25), at(40))
    assert "the replication slot is gone" in refusal.reason


def test_a_route_takes_the_segments_from_the_backup_to_the_commit_past_the_target() -> None:
    parts = tuple(segment(100 + 10 * i, 110 + 10 * i, 10 * i, 10 * i + 9) for i in range(1, 8))
    first = segment(100, 110, 0, 9)
    chain = Chain(begin(), (first, *parts), covered=covered(900, 90, 180))
    # its snapshot does not see transaction 45: segments with ids up to 50 may hold it
    near = backup(1, 135, 35, Snapshot(60, 60))
    catalog = DatabaseCatalog(ACME, (near,), (chain,))
    routes = plan_routes(catalog, TargetTime(at(52)), at(100))
    assert isinstance(routes, tuple)
    assert routes[0].segments == (parts[2], parts[3], parts[4])
    assert routes[0].sequences_from == parts[4]
    quiet = plan_routes(catalog, TargetTime(at(59.5)), at(100))
    assert isinstance(quiet, tuple)
    assert quiet[0].segments == (parts[2], parts[3], parts[4])
    assert quiet[0].sequences_from == parts[5], "its state was read past the target"


def test_a_segment_without_commits_ends_no_route_and_proves_no_moment() -> None:
    """It is dated by a look at the database, and what committed before that look may follow it."""
    alone = replace(segment(150, 180, 50, 50), max_xid=0)
    parts = (segment(100, 150, 5, 20), alone, segment(180, 250, 30, 49))
    chain = Chain(begin(), parts, covered=covered(250, 49.5, 250))
    catalog = DatabaseCatalog(ACME, (backup(1, 120, 10),), (chain,))
    routes = plan_routes(catalog, TargetTime(at(45)), at(100))
    assert not isinstance(routes, Refusal)
    assert routes[0].segments == parts
    assert Chain(begin(), parts[:2]).until == at(20) - TICK


def test_a_segment_before_the_snapshot_is_taken_when_it_may_hold_what_is_unseen() -> None:
    early = segment(100, 110, 0, 9)  # ids up to 50
    late = segment(110, 200, 10, 49)
    chain = Chain(begin(), (early, late), covered=covered(900, 90, 200))
    catalog = DatabaseCatalog(ACME, (backup(1, 150, 20, Snapshot(45, 60, (45,))),), (chain,))
    routes = plan_routes(catalog, TargetTime(at(30)), at(100))
    assert isinstance(routes, tuple)
    assert routes[0].segments == (early, late)


def test_an_older_full_backup_is_a_second_way_to_the_same_target() -> None:
    chain = Chain(begin(), (segment(100, 150, 6, 8),), covered=covered(900, 60, 150))
    catalog = DatabaseCatalog(ACME, (backup(1, 120, 5), backup(2, 300, 20)), (chain,))
    routes = plan_routes(catalog, TargetTime(at(40)), at(100))
    assert isinstance(routes, tuple)
    assert [r.backup.backup_id[:8] for r in routes] == ["20261122", "20261121"]


def test_a_position_is_reached_by_the_segments_up_to_it() -> None:
    parts = (segment(100, 150, 1, 2), segment(150, 200, 3, 6), segment(200, 300, 7, 9))
    chain = Chain(begin(), parts, covered=covered(900, 60, 300))
    catalog = DatabaseCatalog(ACME, (backup(1, 120, 1.5),), (chain,))
    routes = plan_routes(catalog, TargetLsn(Lsn(170)), at(100))
    assert isinstance(routes, tuple)
    assert routes[0].segments == parts[:2]
    assert isinstance(plan_routes(catalog, TargetLsn(Lsn(901)), at(100)), Refusal)


FACTS = SlotFacts("42", 1, 5, Lsn(150), True)


def test_a_chain_goes_on_from_where_segments_or_coverage_reach() -> None:
    chain = Chain(begin(), (segment(100, 150, 1, 2),), covered=covered(170, 60, 150))
    assert continuity(chain, FACTS) == GoOn(Lsn(170))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (SlotFacts("43", 1, 5, Lsn(150), True), "replaced"),
        (SlotFacts("42", 2, 5, Lsn(150), True), "promoted"),
        (SlotFacts("42", 1, 6, Lsn(150), True), "dropped and created"),
        (SlotFacts("42", 1, 5, None, True), "slot is gone"),
        (SlotFacts("42", 1, 5, Lsn(150), False), "slot was lost"),
        (SlotFacts("42", 1, 5, Lsn(151), True), "somebody else moved"),
    ],
)
def test_a_chain_ends_when_continuity_cannot_be_proven(facts: SlotFacts, why: str) -> None:
    decision = continuity(Chain(begin(), (segment(100, 150, 1, 2),)), facts)
    assert isinstance(decision, BeginAnew)
    assert why in decision.reason


def test_keys_say_all_that_a_segment_is_and_survive_odd_names() -> None:
    part = segment(100, 150, 1, 2)
    key = keys.segment_key(ACME, "chain", part)
    assert keys.parse_segment_key(key, 10) == part
    manifest = keys.manifest_key(ACME, "20261122T020000.000000Z")
    assert keys.parse_backup_key(manifest) == (ACME, "20261122T020000.000000Z", "manifest.json")
    assert keys.encode_name("..") == "%2E."
    for name in ("..", "a/b", 'we"ird; drop--$(x)', "café", "%41", "\udcff"):
        assert "/" not in keys.encode_name(name)
        assert keys.decode_name(keys.encode_name(name)) == name


def test_sealed_objects_come_back_as_they_were_and_a_flipped_byte_is_seen() -> None:
    objects = [
        (backup(1, 120, 5), Manifest.from_bytes),
        (begin(running=(11, 12)), ChainStart.from_bytes),
        (ChainEnd("x", at(1), "why", covered(1, 2, 3)), ChainEnd.from_bytes),
        (Coverage("pg1", at(3), {"a": covered(1, 2, 3)}), Coverage.from_bytes),
    ]
    for thing, read in objects:
        data = thing.to_bytes()
        assert read(data) == thing
        for position in range(0, len(data), 7):
            damaged = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
            try:
                back = read(damaged)
            except ValueError:
                continue
            assert back == thing, "only white space may change unnoticed"


def test_the_moment_of_a_full_backup_takes_the_log_for_what_its_snapshot_did_not_see_yet() -> None:
    chain = Chain(begin(), (segment(100, 150, 4, 8),), covered=covered(900, 60, 150))
    routes = plan_routes(
        DatabaseCatalog(ACME, (backup(1, 120, 5),), (chain,)), TargetTime(at(5)), at(99)
    )
    assert not isinstance(routes, Refusal)
    assert [route.segments for route in routes] == [chain.path]


def test_the_moment_of_a_full_backup_outside_every_chain_is_the_backup_itself() -> None:
    routes = plan_routes(DatabaseCatalog(ACME, (backup(1, 120, 5),), ()), TargetTime(at(5)), at(99))
    assert not isinstance(routes, Refusal)
    assert [(route.chain, route.segments) for route in routes] == [(None, ())]
