"""Decode what the output plugin ``pgoutput`` sends: bytes in, values out, no I/O.

Protocol version 1 (no streaming of transactions in progress), text values, logical messages.
Source: PostgreSQL documentation, "Logical Replication Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.segment import ColumnDefinition, RelationDefinition


class MalformedMessage(ValueError):
    """Bytes that are no message of the protocol, or that do not fit those before them."""


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    TOKEN = "unchanged"  # noqa: S105 - a marker, no secret

    def __repr__(self) -> str:
        return "UNCHANGED"


#: a TOASTed value that the change left as it was, and that was therefore not sent
UNCHANGED: Final = Unchanged.TOKEN

#: text of each column in PostgreSQL's own form; None is null
Row = list[bytes | Unchanged | None]


class Begin(NamedTuple):
    """Start of a transaction; says already where and when it committed."""

    #: position of its commit record
    final_lsn: Lsn
    commit_at: datetime
    xid: int


class Commit(NamedTuple):
    """End of a transaction."""

    lsn: Lsn
    #: end of the commit record: what can be confirmed once the transaction is safe
    end_lsn: Lsn
    at: datetime


class Origin(NamedTuple):
    """Where the transaction was replicated from."""

    lsn: Lsn
    name: str


class Relation(NamedTuple):
    """A table as it is from here on; sent before its first change."""

    definition: RelationDefinition


class Type(NamedTuple):
    """A data type that is not built in."""

    oid: int
    schema: str
    name: str


class Insert(NamedTuple):
    """A new row."""

    relation_oid: int
    new: Row


class Update(NamedTuple):
    """A row changed.

    `old` holds the old key (the other columns null) where `old_is_key`, else the whole old row
    (replica identity full); None where the key stayed the same.
    """

    relation_oid: int
    old: Row | None
    old_is_key: bool
    new: Row


class Delete(NamedTuple):
    """A row removed; `old` as in `Update`."""

    relation_oid: int
    old: Row
    old_is_key: bool


class Truncate(NamedTuple):
    """Tables emptied by one command."""

    relation_oids: tuple[int, ...]
    cascade: bool
    restart_identity: bool


class LogicalMessage(NamedTuple):
    """What ``pg_logical_emit_message`` was given."""

    transactional: bool
    lsn: Lsn
    prefix: str
    content: bytes


Message = (
    Begin | Commit | Origin | Relation | Type | Insert | Update | Delete | Truncate | LogicalMessage
)

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NULL, _TEXT, _UNCHANGED, _BINARY = b"ntub"
_KEY, _OLD, _NEW = b"KON"
_length = struct.Struct(">I").unpack_from
_count = struct.Struct(">H").unpack_from
_begin = struct.Struct(">xQqI").unpack
_commit = struct.Struct(">xBQQq").unpack
_column = struct.Struct(">Ii").unpack_from
_position = struct.Struct(">Q").unpack_from


def decode(data: bytes) -> Message:
    """Return the message that the bytes are.

    :raises MalformedMessage: they are not exactly one message.
    """
    try:
        decoder = _DECODERS[data[0]]
    except (IndexError, KeyError):
        raise MalformedMessage(
            f"expected a message of pgoutput's protocol version 1, found {data[:1]!r}"
        ) from None
    try:
        return decoder(data)
    except MalformedMessage:
        raise
    except (IndexError, struct.error, OverflowError, ValueError) as e:
        raise MalformedMessage(
            f"expected a message of type {data[:1]!r}, found {len(data)} bytes that are none: {e}"
        ) from e


def _row(data: bytes, at: int) -> tuple[Row, int]:
    """Return the tuple that begins at `at`, and where it ends (checked by the caller's caller)."""
    row: Row = []
    append = row.append
    (columns,) = _count(data, at)
    at += 2
    for _ in range(columns):
        kind = data[at]
        if kind == _TEXT:
            begin = at + 5
            at = begin + _length(data, at + 1)[0]
            append(data[begin:at])
        elif kind == _NULL:
            append(None)
            at += 1
        elif kind == _UNCHANGED:
            append(UNCHANGED)
            at += 1
        else:
            expected = "a value in text form" if kind == _BINARY else "a value"
            raise MalformedMessage(f"expected {expected}, found kind {bytes([kind])!r}")
    return row, at


def _ended(data: bytes, at: int) -> None:
    if at != len(data):
        raise MalformedMessage(
            f"expected a message of type {data[:1]!r} to end at byte {at}, found {len(data)} bytes"
        )


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _decode_begin(data: bytes) -> Begin:
    lsn, at, xid = _begin(data)
    return Begin(Lsn(lsn), _time(at), xid)


def _decode_commit(data: bytes) -> Commit:
    _flags, lsn, end_lsn, at = _commit(data)
    return Commit(Lsn(lsn), Lsn(end_lsn), _time(at))


def _decode_origin(data: bytes) -> Origin:
    (lsn,) = _position(data, 1)
    name, at = _string(data, 9)
    _ended(data, at)
    return Origin(Lsn(lsn), name)


def _decode_relation(data: bytes) -> Relation:
    (oid,) = _length(data, 1)
    schema, at = _string(data, 5)
    name, at = _string(data, at)
    identity = data[at : at + 1].decode("ascii")
    if identity not in set("dnfi"):
        raise MalformedMessage(f"expected a replica identity (d, n, f, i), found {identity!r}")
    (count,) = _count(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        flags = data[at]
        column, at = _string(data, at + 1)
        type_oid, modifier = _column(data, at)
        at += 8
        columns.append(ColumnDefinition(column, type_oid, modifier, bool(flags & 1)))
    _ended(data, at)
    # the plugin sends an empty name for pg_catalog
    definition = RelationDefinition(oid, schema or "pg_catalog", name, identity, tuple(columns))
    return Relation(definition)


def _decode_type(data: bytes) -> Type:
    (oid,) = _length(data, 1)
    schema, at = _string(data, 5)
    name, at = _string(data, at)
    _ended(data, at)
    return Type(oid, schema or "pg_catalog", name)


def _decode_insert(data: bytes) -> Insert:
    (oid,) = _length(data, 1)
    if data[5] != _NEW:
        raise MalformedMessage(f"expected a new row, found {data[5:6]!r}")
    new, at = _row(data, 6)
    if at != len(data):
        _ended(data, at)
    return Insert(oid, new)


def _decode_update(data: bytes) -> Update:
    (oid,) = _length(data, 1)
    kind, at = data[5], 6
    old: Row | None = None
    if kind in {_KEY, _OLD}:
        old, at = _row(data, 6)
        if data[at] != _NEW:
            raise MalformedMessage(f"expected a new row, found {data[at : at + 1]!r}")
        at += 1
    elif kind != _NEW:
        raise MalformedMessage(f"expected an old key, old row or new row, found {data[5:6]!r}")
    new, at = _row(data, at)
    if at != len(data):
        _ended(data, at)
    return Update(oid, old, kind == _KEY, new)


def _decode_delete(data: bytes) -> Delete:
    (oid,) = _length(data, 1)
    kind = data[5]
    if kind not in {_KEY, _OLD}:
        raise MalformedMessage(f"expected an old key or an old row, found {data[5:6]!r}")
    old, at = _row(data, 6)
    if at != len(data):
        _ended(data, at)
    return Delete(oid, old, kind == _KEY)


def _decode_truncate(data: bytes) -> Truncate:
    (count,) = _length(data, 1)
    options = data[5]
    _ended(data, 6 + 4 * count)
    return Truncate(struct.unpack_from(f">{count}I", data, 6), bool(options & 1), bool(options & 2))


def _decode_message(data: bytes) -> LogicalMessage:
    flags = data[1]
    (lsn,) = _position(data, 2)
    prefix, at = _string(data, 10)
    (length,) = _length(data, at)
    _ended(data, at + 4 + length)
    return LogicalMessage(bool(flags & 1), Lsn(lsn), prefix, data[at + 4 :])


_DECODERS: Final[dict[int, Callable[[bytes], Message]]] = {
    ord("B"): _decode_begin,
    ord("C"): _decode_commit,
    ord("O"): _decode_origin,
    ord("R"): _decode_relation,
    ord("Y"): _decode_type,
    ord("I"): _decode_insert,
    ord("U"): _decode_update,
    ord("D"): _decode_delete,
    ord("T"): _decode_truncate,
    ord("M"): _decode_message,
}
