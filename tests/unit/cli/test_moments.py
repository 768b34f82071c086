"""What people type for a moment."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from include.respaldo.cli.moments import parse_target
from include.respaldo.errors import ConfigurationError
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.target import TargetLsn, TargetTime

MADRID = "Europe/Madrid"


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-11-22T11:29:00+01:00", None),
        ("2026-11-22T10:29:00Z", None),
        ("2026-11-22 11:29", MADRID),
        ("2026-11-22T11:29+01:00", "America/Lima"),
    ],
)
def test_a_time_is_the_moment_it_says(text: str, zone: str | None) -> None:
    assert parse_target(text, zone) == TargetTime(datetime(2026, 11, 22, 10, 29, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "zone", "message", "hint"),
    [
        ("2026-11-22T11:29", None, "does not say in which time zone", "--tz Europe/Madrid"),
        ("yesterday", None, "is not a time", "2026-11-22T11:29"),
        ("2026-11-22T11:29", "Europe/Madird", "not a time zone", "IANA"),
        ("2026-03-29T02:30", MADRID, "does not exist", "its offset"),
        ("2026-10-25T02:30", MADRID, "happens twice", "+02:00 or 2026-10-25T02:30:00+01:00"),
        ("16/XYZ", None, "not a log sequence number", "`log` shows"),
    ],
)
def test_what_is_no_moment_is_refused_with_the_next_step(
    text: str, zone: str | None, message: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_target(text, zone)
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_a_position_is_taken_as_one() -> None:
    assert parse_target("16/B374D848", None) == TargetLsn(Lsn(0x16B374D848))
