"""The log cut at its schema changes.

An epoch is what lies between two of them. It has a number: what comes before the first schema
change is 0, what follows the n-th is 2n. Rows that stand before the command that made their table
are in an epoch of their own right after it, 2n - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import SchemaReplay
from include.respaldo.model.schema_change import ReplayCommand
from include.respaldo.model.segment import RelationDefinition
from include.respaldo.querylog.former_types import FormerTypes
from include.respaldo.querylog.log_files import literal
from include.respaldo.querylog.overlaps import mark_overlapped
from include.respaldo.querylog.segment import DDL_PREFIX

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: the contents of all messages of one transaction, in log order -> for each of them the commands
#: to replay at its place (none: there is nothing to do)
Commands = Callable[[Sequence[bytes]], Sequence[Sequence[ReplayCommand]]]


@dataclass
class Epochs:
    """The schema changes of a log, and where they stand in it."""

    #: position of each message that has commands, ascending
    positions: list[int] = field(default_factory=list)
    #: the commands of each
    changes: list[tuple[SchemaReplay, ...]] = field(default_factory=list)
    #: rows that belong after their command: (commit position, relation key, from, to, epoch)
    _displaced: list[tuple[int, str, int, int, int]] = field(default_factory=list)

    @classmethod
    def find(
        cls,
        db: duckdb.DuckDBPyConnection,
        commands: Commands | None,
        relations: Mapping[str, RelationDefinition],
    ) -> Epochs:
        """Return those of the view ``replayed``.

        :raises LogDiverged: there is a schema change, and nothing to turn it into commands; or the
            full backup has one that rows were written before.
        """
        found = cls()
        by_oid: dict[int, list[str]] = {}
        by_name: dict[tuple[str, str], list[str]] = {}
        for key, definition in relations.items():
            by_oid.setdefault(definition.oid, []).append(key)
            by_name.setdefault((definition.schema, definition.name), []).append(key)
        for lsn, at, xid, messages in _transactions(db):
            if commands is None:
                raise LogDiverged(
                    "expected changes of rows only, found a schema change among those to replay",
                    hint="choose a moment before it, or after the next full backup",
                )
            per_message = commands([content for _, content in messages])
            begins: dict[str, int] = {}
            for (pos, _), here in zip(messages, per_message, strict=True):
                if not here:
                    continue
                found.positions.append(pos)
                found.changes.append(tuple(SchemaReplay(c, Lsn(lsn), xid, at) for c in here))
                filled = [
                    key for c in here for oid in c.created_oids for key in by_oid.get(oid, ())
                ]
                filled += [
                    key for c in here for name in c.refilled for key in by_name.get(name, ())
                ]
                for key in dict.fromkeys(filled):
                    epoch = 2 * len(found.positions) - 1
                    found._displaced.append((lsn, key, begins.get(key, -1), pos, epoch))
                    begins[key] = pos
        if commands is not None:
            former = FormerTypes(db, commands, relations)
            found.changes = former.overtaken(mark_overlapped(found.changes))
        return found

    def create_view(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create the view ``epoched``: the rows of ``replayed`` with the number of their epoch."""
        if not self._displaced:
            db.execute(f"""
                CREATE TEMP VIEW epoched AS SELECT *, {self._sql()} AS epoch FROM replayed
            """)  # noqa: S608 - numbers only
            return
        db.execute("""
            CREATE TEMP TABLE displaced (commit_lsn UBIGINT, relation VARCHAR, after BIGINT,
                                         before BIGINT, epoch INTEGER)
        """)
        columns = [list(column) for column in zip(*self._displaced, strict=True)]
        db.execute(
            "INSERT INTO displaced SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)",
            columns,
        )
        db.execute(f"""
            CREATE TEMP VIEW epoched AS
            SELECT l.*, coalesce(d.epoch, {self._sql()}) AS epoch
            FROM replayed l LEFT JOIN displaced d
            ON l.commit_lsn = d.commit_lsn AND l.relation = d.relation
               AND l.pos > d.after AND l.pos < d.before
        """)  # noqa: S608 - numbers only

    def before(self, epoch: int, done: int) -> Iterator[SchemaReplay]:
        """Yield the commands that come before an epoch, without the first `done` messages'."""
        for changes in self.changes[done : (epoch + 1) // 2]:
            yield from changes

    def _sql(self) -> str:
        """Return the expression of a row's epoch: a binary search, since there may be thousands."""

        def search(low: int, high: int) -> str:
            if low == high:
                return str(2 * low)
            middle = (low + high) // 2
            return (
                f"CASE WHEN pos < {self.positions[middle]} THEN {search(low, middle)}"
                f" ELSE {search(middle + 1, high)} END"
            )

        return f"({search(0, len(self.positions))})::INTEGER"


def _transactions(
    db: duckdb.DuckDBPyConnection,
) -> Iterator[tuple[int, datetime, int, list[tuple[int, bytes]]]]:
    """Yield the commit's position and time, the id and the messages (position, content) of each
    that has some."""
    rows = db.execute(
        f"""
        SELECT commit_lsn, commit_us, xid, pos, content FROM replayed
        WHERE prefix = {literal(DDL_PREFIX)} ORDER BY pos
        """  # noqa: S608 - a constant
    ).fetchall()
    for (lsn, us, xid), group in groupby(rows, key=lambda row: row[:3]):
        messages = [(pos, bytes(content or b"")) for *_, pos, content in group]
        yield lsn, _EPOCH + timedelta(microseconds=us), xid, messages
