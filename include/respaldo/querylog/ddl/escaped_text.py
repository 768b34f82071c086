"""Text sent while ``standard_conforming_strings`` was off, so that it means the same always.

There a backslash escapes in every string constant, as it otherwise does in ``E'…'`` only. The
parser knows the usual way only.
"""

from __future__ import annotations

import re
from typing import Final

from include.respaldo.querylog.ddl.syntax import Unreadable

_BLANK: Final = r"[ \t\f\v]|--[^\n\r]*"
_PART: Final = re.compile(
    rf"""
    (?P<comment> --[^\n\r]*)
  | (?P<block> /\*)
  | (?P<name> "(?:[^"]|"")*")
  | (?P<dollar> \$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)
  | (?P<unicode> [uU]&')
  | (?P<constant> (?P<prefix> [eEbBxXnN]?)
        '(?:[^'\\]|\\.|'')*'
        # the next line may go on with it
        (?:(?:{_BLANK})*[\n\r](?:\s|--[^\n\r]*)*'(?:[^'\\]|\\.|'')*')*)
  | (?P<word> [A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK: Final = re.compile(r"/\*|\*/")


def as_usually_written(text: str) -> str:
    """Return the text with each constant that holds a backslash as ``E'…'``.

    :raises Unreadable: it holds one that cannot be written so.
    """
    found: list[str] = []
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            if text[at] in "'\"":
                raise Unreadable("a constant or name that does not end")
            found.append(text[at])
            at += 1
            continue
        end = part.end()
        written = part[0]
        if part["block"]:
            end = _end_of_comment(text, end)
            written = text[at:end]
        elif part["dollar"]:
            end = text.find(part["dollar"], end) + len(part["dollar"])
            if end < part.end() + len(part["dollar"]):
                raise Unreadable("a constant that does not end")
            written = text[at:end]
        elif part["unicode"] or (part["prefix"] in {"n", "N"} and "\\" in written):
            raise Unreadable("a constant with a backslash that has no other way to be written")
        elif part["constant"] and not part["prefix"] and "\\" in written:
            written = " E" + written
        found.append(written)
        at = end
    return "".join(found)


def _end_of_comment(text: str, at: int) -> int:
    depth = 1
    while depth:
        mark = _BLOCK.search(text, at)
        if mark is None:
            raise Unreadable("a comment that does not end")
        depth += 1 if mark[0] == "/*" else -1
        at = mark.end()
    return at
