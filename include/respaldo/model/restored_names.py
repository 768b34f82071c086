"""What restored files are called beside the originals: a name that says of which day they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from zoneinfo import ZoneInfo

_LONGEST = 255
#: endings of two parts
_PACKED = frozenset({".gz", ".xz", ".bz2", ".zst", ".lz4"})


def suffixes(as_of: datetime, time_zone: str) -> Iterator[str]:
    """Yield ``restored_20261121``, and longer ones for where that is taken; without an end."""
    at = as_of.astimezone(ZoneInfo(time_zone))
    for form in ("%Y%m%d", "%Y%m%d_%H%M", "%Y%m%d_%H%M%S"):
        yield f"restored_{at.strftime(form)}"
    for number in count(2):
        yield f"restored_{at:%Y%m%d_%H%M%S}_{number}"


def restored_name(name: str, suffix: str, *, is_file: bool) -> str:
    """Return ``invoice.restored_20261121.pdf``, or ``2026.restored_20261121`` of a folder.

    :param suffix: "": the name stays.
    """
    if not suffix or not name:
        return name or suffix
    stem, ending = os.path.splitext(name) if is_file else (name, "")  # noqa: PTH122 (a name)
    if ending in _PACKED and stem.endswith(".tar"):
        stem, ending = stem.removesuffix(".tar"), f".tar{ending}"
    tail = f".{suffix}{ending}"
    while stem and len(os.fsencode(stem + tail)) > _LONGEST:
        stem = stem[:-1]
    return stem + tail
