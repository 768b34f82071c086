"""Which of two versions of a package is the newer one: deb-version(7)."""

from __future__ import annotations

import re
from functools import cmp_to_key
from itertools import zip_longest

_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def compare_versions(a: str, b: str) -> int:
    """Return a negative number where `a` is older than `b`, 0 where neither is, else positive."""
    for left, right in zip(_split(a), _split(b), strict=True):
        difference = _compare(left, right)
        if difference:
            return difference
    return 0


version_key = cmp_to_key(compare_versions)


def _split(version: str) -> tuple[str, str, str]:
    """Return epoch, upstream version and revision."""
    epoch, colon, rest = version.strip().partition(":")
    if not colon:
        epoch, rest = "0", version.strip()
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "0")


def _compare(a: str, b: str) -> int:
    for (text_a, number_a), (text_b, number_b) in zip_longest(
        _PARTS.findall(a), _PARTS.findall(b), fillvalue=("", "")
    ):
        for x, y in zip_longest(text_a, text_b, fillvalue=""):
            difference = _weight(x) - _weight(y)
            if difference:
                return difference
        difference = int(number_a or 0) - int(number_b or 0)
        if difference:
            return difference
    return 0


def _weight(character: str) -> int:
    """Order of non-digits: ``~`` before the end, letters before all others."""
    if not character:
        return 0
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
