"""What versions of an application are called beside the running one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from zoneinfo import ZoneInfo

from include.respaldo.model.restored_names import restored_name, suffixes

#: longer versions are cut
_LONGEST = 60
_ODD = re.compile(r"[^A-Za-z0-9.+~-]+")
_OURS = re.compile(r"\.(restored|replaced)_[A-Za-z0-9.+~_-]+")


def safe_version(version: str) -> str:
    """Return a version as part of a name: ``ERP 4.2 (β)`` becomes ``ERP-4.2``."""
    return _ODD.sub("-", version)[:_LONGEST].strip("-.")


def restored_names(base: str, version: str, as_of: datetime, time_zone: str) -> Iterator[str]:
    """Yield ``erp.restored_1.4.2_20261121``, and longer ones for where that is taken."""
    safe = safe_version(version)
    for suffix in suffixes(as_of, time_zone):
        day = suffix.removeprefix("restored_")
        yield restored_name(base, f"restored_{safe}_{day}" if safe else suffix, is_file=False)


def replaced_names(base: str, at: datetime, time_zone: str) -> Iterator[str]:
    """Yield ``erp.replaced_20261123_1130``, and longer ones for where that is taken."""
    local = at.astimezone(ZoneInfo(time_zone))
    minute, second = f"replaced_{local:%Y%m%d_%H%M}", f"replaced_{local:%Y%m%d_%H%M%S}"
    for suffix in (minute, second):
        yield restored_name(base, suffix, is_file=False)
    for number in count(2):
        yield restored_name(base, f"{second}_{number}", is_file=False)


def is_ours(base: str, name: str) -> bool:
    """Return whether a name beside the running one is of a restored or a replaced version."""
    return name.startswith(base) and _OURS.fullmatch(name[len(base) :]) is not None


def fits(asked: str, announced: str) -> bool:
    """Return whether a version that a person names is in one that is announced.

    ``1.4.2`` and ``v1.4.2`` are in ``ERP 1.4.2 (2026-11-20)``; ``1.4`` is not.
    """
    number = re.escape(asked.removeprefix("v"))
    found = re.search(rf"(?<![\w.+~-])v?{number}(?![\w+~-]|\.\w)", announced)
    return bool(asked) and found is not None
