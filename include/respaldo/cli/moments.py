"""What people type for a moment or a position, and what is missing when it is not one."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from include.respaldo.errors import ConfigurationError
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.target import Target, TargetLsn, TargetTime


def parse_moment(text: str, time_zone: str | None) -> datetime:
    """Return the moment that the text means.

    :param time_zone: IANA name for a text without an offset; None: such a text is refused.
    :raises ConfigurationError: not a time; no offset and no time zone; a local time that the clock
        change skips, or shows twice.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is not a time",
            hint="write it like 2026-11-22T11:29:00+01:00, or 2026-11-22T11:29 with --tz",
        ) from None
    if at.tzinfo is not None:
        return at
    if time_zone is None:
        raise ConfigurationError(
            f"{text!r} does not say in which time zone",
            hint="add the offset (2026-11-22T11:29:00+01:00) or name the zone (--tz Europe/Madrid)",
        )
    zone = parse_zone(time_zone)
    first, second = (at.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first
    before, after = first.isoformat(), second.isoformat()
    skipped = (first.utcoffset() or 0) < (second.utcoffset() or 0)  # type: ignore[operator]
    raise ConfigurationError(
        f"{text!r} {'does not exist' if skipped else 'happens twice'} in {time_zone}: "
        "the clocks change then",
        hint=f"say which you mean, with its offset: {before} or {after}",
    )


def parse_zone(name: str) -> ZoneInfo:
    """:raises ConfigurationError: no such time zone."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigurationError(
            f"{name!r} is not a time zone", hint="use an IANA name such as Europe/Madrid"
        ) from None


def parse_target(text: str, time_zone: str | None) -> Target:
    """Return the position (``16/B374D848``) or the moment that the text means.

    :raises ConfigurationError: neither; see `parse_moment`.
    """
    if "/" in text:
        try:
            return TargetLsn(Lsn.parse(text))
        except ValueError as e:
            raise ConfigurationError(str(e), hint="`log` shows the positions of commits") from None
    return TargetTime(parse_moment(text, time_zone))
