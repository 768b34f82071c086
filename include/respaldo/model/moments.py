"""Times in keys and on screens. All times are aware; keys are in UTC, with microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_KEY = "%Y%m%dT%H%M%S.%fZ"
_SHAPE = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z")


def moment_key(at: datetime) -> str:
    """Return ``20261122T112903.123456Z``: sorts as text in time order."""
    return at.astimezone(UTC).strftime(_KEY)


def parse_moment_key(text: str) -> datetime:
    """:raises ValueError: `text` is not what `moment_key` returns."""
    # listings have hundreds of thousands of them: strptime takes fifty times as long
    if _SHAPE.fullmatch(text) is None:
        raise ValueError(f"not a moment as in keys: {text!r}")
    return datetime.fromisoformat(text)


def iso(at: datetime) -> str:
    """Return the time in UTC with microseconds, as in manifests."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def parse_iso(text: str) -> datetime:
    """:raises ValueError: `text` is not an ISO 8601 time with an offset."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"a time without an offset is no moment: {text!r}")
    return at
