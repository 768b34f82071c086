"""A client's string, statement by statement, and which of them can have left something behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from include.respaldo.querylog.ddl.command_tags import command_tag
from include.respaldo.querylog.ddl.escaped_text import as_usually_written
from include.respaldo.querylog.ddl.syntax import Node, Unreadable, enum_name, kind, parse, split

_WORD: Final = re.compile(r"[A-Za-z_]+")
#: statements that begin so are no schema changes, and may be long
_NO_SCHEMA_CHANGE: Final = frozenset({
    "COPY",
    "DELETE",
    "INSERT",
    "MERGE",
    "RESET",
    "SET",
    "SHOW",
    "UPDATE",
    "VALUES",
})
#: of those, they run no function of the database
_RUNS_NOTHING: Final = frozenset({"RESET", "SET", "SHOW"})
_TRANSACTION: Final = frozenset({
    "ABORT",
    "BEGIN",
    "COMMIT",
    "END",
    "PREPARE",
    "RELEASE",
    "ROLLBACK",
    "SAVEPOINT",
    "START",
})


@dataclass(frozen=True)
class Statement:
    """One statement of a string, exactly as it is written there."""

    text: str

    @cached_property
    def _word(self) -> str:
        found = _WORD.match(self.text)
        return found.group().upper() if found else ""

    @cached_property
    def tag(self) -> str | None:
        """The tag that event triggers see; None: it is no schema change."""
        return None if self._word in _NO_SCHEMA_CHANGE else command_tag(self.node)

    @cached_property
    def node(self) -> Node:
        """:raises Unreadable: the parser refuses it by itself."""
        return parse(self.text)

    @cached_property
    def runs_functions(self) -> bool:
        """Whether functions can run in it that its own replay does not run."""
        if self._word in _NO_SCHEMA_CHANGE:
            return self._word not in _RUNS_NOTHING
        if self.transaction is not None:
            return enum_name(self.transaction.kind) in {  # deferred triggers
                "TRANS_STMT_COMMIT",
                "TRANS_STMT_PREPARE",
            }
        return self.tag is None or self.tag in {
            "CREATE TABLE AS",
            "SELECT INTO",
            "CREATE MATERIALIZED VIEW",
            "REFRESH MATERIALIZED VIEW",
        }

    @cached_property
    def transaction(self) -> Node | None:
        """The statement where it begins, ends or divides a transaction."""
        if self._word not in _TRANSACTION:
            return None
        return self.node if kind(self.node) == "TransactionStmt" else None


@dataclass(frozen=True)
class ClientString:
    """All statements of one string, in order."""

    statements: tuple[Statement, ...]

    @property
    def changes_schema(self) -> bool:
        return any(s.tag is not None for s in self.statements)

    def parts(self) -> Iterator[tuple[Statement, ...]]:
        """Yield for each transaction that can have committed its schema changes, in order.

        A string may end transactions and begin new ones. What it rolls back itself left nothing.
        """
        live: list[Statement] = []
        #: name of a savepoint -> how many statements were live at it
        savepoints: list[tuple[str, int]] = []
        for statement in self.statements:
            end = statement.transaction
            if end is None:
                if statement.tag is not None:
                    live.append(statement)
                continue
            match enum_name(end.kind):
                case "TRANS_STMT_SAVEPOINT":
                    savepoints.append((end.savepoint_name, len(live)))
                case "TRANS_STMT_RELEASE":
                    at = _latest(savepoints, end.savepoint_name)
                    del savepoints[at if at is not None else 0 :]
                case "TRANS_STMT_ROLLBACK_TO":
                    at = _latest(savepoints, end.savepoint_name)
                    if at is None:  # it was set before the string began
                        live, savepoints = [], []
                    else:
                        del live[savepoints[at][1] :]
                        del savepoints[at + 1 :]
                case "TRANS_STMT_COMMIT" | "TRANS_STMT_PREPARE":
                    yield tuple(live)
                    live, savepoints = [], []
                case "TRANS_STMT_ROLLBACK":
                    live, savepoints = [], []
        yield tuple(live)


def _latest(savepoints: list[tuple[str, int]], name: str) -> int | None:
    for i in reversed(range(len(savepoints))):
        if savepoints[i][0] == name:
            return i
    return None


def read_string(text: str, settings: dict[str, str]) -> ClientString:
    """Return the statements of a string that was sent under these settings.

    :raises Unreadable: it cannot be split for certain.
    """
    if "\\" in text:
        if "standard_conforming_strings" in text.lower():
            # read as a whole before it changed the setting, which is known only as it was after
            raise Unreadable("backslashes in it, and it sets standard_conforming_strings itself")
        if settings.get("standard_conforming_strings", "on") == "off":
            text = as_usually_written(text)
    found = ClientString(tuple(Statement(t) for t in split(text)))
    for statement in found.statements:
        statement.tag  # noqa: B018 - reads it: what cannot be read is refused here
    return found
