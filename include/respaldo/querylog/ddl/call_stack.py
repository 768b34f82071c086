"""What PL/pgSQL's ``PG_CONTEXT`` says of where a command ran: innermost call first.

    SQL statement "CREATE TABLE a (id int)"
    PL/pgSQL function make(text) line 3 at EXECUTE
    SQL statement "SELECT make('a')"
    PL/pgSQL function inline_code_block line 1 at PERFORM

A function in SQL shows the number of its statement instead: ``SQL function "make" statement 2``.

The quoted texts are not escaped: they may hold quotes, newlines, and lines that look like these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from include.respaldo.querylog.ddl.syntax import Unreadable, tokens

_STATEMENT: Final = 'SQL statement "'
#: how a line that follows a statement can begin
_CALLER: Final = (
    "PL/",
    "SQL function ",
    "SQL expression ",
    "SQL statement ",
    "extension script file ",
    "in PL/",
    "portal ",
    "unnamed portal ",
    "COPY ",
)
_SQL_FUNCTION: Final = re.compile(r'SQL function "(?P<name>.*)" statement (?P<number>\d+)')
_FUNCTION: Final = re.compile(r"PL/\w+ function (?P<name>.+?) line \d+ at .+|PL/.+")
#: more quotes that could be the end than a text will have in good faith
_MOST_ENDS: Final = 64


@dataclass(frozen=True)
class Call:
    """The innermost statement of a context, and who ran it."""

    #: as the function had it run; may be several statements
    text: str
    #: what ran it: ``public.make(text)``; None: not a PL/pgSQL function
    function: str | None
    #: the context in which that ran; empty: called by the client's own statement
    outer: str

    @property
    def by_client(self) -> bool:
        return not self.outer

    @property
    def in_extension_script(self) -> bool:
        return self.outer.startswith("extension script file ")


def innermost(context: str, is_wanted: Callable[[str], bool]) -> Call:
    """Return the statement in which a command ran.

    :param is_wanted: whether a text can be that statement; may raise `Unreadable` for one that is
        none.
    :raises Unreadable: the context does not show it, or leaves a choice.
    """
    if not context.startswith(_STATEMENT):
        line = context.split("\n", 1)[0]
        raise Unreadable(f"its text is not shown by: {line[:100]}")
    found = list(_wanted(context, is_wanted))
    if not found:
        raise Unreadable("the text that its context shows cannot be read")
    if len(found) > 1 and len({_meaning(text) for text, _ in found}) > 1:
        raise Unreadable("its context can be read in more than one way")
    text, rest = found[-1]
    line, _, outer = rest.partition("\n")
    if line.startswith("extension script file "):
        return Call(text, None, rest)
    match = _FUNCTION.fullmatch(line)
    return Call(text, match["name"] if match else None, outer)


def in_sql_function(context: str, texts: Callable[[], Sequence[str]]) -> Call | None:
    """Return the statement of a function in SQL in which a command ran.

    :param texts: returns the statements of that function.
    :returns: None: it was no such function that ran it.
    :raises Unreadable: the function has no statement of that number.
    """
    line, _, outer = context.partition("\n")
    match = _SQL_FUNCTION.fullmatch(line)
    if match is None:
        return None
    number, found = int(match["number"]), texts()
    if not 1 <= number <= len(found):
        raise Unreadable(f"the function has not the statement that its context tells: {line[:100]}")
    # what it takes is not shown; it is no trigger's function, for which alone that matters
    return Call(found[number - 1], f"{match['name']}()", outer)


def _wanted(context: str, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yield the texts that can be the statement, each with the lines that follow."""
    lengths: list[int] = []
    for text, rest in _ends(context):
        try:
            if is_wanted(text):
                yield text, rest
        except Unreadable as e:
            # where it goes wrong so early that what decided it is in all the longer ones, too,
            # they go wrong there (the stack of a recursion has hundreds)
            if e.at is not None and len(lengths) > 1 and e.at < lengths[-2]:
                return
        lengths.append(len(text))
        if len(lengths) > _MOST_ENDS:
            raise Unreadable("its context can be read in too many ways")


def _ends(context: str) -> Iterator[tuple[str, str]]:
    """Yield the texts that the first line's quote can hold, each with the lines that follow."""
    at = begin = len(_STATEMENT)
    while (at := context.find('"', at)) >= 0:
        rest = context[at + 1 :]
        if not rest or (rest[0] == "\n" and rest[1:].startswith(_CALLER)):
            yield context[begin:at], rest[1:]
        at += 1


def _meaning(text: str) -> tuple[str, ...]:
    """Return the words of a text: two that differ in comments alone mean the same."""
    return tuple(text[t.start : t.end] for t in tokens(text))
