"""The kinds of value that the file holds, each with its check; messages say what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Strict

_SIZES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")

_CRON_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_CRON_NAMES: tuple[tuple[str, ...], ...] = (
    (),
    (),
    (),
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
)
_CRON_PRESETS = {"@hourly", "@daily", "@weekly", "@monthly"}


def parse_size(value: Any) -> int:
    """Return bytes of ``2 GiB``.

    :raises ValueError: not a number and one of the units.
    """
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in _SIZES:
        raise ValueError("a size with its unit: 512 MiB, 2 GiB (B, kB, MB, GB, TB, KiB, MiB, …)")
    return round(float(match[1]) * _SIZES[match[2]])


def parse_duration(value: Any) -> timedelta:
    """Return the time of ``500ms`` or ``10 min``.

    :raises ValueError: not a number and one of the units.
    """
    if isinstance(value, timedelta):  # a default of ours
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in _SECONDS:
        raise ValueError("a duration with its unit: 500ms, 5s, 10min, 2h, 1d")
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        raise ValueError("a duration below 1,000 days") from None


def size_between(least: str, most: str) -> AfterValidator:
    """Return a check of a size's bounds, both included."""
    low, high = parse_size(least), parse_size(most)

    def check(size: int) -> int:
        if not low <= size <= high:
            raise ValueError(f"a size from {least} to {most}")
        return size

    return AfterValidator(check)


def duration_between(least: str, most: str) -> AfterValidator:
    """Return a check of a duration's bounds, both included."""
    low, high = parse_duration(least), parse_duration(most)

    def check(duration: timedelta) -> timedelta:
        if not low <= duration <= high:
            raise ValueError(f"a duration from {least} to {most}")
        return duration

    return AfterValidator(check)


def _matching(pattern: str, allowed: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(allowed)
        return text

    return check


def _time_zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("a time zone of the IANA database: Europe/Madrid, America/Bogota, UTC")
    # Proves that its rules can be read here
    ZoneInfo(text)
    return text


def _landing_zone(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
        raise ValueError(
            "a folder that every worker sees (local disk or shared volume): file:///absolute/path"
        )
    if parts.query or parts.fragment:
        raise ValueError("a file URI; write '?' as %3F and '#' as %23")
    return text.rstrip("/")


def folder_of(uri: str) -> Path:
    """Return the folder that a ``file://`` URI names."""
    return Path(unquote(urlsplit(uri).path))


def _vault_uri(text: str) -> str:
    parts = urlsplit(text)
    if (
        parts.scheme != "s3"
        or re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc) is None
    ):
        raise ValueError("s3://bucket/prefix; the key and its secret belong into the connection")
    if parts.query or parts.fragment or "//" in parts.path:
        raise ValueError("s3://bucket/prefix, without '?', '#' or empty parts")
    return text.rstrip("/")


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("an absolute path: /var/tmp/respaldo")
    return path


def _cron(text: str) -> str:
    fields = text.split()
    if text in _CRON_PRESETS:
        return text
    if len(fields) != len(_CRON_BOUNDS) or not all(map(_cron_field, fields, range(5))):
        raise ValueError(
            "five cron fields (minute hour day month weekday), as '0 2 * * *', or @daily"
        )
    return text


def _cron_field(text: str, position: int) -> bool:
    low, high = _CRON_BOUNDS[position]
    names = _CRON_NAMES[position]
    first = low if position == 3 else 0

    def value(word: str) -> int:
        if word.lower() in names:
            return names.index(word.lower()) + first
        return int(word) if word.isascii() and word.isdecimal() else -1

    for part in text.split(","):
        span, slash, step = part.partition("/")
        if slash and (not step.isdecimal() or int(step) == 0):
            return False
        begin, dash, end = span.partition("-")
        if span == "*":
            continue
        if not low <= value(begin) <= high:
            return False
        if dash and not value(begin) <= value(end) <= high:
            return False
    return True


def _pattern(text: str) -> str:
    parts = text.removeprefix("/").split("/")
    if not text.strip("/*") or {"", ".", ".."} & set(parts) or {"\0", "\n"} & set(text):
        raise ValueError(
            "a name ('*.tmp', 'cache': at any depth) or a path from the source's root "
            "('/var/cache'), with *, **, ? and [abc]; no '/' at its end"
        )
    return text


Size = Annotated[int, BeforeValidator(parse_size)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Count = Annotated[int, Strict()]
Text = Annotated[str, AfterValidator(_matching(r"(?s).*\S.*", "a text that is not empty"))]
Name = Annotated[
    str,
    AfterValidator(
        _matching(r"[a-z0-9][a-z0-9_-]{0,62}", "1 to 63 lower-case letters, digits, '_' or '-'")
    ),
]
DatabaseName = Annotated[
    str, AfterValidator(_matching(r"[^\0]{1,63}", "the name of a database, 1 to 63 characters"))
]
ConnectionId = Annotated[
    str,
    AfterValidator(
        _matching(
            r"[A-Za-z0-9_.-]{1,200}",
            "the id of an Airflow connection (letters, digits, '_', '.', '-'), never its URI",
        )
    ),
]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
FolderUri = Annotated[str, AfterValidator(_landing_zone)]
VaultUri = Annotated[str, AfterValidator(_vault_uri)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Pattern = Annotated[str, AfterValidator(_pattern)]
