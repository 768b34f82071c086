"""A position read a second after a time is past all commits of that time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from include.respaldo.jobs.time_marks import TimeMarks
from include.respaldo.model.lsn import Lsn
from include.respaldo.postgres.watch import before_page_header

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_time_counts_only_once_a_position_was_read_a_second_later() -> None:
    marks = TimeMarks()
    marks.sample(at(0), Lsn(100))
    assert marks.latest_before(Lsn(10_000)) is None
    marks.sample(at(0.5), Lsn(200))
    marks.sample(at(1.2), Lsn(300))
    assert marks.latest_before(Lsn(299)) is None
    assert marks.latest_before(Lsn(300)) == at(0)
    marks.sample(at(3), Lsn(300))
    assert marks.latest_before(Lsn(300)) == at(1.2), "nothing was written: the same position"


def test_a_server_that_waits_at_a_page_header_is_caught_up_with() -> None:
    assert before_page_header(Lsn(3 * 8192 + 24)) == Lsn(3 * 8192)
    assert before_page_header(Lsn(3 * 8192 + 40)) == Lsn(3 * 8192)
    assert before_page_header(Lsn(3 * 8192 + 48)) == Lsn(3 * 8192 + 48)


def test_a_position_past_a_time_is_known_a_second_later() -> None:
    marks = TimeMarks()
    marks.sample(at(0), Lsn(100))
    marks.sample(at(0.9), Lsn(200))
    assert marks.position_past(at(0)) is None
    marks.sample(at(1.0), Lsn(300))
    assert marks.position_past(at(0)) == Lsn(300)
    assert marks.position_past(at(0.5)) is None
    marks.sample(at(2.5), Lsn(400))
    assert marks.position_past(at(0.5)) == Lsn(400)
    reached = marks.position_past(at(1.0))
    assert reached is not None
    assert (marks.latest_before(reached) or at(0)) >= at(1.0)
