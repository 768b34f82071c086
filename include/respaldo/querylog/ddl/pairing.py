"""Which statement each captured command was.

A client's string arrives whole with each of its commands. They are found in it in order, by tag and
by the names that they touched; where two different texts remain possible, none is chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from include.respaldo.model.schema_change import CapturedCommand
from include.respaldo.querylog.ddl.call_stack import Call, in_sql_function, innermost
from include.respaldo.querylog.ddl.statements import ClientString, Statement, read_string
from include.respaldo.querylog.ddl.syntax import Unreadable
from include.respaldo.querylog.ddl.targets import fits

#: the commands of one run of one string
_Run: TypeAlias = tuple[str, datetime, str]


class StatementFinder:
    """The statements of one transaction's commands, those given by their index."""

    def __init__(self, commands: dict[int, CapturedCommand]) -> None:
        """:param commands: without what extensions' scripts ran: its text is in no string."""
        self._commands = commands
        self._strings: dict[tuple[str, bool], ClientString | Unreadable] = {}
        self._found: dict[int, Statement | str] = {}
        self._calls: dict[int, Call] = {}
        runs: dict[_Run, list[int]] = defaultdict(list)
        for index, command in commands.items():
            text = self._text(index, command)
            if text is not None:
                runs[text, command.statement_at, command.context].append(index)
        for (text, _, _), indices in runs.items():
            self._pair(text, indices)

    def __getitem__(self, index: int) -> Statement | str:
        """Return the statement, or why it is not known."""
        return self._found[index]

    def call(self, index: int) -> Call | None:
        """Return how a command was called from within; None: it was not, or that is not known."""
        return self._calls.get(index)

    def string(self, text: str, command: CapturedCommand) -> ClientString:
        """:raises Unreadable: the text cannot be split for certain."""
        settings = dict(command.caller.settings)
        key = text, settings.get("standard_conforming_strings", "on") == "off"
        if key not in self._strings:
            try:
                self._strings[key] = read_string(text, settings)
            except Unreadable as e:
                self._strings[key] = e
        found = self._strings[key]
        if isinstance(found, Unreadable):
            raise found
        return found

    def _text(self, index: int, command: CapturedCommand) -> str | None:
        """Return the string of which the command is a part; note why where there is none."""
        if not command.context:
            if command.query is None:
                self._found[index] = "its text is not in the log: too long"
            return command.query
        try:
            call = None
            if (source := command.source) is not None:
                call = in_sql_function(
                    command.context,
                    lambda: [s.text for s in self.string(source, command).statements],
                )
            if call is None:
                call = innermost(command.context, lambda text: self._can_be(text, command))
            self._calls[index] = call
        except Unreadable as e:
            self._found[index] = str(e)
            return None
        return call.text

    def _can_be(self, text: str, command: CapturedCommand) -> bool:
        return any(fits(command, s.tag, s.node) for s in self.string(text, command).statements)

    def _pair(self, text: str, indices: list[int]) -> None:
        commands = [self._commands[i] for i in indices]
        try:
            string = self.string(text, commands[0])
        except Unreadable as e:
            for index in indices:
                self._found[index] = f"its text cannot be read: {e}"
            return
        if commands[0].context:
            texts = _possible_within(commands, string)
        else:
            texts = _possible_at_top(commands, string)
        for index, possible in zip(indices, texts, strict=True):
            if len(possible) == 1:
                (self._found[index],) = possible.values()
            elif possible:
                self._found[index] = (
                    "more than one statement of the string that was sent can have been it"
                )
            else:
                self._found[index] = "no statement of the string that was sent can have been it"


def _possible_at_top(
    commands: Sequence[CapturedCommand], string: ClientString
) -> list[dict[str, Statement]]:
    texts: list[dict[str, Statement]] = [{} for _ in commands]
    for part in string.parts():
        for possible, candidates in zip(texts, _candidates(commands, part), strict=True):
            possible.update({s.text: s for s in candidates})
    return texts


def _possible_within(
    commands: Sequence[CapturedCommand], string: ClientString
) -> list[dict[str, Statement]]:
    """Return what each can have been in a string that a function may have run several times."""
    statements = [s for s in string.statements if s.tag is not None]
    possible = [[s for s in statements if fits(c, s.tag, s.node)] for c in commands]
    if len(commands) == len(statements) and any(len(p) > 1 for p in possible):
        possible = _candidates(commands, statements)  # it ran once, and all of it is there
    return [{s.text: s for s in candidates} for candidates in possible]


def _candidates(
    commands: Sequence[CapturedCommand], statements: Sequence[Statement]
) -> list[list[Statement]]:
    """Return for each command the statements that it can have been, the order being kept.

    Between the earliest and the latest place where all the commands fit in order, every statement
    that fits a command is possible. All empty where they do not fit at all.
    """
    earliest = _places(commands, statements)
    backwards = _places(commands[::-1], statements[::-1])
    if earliest is None or backwards is None:
        return [[] for _ in commands]
    latest = [len(statements) - 1 - place for place in reversed(backwards)]
    return [
        [s for s in statements[first : last + 1] if fits(command, s.tag, s.node)]
        for command, first, last in zip(commands, earliest, latest, strict=True)
    ]


def _places(
    commands: Sequence[CapturedCommand], statements: Sequence[Statement]
) -> list[int] | None:
    places: list[int] = []
    place = -1
    for command in commands:
        place += 1
        while place < len(statements) and not fits(
            command, statements[place].tag, statements[place].node
        ):
            place += 1
        if place == len(statements):
            return None
        places.append(place)
    return places
