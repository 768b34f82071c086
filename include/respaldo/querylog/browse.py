"""Read a log for people: which transactions there were, and what one of them did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import Commit
from include.respaldo.model.segment import RelationDefinition
from include.respaldo.querylog.log_files import LogFiles, connect, microseconds, moment

_TRANSACTIONS = """
SELECT commit_lsn, any_value(commit_us), any_value(xid),
       coalesce("schema", ''), coalesce("table", ''), kind, count(*)
FROM log
WHERE commit_us BETWEEN $start AND $end
  AND ($schema IS NULL OR "schema" = $schema) AND ($table IS NULL OR "table" = $table)
GROUP BY commit_lsn, "schema", "table", kind
ORDER BY commit_lsn, "schema", "table", kind
"""

_CHANGES = """
SELECT kind, relation, old, new, old_is_key, unchanged, content, prefix
FROM log WHERE commit_lsn = ? ORDER BY pos
"""


@dataclass(frozen=True)
class TransactionSummary:
    """What one transaction changed, counted."""

    commit: Commit
    #: (schema, table, kind) -> rows; schema and table are empty for messages
    changes: dict[tuple[str, str, str], int]


@dataclass(frozen=True)
class ChangeView:
    """One change with its values by column name."""

    #: insert, update, delete, truncate, message
    kind: str
    #: empty for messages
    schema: str
    table: str
    #: the row or key before; only the key's columns where the log holds no more; None: not sent
    old: dict[str, str | None] | None
    #: the row after, without the columns in `unchanged`
    new: dict[str, str | None] | None
    #: columns whose (large) value stayed as it was and was not sent
    unchanged: tuple[str, ...]
    #: of a message or a truncate
    content: bytes | None
    prefix: str | None


def transactions(
    segments: Sequence[Path],
    start: datetime,
    end: datetime,
    table: tuple[str, str] | str | None = None,
) -> Iterator[TransactionSummary]:
    """Yield the transactions committed from `start` to `end`, both included, in log order.

    :param table: only what was changed in it: (schema, name), or a name in any schema.
    :raises ValueError: a segment is damaged.
    """
    if not segments:
        return
    schema, name = table if isinstance(table, tuple) else (None, table)
    with connect() as db:
        LogFiles.read(segments).create_view(db)
        found = db.execute(
            _TRANSACTIONS,
            {
                "start": microseconds(start),
                "end": microseconds(end),
                "schema": schema,
                "table": name,
            },
        )
        rows = iter(found.fetchone, None)
        for (lsn, us, xid), of_one in groupby(rows, key=lambda row: row[:3]):
            yield TransactionSummary(
                Commit(Lsn(lsn), moment(us), xid),
                {(schema, table, kind): count for *_, schema, table, kind, count in of_one},
            )


def commit_of(segment: Path, xid: int) -> Commit | None:
    """Return the commit of the transaction of that id (its lower 32 bits count), if it is there.

    :raises ValueError: the segment is damaged.
    """
    return _commit(segment, "xid = ?", xid % (1 << 32))


def commit_at(segment: Path, lsn: Lsn) -> Commit | None:
    """Return the commit at that position, if it is there.

    :raises ValueError: the segment is damaged.
    """
    return _commit(segment, "commit_lsn = ?", int(lsn))


def _commit(segment: Path, condition: str, value: int) -> Commit | None:
    with connect() as db:
        LogFiles.read([segment]).create_view(db)
        row = db.execute(
            f"SELECT commit_lsn, commit_us, xid FROM log WHERE {condition} LIMIT 1",  # noqa: S608
            [value],
        ).fetchone()
    return Commit(Lsn(row[0]), moment(row[1]), row[2]) if row else None


def changes_of(segments: Sequence[Path], commit_lsn: Lsn) -> Iterator[ChangeView]:
    """Yield what the transaction that committed at `commit_lsn` did, in its order.

    :raises ValueError: a segment is damaged.
    """
    if not segments:
        return
    files = LogFiles.read(segments)
    with connect() as db:
        files.create_view(db)
        found = db.execute(_CHANGES, [int(commit_lsn)])
        for kind, key, old, new, old_is_key, unchanged, content, prefix in iter(
            found.fetchone, None
        ):
            definition = files.relations.get(key) if key else None
            if definition is None:
                yield ChangeView(kind, "", "", None, None, (), content, prefix)
                continue
            unsent = frozenset(unchanged or ())
            beside_key = _beside_key(definition) if old_is_key else frozenset()
            yield ChangeView(
                kind,
                definition.schema,
                definition.name,
                _named(definition, old, beside_key),
                _named(definition, new, unsent),
                tuple(definition.columns[i].name for i in sorted(unsent)),
                content,
                prefix,
            )


def _beside_key(definition: RelationDefinition) -> frozenset[int]:
    return frozenset(range(len(definition.columns))) - set(definition.key_positions)


def _named(
    definition: RelationDefinition, row: Sequence[str | None] | None, without: frozenset[int]
) -> dict[str, str | None] | None:
    if row is None:
        return None
    return {
        column.name: value
        for i, (column, value) in enumerate(zip(definition.columns, row, strict=True))
        if i not in without
    }
