"""Write pgoutput messages as PostgreSQL does: the other side of the decoder."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from include.respaldo.model.segment import RelationDefinition
from include.respaldo.querylog.pgoutput import UNCHANGED, Unchanged

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
Values = Sequence[bytes | Unchanged | None]


def micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def begin(lsn: int, at: datetime, xid: int) -> bytes:
    return struct.pack(">cQqI", b"B", lsn, micros(at), xid)


def commit(lsn: int, end: int, at: datetime) -> bytes:
    return struct.pack(">cBQQq", b"C", 0, lsn, end, micros(at))


def origin(lsn: int, name: str) -> bytes:
    return struct.pack(">cQ", b"O", lsn) + name.encode() + b"\0"


def type_(oid: int, schema: str, name: str) -> bytes:
    return struct.pack(">cI", b"Y", oid) + f"{schema}\0{name}\0".encode()


def relation(r: RelationDefinition) -> bytes:
    head = struct.pack(">cI", b"R", r.oid) + f"{r.schema}\0{r.name}\0".encode()
    columns = b"".join(
        bytes([c.is_key])
        + c.name.encode()
        + b"\0"
        + struct.pack(">Ii", c.type_oid, c.type_modifier)
        for c in r.columns
    )
    return head + r.replica_identity.encode() + struct.pack(">H", len(r.columns)) + columns


def row(values: Values) -> bytes:
    out = [struct.pack(">H", len(values))]
    for value in values:
        if value is None:
            out.append(b"n")
        elif value is UNCHANGED:
            out.append(b"u")
        else:
            assert isinstance(value, bytes)
            out.append(b"t" + struct.pack(">I", len(value)) + value)
    return b"".join(out)


def insert(oid: int, new: Values) -> bytes:
    return struct.pack(">cI", b"I", oid) + b"N" + row(new)


def update(oid: int, new: Values, *, key: Values | None = None, old: Values | None = None) -> bytes:
    before = b"K" + row(key) if key is not None else b"O" + row(old) if old is not None else b""
    return struct.pack(">cI", b"U", oid) + before + b"N" + row(new)


def delete(oid: int, *, key: Values | None = None, old: Values | None = None) -> bytes:
    assert (key is None) != (old is None)
    before = b"K" + row(key) if key is not None else b"O" + row(old or ())
    return struct.pack(">cI", b"D", oid) + before


def truncate(oids: Sequence[int], *, cascade: bool = False, restart: bool = False) -> bytes:
    options = cascade | restart << 1
    return struct.pack(f">cIB{len(oids)}I", b"T", len(oids), options, *oids)


def message(prefix: str, content: bytes, *, lsn: int = 0, transactional: bool = True) -> bytes:
    head = struct.pack(">cBQ", b"M", transactional, lsn) + prefix.encode() + b"\0"
    return head + struct.pack(">I", len(content)) + content
