"""Statements changed by a few words, the rest kept as it was written.

Every change is checked: the new text must mean what the old one meant, but for what was changed.
"""

from __future__ import annotations

from itertools import pairwise

from include.respaldo.querylog.ddl.syntax import Unreadable, parse, shape, tokens


def without_concurrently(text: str) -> str:
    """Return CREATE INDEX or DROP INDEX without the word: it cannot run in a transaction.

    :raises Unreadable: the word is not where it is expected.
    """
    words = tokens(text)
    for before, word in pairwise(words):
        if before.name == "INDEX":
            if word.name == "CONCURRENTLY":
                return _same(text, _cut(text, word.start, word.end), frozenset({"concurrent"}))
            break
    raise Unreadable("CONCURRENTLY is not where it was expected")


def with_no_data(text: str, skips_data: bool) -> str:
    """Return CREATE or REFRESH MATERIALIZED VIEW with WITH NO DATA at its end.

    :param skips_data: it has that already.
    :raises Unreadable: it cannot be added.
    """
    if skips_data:
        return text
    words = tokens(text)
    end = words[-1].end
    if [w.name for w in words[-2:]] == ["WITH", "DATA_P"]:
        begin = words[-2].start
        changed = text[:begin] + "WITH NO DATA" + text[end:]
    else:
        changed = text[:end] + " WITH NO DATA" + text[end:]
    return _same(text, changed, frozenset({"skipData"}))


def _cut(text: str, start: int, end: int) -> str:
    """Return the text without a word, and without the blanks behind it or before it."""
    rest = text[end:]
    blanks = len(rest) - len(rest.lstrip(" \t\r\n\f\v"))
    if blanks:
        return text[:start] + rest[blanks:]
    return text[:start].rstrip(" \t\r\n\f\v") + " " + rest if rest else text[:start].rstrip()


def _same(text: str, changed: str, but_for: frozenset[str]) -> str:
    if shape(parse(text), but_for) != shape(parse(changed), but_for):
        raise Unreadable("it cannot be changed without changing what it means")
    return changed
