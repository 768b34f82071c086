"""The columns of a segment, and the rows that wait to become a row group."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa

from include.respaldo.model.segment import RelationDefinition
from include.respaldo.querylog.pgoutput import UNCHANGED, MalformedMessage, Row
from include.respaldo.querylog.relations import KnownRelation

KINDS = ("insert", "update", "delete", "truncate", "message")
INSERT, UPDATE, DELETE, TRUNCATE, MESSAGE = range(5)

_NAME = pa.dictionary(pa.int32(), pa.string())
_ROW = pa.list_(pa.string())
SCHEMA = pa.schema([
    pa.field("commit_lsn", pa.uint64(), nullable=False),
    pa.field("commit_at", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("xid", pa.uint32(), nullable=False),
    pa.field("seq", pa.int64(), nullable=False),
    pa.field("kind", _NAME, nullable=False),
    pa.field("relation", _NAME),
    pa.field("schema", _NAME),
    pa.field("table", _NAME),
    pa.field("old", _ROW),
    pa.field("new", _ROW),
    pa.field("old_is_key", pa.bool_(), nullable=False),
    pa.field("unchanged", pa.list_(pa.int32())),
    pa.field("content", pa.binary()),
    pa.field("prefix", pa.string()),
    pa.field("lsn", pa.uint64()),
])
#: columns whose smallest and largest value in each row group help to skip it
WITH_STATISTICS = [
    *("commit_lsn", "commit_at", "xid", "seq", "kind", "relation", "schema", "table", "lsn")
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class _Lists:
    """A column of lists, gathered flat: one Python list and the offsets into it."""

    def __init__(self, type_: pa.DataType) -> None:
        self._type = type_
        self.values: list[Any] = []
        self._offsets = [0]
        self._absent: list[bool] = []

    def add(self, values: Sequence[object] | None) -> None:
        if values is not None:
            self.values += values
        self._offsets.append(len(self.values))
        self._absent.append(values is None)

    def array(self) -> Any:
        return pa.ListArray.from_arrays(
            pa.array(self._offsets, pa.int32()),
            pa.array(self.values, self._type),
            mask=pa.array(self._absent, pa.bool_()),
        )


class PendingRow(NamedTuple):
    """One row of a segment, before it is known where it stands."""

    kind: int
    old: Row | None = None
    new: Row | None = None
    old_is_key: bool = False
    content: bytes | None = None
    prefix: str | None = None


class PendingRows:
    """Rows of a segment that are in memory, column by column."""

    def __init__(self, first_seq: int) -> None:
        self._first_seq = first_seq
        self._lsn: list[int] = []
        self._at: list[int] = []
        self._xid: list[int] = []
        self._kind: list[int] = []
        self._relation: list[int | None] = []
        self._relations: dict[str, tuple[int, RelationDefinition]] = {}
        self._old = _Lists(pa.string())
        self._new = _Lists(pa.string())
        self._old_is_key: list[bool] = []
        self._unchanged = _Lists(pa.int32())
        self._content: list[bytes | None] = []
        self._prefix: list[str | None] = []
        self._change_lsn: list[int | None] = []

    def __len__(self) -> int:
        return len(self._kind)

    @property
    def values(self) -> int:
        """How many column values are held."""
        return len(self._old.values) + len(self._new.values)

    def add(self, relation: KnownRelation | None, row: PendingRow, lsn: int | None = None) -> None:
        """Take one row, whose commit the next `stamp` gives.

        :param lsn: of the change itself; None: no matter.
        :raises MalformedMessage: it has not as many columns as its table.
        """
        kind, old, new, old_is_key, content, prefix = row
        index = None
        if relation is not None:
            entry = self._relations.get(relation.key)
            if entry is None:
                entry = (len(self._relations), relation.definition)
                self._relations[relation.key] = entry
            index = entry[0]
            columns = len(relation.definition.columns)
            if (new is not None and len(new) != columns) or (
                old is not None and len(old) != columns
            ):
                raise MalformedMessage(
                    f"expected {columns} columns of {relation.definition.schema}."
                    f"{relation.definition.name}, found {len(new or ())} new and "
                    f"{len(old or ())} old"
                )
        unchanged = None
        if kind == UPDATE and new is not None and UNCHANGED in new:
            unchanged = [i for i, value in enumerate(new) if value is UNCHANGED]
            new = [None if value is UNCHANGED else value for value in new]
        self._kind.append(kind)
        self._relation.append(index)
        self._old.add(old)
        self._new.add(new)
        self._old_is_key.append(old_is_key)
        self._unchanged.add(unchanged)
        self._content.append(content)
        self._prefix.append(prefix)
        self._change_lsn.append(lsn)

    def stamp(self, lsn: int, at: datetime, xid: int) -> None:
        """Give the rows added since the last stamp the commit that they belong to."""
        count = len(self._kind) - len(self._lsn)
        self._lsn += [lsn] * count
        self._at += [(at - _EPOCH) // _MICROSECOND] * count
        self._xid += [xid] * count

    def table(self) -> pa.Table:
        """Return the rows as Arrow columns; all of them must be stamped.

        :raises MalformedMessage: a value is not UTF-8, or not a value at all.
        """
        definitions = [definition for _, definition in self._relations.values()]
        relation = pa.array(self._relation, pa.int32())
        try:
            old, new = self._old.array(), self._new.array()
        except (pa.ArrowInvalid, pa.ArrowTypeError) as e:
            raise MalformedMessage(f"expected values in UTF-8, found others: {e}") from e
        columns = [
            pa.array(self._lsn, pa.uint64()),
            pa.array(self._at, pa.timestamp("us", tz="UTC")),
            pa.array(self._xid, pa.uint32()),
            pa.array(range(self._first_seq, self._first_seq + len(self)), pa.int64()),
            _named(pa.array(self._kind, pa.int32()), KINDS),
            _named(relation, list(self._relations)),
            _named(relation, [d.schema for d in definitions]),
            _named(relation, [d.name for d in definitions]),
            old,
            new,
            pa.array(self._old_is_key, pa.bool_()),
            self._unchanged.array(),
            pa.array(self._content, pa.binary()),
            pa.array(self._prefix, pa.string()),
            pa.array(self._change_lsn, pa.uint64()),
        ]
        return pa.Table.from_arrays(columns, schema=SCHEMA)


def _named(indices: Any, names: Sequence[str]) -> Any:
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))
