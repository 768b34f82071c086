"""Values that were written before their type was changed, and committed after that.

PostgreSQL changes a type without a lock on the tables that use it. Its decoder tells a value of a
composite type by its attributes in order, and one of an enum by its label, as it knows the type
when it comes to the row (its caches may be of another moment). One change shows: there are more or
fewer attributes, or another label, which the type as it is then does not take. After two, of which
one takes away what the other adds, the same text may mean another value: nobody can tell which, so
nobody replays it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.replay import SchemaReplay
from include.respaldo.model.schema_change import ReplayCommand
from include.respaldo.model.segment import FIRST_OWN_OID, RelationDefinition
from include.respaldo.querylog.log_files import literal
from include.respaldo.querylog.segment import DDL_PREFIX

#: a row type has the columns of its table; what else is added or dropped begins with a key word
_COLUMN = r"\b(?!\s+(constraint|not|default|check|primary|foreign|unique)\b)"
_TABLE = r"(foreign\s+)?table\b.*\b"
_TAKES_AWAY = re.compile(
    rf"\s*alter\s+(type\b.*\b(drop\s+attribute|rename\s+value)\b|{_TABLE}drop{_COLUMN})",
    re.IGNORECASE | re.DOTALL,
)
_ADDS = re.compile(
    rf"\s*alter\s+(type\b.*\b(add\s+(attribute|value)|rename\s+value)\b|{_TABLE}add{_COLUMN})",
    re.IGNORECASE | re.DOTALL,
)
_RENAMES = re.compile(r"\s*alter\s+type\b.*\brename\s+value\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class _Change:
    """A command that takes something away from a type, or adds to it."""

    #: commit position of its transaction
    lsn: int
    command: ReplayCommand

    @property
    def takes_away(self) -> bool:
        return _TAKES_AWAY.match(self.command.sql) is not None

    @property
    def adds(self) -> bool:
        return _ADDS.match(self.command.sql) is not None

    def is_of_same(self, other: _Change) -> bool:
        return any(a.is_same(b) for a in self.command.expected for b in other.command.expected)

    def hides(self, other: _Change) -> bool:
        """Return whether text from before the two may be read as another value after them."""
        if self is other:
            # one label for another: the former is not known then
            return self.adds and self.takes_away and not _RENAMES.match(self.command.sql)
        return self.is_of_same(other) and (
            (self.takes_away and other.adds) or (self.adds and other.takes_away)
        )


class FormerTypes:
    """The changes of types in a log, and the tables that had rows under way at them.

    :param db: has the views ``log`` and ``replayed``.
    :param commands: the contents of a transaction's messages -> the commands of each.
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        commands: Callable[[Sequence[bytes]], Sequence[Sequence[ReplayCommand]]],
        relations: Mapping[str, RelationDefinition],
    ) -> None:
        self._db = db
        self._commands = commands
        self._relations = relations

    def overtaken(
        self, changes: Sequence[tuple[SchemaReplay, ...]]
    ) -> list[tuple[SchemaReplay, ...]]:
        """Return the same changes, with the tables whose values they may have made others.

        :raises LogDiverged: a change that the full backup shows may have made values others.
        """
        before = [c for lsn, commands in self._in_backup() for c in _changes(lsn, commands)]
        # one list of changes for each of the commands
        replayed = [[_changes(int(c.lsn), [c.command]) for c in here] for here in changes]
        every = before + [c for here in replayed for one in here for c in one]
        for change in before:
            for key in self._tables(change, every):
                table = self._relations[key]
                raise LogDiverged(
                    f"{table.schema}.{table.name}: rows were written before a type was changed, "
                    "which the full backup shows, and committed after that",
                    hint="choose a moment before, or after the next full backup",
                )
        return [
            tuple(
                replace(
                    item,
                    overtaken=tuple(
                        self._relations[key]
                        for change in found
                        for key in self._tables(change, every)
                    ),
                )
                for item, found in zip(here, there, strict=True)
            )
            for here, there in zip(changes, replayed, strict=True)
        ]

    def _in_backup(self) -> Iterator[tuple[int, list[ReplayCommand]]]:
        """Yield the position and the commands of what rows to replay may have been under way at."""
        seen = self._db.execute(
            f"""
            SELECT commit_lsn, list(content ORDER BY pos) FROM log
            WHERE prefix = {literal(DDL_PREFIX)} AND commit_lsn < (
                SELECT max(commit_lsn) FROM replayed WHERE lsn IS NOT NULL)
            AND commit_lsn NOT IN (SELECT commit_lsn FROM replayed)
            GROUP BY commit_lsn
            """  # noqa: S608 - a constant
        ).fetchall()
        for lsn, contents in seen:
            try:
                found = self._commands([bytes(content) for content in contents])
            except LogDiverged:
                continue  # the full backup has come after it: that was a barrier
            yield lsn, [command for here in found for command in here]

    def _tables(self, change: _Change, every: Sequence[_Change]) -> list[str]:
        """Return the tables with rows that were under way at a change and one that hides it."""
        spans = {(min(change.lsn, c.lsn), max(change.lsn, c.lsn)) for c in every if change.hides(c)}
        own = [
            key
            for key, definition in self._relations.items()
            if any(column.type_oid >= FIRST_OWN_OID for column in definition.columns)
        ]
        if not (spans and own):
            return []
        low, high = zip(*sorted(spans), strict=True)
        rows = self._db.execute(
            """
            SELECT DISTINCT r.relation
            FROM (SELECT relation, commit_lsn, min(lsn) AS lsn FROM replayed
                  WHERE lsn IS NOT NULL AND list_contains(?, relation) GROUP BY ALL) r
            JOIN (SELECT unnest(?)::UBIGINT AS low, unnest(?)::UBIGINT AS high) span
              ON span.low > r.lsn AND span.high < r.commit_lsn
            ORDER BY r.relation
            """,
            [own, list(low), list(high)],
        ).fetchall()
        return [key for (key,) in rows]


def _changes(lsn: int, commands: Sequence[ReplayCommand]) -> list[_Change]:
    found = (_Change(lsn, command) for command in commands)
    return [change for change in found if change.takes_away or change.adds]
