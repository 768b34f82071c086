"""What a command left to PostgreSQL, which chose by what it saw at the source.

An index or a sequence without a name of its own gets one that is free, also of what others were
making just then, and may have given up since; a partition's indexes get theirs in the order in
which its parent's were made, which no dump keeps; LIKE copies the indexes that are visible, and one
that was being made is not. A replay sees other things: so it is set right by what the log says that
the command has made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, permutations, product
from operator import itemgetter
from typing import NamedTuple

import psycopg
from psycopg import sql

from include.respaldo.model.schema_change import ReplayCommand, TouchedObject
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.quiet import replaying

_NAMED = frozenset({"index", "sequence"})
#: names of so many equal indexes are tried in every order
_MOST = 4


class Made(NamedTuple):
    """An index or a sequence."""

    oid: int
    #: "index" or "sequence"
    type: str
    schema: str
    name: str


class ChosenNames:
    """Gives what a command makes the names that it has at the source.

    :param conn: a superuser's session, in autocommit.
    """

    def __init__(self, conn: Session) -> None:
        self._conn = conn

    def look(self, command: ReplayCommand) -> frozenset[int] | None:
        """Return what is there before the command; None: it makes nothing of these kinds."""
        if not any(o.address.type in _NAMED for o in command.expected):
            return None
        return frozenset(made.oid for made in self._relations())

    def settle(self, command: ReplayCommand, before: frozenset[int]) -> None:
        """Rename what the command has made since `look` returned `before`, where it can be told."""
        wanted = {o.address.names: o for o in command.expected if o.address.type in _NAMED}
        now = self._relations()
        there = {(made.schema, made.name) for made in now}
        missing = [o for names, o in wanted.items() if names not in there]
        left = [m for m in now if m.oid not in before and (m.schema, m.name) not in wanted]
        for kind in _NAMED:
            ours = [m for m in left if m.type == kind]
            theirs = sorted((o for o in missing if o.address.type == kind), key=lambda o: o.oid)
            if len(ours) != len(theirs):
                continue  # told by the comparison that follows
            for made, other in zip(ours, theirs, strict=True):
                schema, name = other.address.names
                if made.schema == schema:
                    self._rename(made, name)

    def of_indexes(self, table: TouchedObject, is_equal: Callable[[], bool]) -> bool:
        """Give the indexes of a table each other's names, if it is equal then.

        :return: whether it is; else nothing has changed.
        """
        groups = []
        for _, group in groupby(sorted(self._indexes(table), key=itemgetter(2)), itemgetter(2)):
            groups.append([(schema, name) for schema, name, *_ in group])
        if any(len(group) > _MOST for group in groups):
            return False
        for names in product(*(permutations(group) for group in groups)):
            pairs = [
                (old, new)
                for group, others in zip(groups, names, strict=True)
                for old, new in zip(group, others, strict=True)
                if old != new
            ]
            if pairs and self._try(_swaps(pairs), is_equal):
                return True
        return False

    def without_copied_index(self, table: TouchedObject, is_equal: Callable[[], bool]) -> bool:
        """Drop one index of a new table, if it is equal then.

        :return: whether it is; else nothing has changed.
        """
        return any(
            self._try([_DROP.format(sql.Identifier(schema, name))], is_equal)
            for schema, name, _, is_constraint in self._indexes(table)
            if not is_constraint
        )

    def _try(self, statements: Sequence[sql.Composed], is_equal: Callable[[], bool]) -> bool:
        fits = False
        with replaying(self._conn), self._conn.transaction() as attempt:
            for statement in statements:
                self._conn.execute(statement)
            fits = is_equal()
            if not fits:
                raise psycopg.Rollback(attempt)
        return fits

    def _rename(self, made: Made, name: str) -> None:
        rename = sql.SQL("ALTER {} {} RENAME TO {}").format(
            sql.SQL("SEQUENCE" if made.type == "sequence" else "INDEX"),
            sql.Identifier(made.schema, made.name),
            sql.Identifier(name),
        )
        with replaying(self._conn):
            self._conn.execute(rename)

    def _relations(self) -> list[Made]:
        return [Made(*row) for row in self._conn.execute(query("numbered_relations")).fetchall()]

    def _indexes(self, table: TouchedObject) -> list[tuple[str, str, str, bool]]:
        schema, name = table.address.names
        where = {"schema": schema, "name": name}
        return self._conn.execute(query("indexes_of"), where).fetchall()


_DROP = sql.SQL("DROP INDEX {}")
_INDEX = sql.SQL("ALTER INDEX {} RENAME TO {}")


def _swaps(pairs: Sequence[tuple[tuple[str, str], tuple[str, str]]]) -> list[sql.Composed]:
    """Return the statements that give each first index the second one's name."""

    def statements() -> Iterator[sql.Composed]:
        for number, ((schema, name), _) in enumerate(pairs):
            yield _INDEX.format(sql.Identifier(schema, name), sql.Identifier(_aside(number)))
        for number, ((schema, _), (_, name)) in enumerate(pairs):
            yield _INDEX.format(sql.Identifier(schema, _aside(number)), sql.Identifier(name))

    return list(statements())


def _aside(number: int) -> str:
    return f"respaldo aside {number}"
