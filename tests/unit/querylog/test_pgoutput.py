"""The decoder of the replication stream."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.segment import ColumnDefinition, RelationDefinition
from include.respaldo.querylog.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    MalformedMessage,
    Message,
    Origin,
    Relation,
    Truncate,
    Type,
    Update,
    decode,
)
from tests.unit.querylog import wire

AT = datetime(2026, 11, 22, 11, 29, 3, 123456, tzinfo=UTC)
ORDERS = RelationDefinition(
    16384,
    "public",
    'or"ders é',
    "d",
    (ColumnDefinition("id", 23, -1, True), ColumnDefinition("note", 1043, 44, False)),
)

MESSAGES: list[tuple[bytes, Message]] = [
    (wire.begin(0x16B374D848, AT, 4_294_967_295), Begin(Lsn(0x16B374D848), AT, 4_294_967_295)),
    (wire.commit(10, 20, AT), Commit(Lsn(10), Lsn(20), AT)),
    (wire.origin(5, "elsewhere"), Origin(Lsn(5), "elsewhere")),
    (wire.relation(ORDERS), Relation(ORDERS)),
    (wire.type_(9, "public", "mood"), Type(9, "public", "mood")),
    (wire.insert(1, [b"1", None, b""]), Insert(1, [b"1", None, b""])),
    (wire.update(1, [b"1", UNCHANGED]), Update(1, None, False, [b"1", UNCHANGED])),
    (
        wire.update(1, [b"2", b"x"], key=[b"1", None]),
        Update(1, [b"1", None], True, [b"2", b"x"]),
    ),
    (
        wire.update(1, [b"2", UNCHANGED], old=[b"1", b"y"]),
        Update(1, [b"1", b"y"], False, [b"2", UNCHANGED]),
    ),
    (wire.delete(1, key=[b"1", None]), Delete(1, [b"1", None], True)),
    (wire.delete(1, old=[b"1", b"y"]), Delete(1, [b"1", b"y"], False)),
    (wire.truncate([1, 2], cascade=True), Truncate((1, 2), True, False)),
    (wire.truncate([7], restart=True), Truncate((7,), False, True)),
    (
        wire.message("respaldo.ddl", b'{"tag": "x"}', lsn=77),
        LogicalMessage(True, Lsn(77), "respaldo.ddl", b'{"tag": "x"}'),
    ),
    (
        wire.message("app", b"\0\xff", transactional=False),
        LogicalMessage(False, Lsn(0), "app", b"\0\xff"),
    ),
]


@pytest.mark.parametrize(("data", "expected"), MESSAGES, ids=lambda v: type(v).__name__)
def test_a_message_is_read_as_it_was_written(data: bytes, expected: Message) -> None:
    decoded = decode(data)
    assert decoded == expected
    assert type(decoded) is type(expected)


@pytest.mark.parametrize(("data", "expected"), MESSAGES, ids=lambda v: type(v).__name__)
def test_a_message_cut_short_or_with_a_byte_too_many_is_malformed(
    data: bytes, expected: Message
) -> None:
    for cut in range(len(data)):
        with pytest.raises(MalformedMessage):
            decode(data[:cut])
    with pytest.raises(MalformedMessage):
        decode(data + b"\0")


def test_an_empty_schema_name_stands_for_pg_catalog() -> None:
    definition = RelationDefinition(1, "", "pg_class", "n", ())
    relation = decode(wire.relation(definition))
    assert isinstance(relation, Relation)
    assert relation.definition.schema == "pg_catalog"


@pytest.mark.parametrize(
    "data",
    [
        b"S\0\0\0\1\1",  # streaming was not asked for
        b"I\0\0\0\1N\0\1b\0\0\0\1x",  # nor binary values
        b"I\0\0\0\1N\0\1t\xff\xff\xff\xffx",  # a length beyond all bytes
        b"B" + b"\x7f" * 20,  # a time that no calendar has
        b"R\0\0\0\1a\0\xff\0d\0\0",  # a name that is no UTF-8
        b"R\0\0\0\1a\0b\0z\0\0",  # an unknown replica identity
    ],
)
def test_what_the_protocol_does_not_allow_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(data)
