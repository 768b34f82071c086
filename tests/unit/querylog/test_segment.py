"""Segments: what is written is what is read, and what does not fit is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.respaldo.errors import ChainBroken
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import Commit
from include.respaldo.model.segment import Barrier, BarrierKind
from include.respaldo.querylog import segment as segment_module
from include.respaldo.querylog.ddl.messages import seal
from include.respaldo.querylog.pgoutput import UNCHANGED, MalformedMessage
from include.respaldo.querylog.segment import (
    RelationMap,
    SegmentWriter,
    read_footer,
    read_segment,
    relation_key,
)
from tests.unit.querylog import wire
from tests.unit.querylog.logs import STATE, at, segment, table, transaction, write

ORDERS = table(1, "orders", "id note", key="id")
AUDIT = table(2, "audit", "what", identity="f")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "segment.parquet"


SECRET = "known to the capture"


def new_writer(path: Path, start: int = 100) -> SegmentWriter:
    return SegmentWriter(path, "chain", Lsn(start), widen, RelationMap())


def widen(xid: int) -> int:
    return xid + (7 << 32)


def sealed(body: dict[str, Any], secret: str = SECRET) -> bytes:
    return seal(json.dumps(body).encode(), secret)


def test_changes_are_read_as_they_were_committed(path: Path) -> None:
    writer = new_writer(path)
    write(
        writer,
        *transaction(
            100,
            at(1),
            9,
            wire.relation(ORDERS),
            wire.relation(AUDIT),
            wire.insert(1, [b"1", 'ñ "q"\n,\\'.encode()]),
            wire.update(1, [b"2", UNCHANGED], key=[b"1", None]),
            wire.delete(2, old=[None]),
            wire.truncate([1, 2], cascade=True),
            wire.message("respaldo.mark", b"\0\1"),
        ),
    )
    found = writer.finish(Lsn(200), STATE)
    rows = pq.read_table(path).to_pylist()
    assert [(r["seq"], r["kind"], r["table"], r["old"], r["new"]) for r in rows] == [
        (0, "insert", "orders", None, ["1", 'ñ "q"\n,\\']),
        (1, "update", "orders", ["1", None], ["2", None]),
        (2, "delete", "audit", [None], None),
        (3, "truncate", "orders", None, None),
        (4, "truncate", "audit", None, None),
        (5, "message", None, None, None),
    ]
    assert {(r["commit_lsn"], r["commit_at"], r["xid"]) for r in rows} == {(100, at(1), 9)}
    assert [r["unchanged"] for r in rows] == [None, [1], None, None, None, None]
    assert [r["old_is_key"] for r in rows] == [False, True, False, False, False, False]
    assert rows[0]["relation"] == relation_key(ORDERS)
    assert json.loads(rows[3]["content"]) == {"cascade": True, "restart_identity": False}
    assert (rows[5]["prefix"], rows[5]["content"]) == ("respaldo.mark", b"\0\1")
    assert found.max_xid == 9 + (7 << 32)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.size == path.stat().st_size
    assert read_segment(path, sha256=found.sha256) == found


def test_the_footer_tells_what_the_segment_holds(path: Path) -> None:
    extra = Barrier(BarrierKind.LARGE_OBJECT, Lsn(100), Lsn(200), at(0), "large objects")
    ddl = [
        wire.message("respaldo.ddl", sealed({"kind": "failed", "tag": "DROP", "error": "why"})),
        wire.message("respaldo.ddl", b"["),
    ]
    found = segment(
        path,
        100,
        200,
        [
            transaction(110, at(5), 3, wire.insert(2, [b"x"])),
            transaction(120, at(4), 4, *ddl),
        ],
        [ORDERS, AUDIT],
        barriers=(extra,),
    )
    footer = read_footer(path)
    assert (found.first_commit_at, found.last_commit_at) == (at(4), at(5))
    assert found.has_barriers
    assert footer.chain_id == "chain"
    assert footer.relations == {relation_key(AUDIT): AUDIT}
    assert (footer.transactions, footer.changes) == (2, 3)
    assert footer.state == STATE
    place = {"first_lsn": Lsn(120), "last_lsn": Lsn(120), "at": at(4), "xid": 4}
    assert footer.barriers == (
        Barrier(BarrierKind.SCHEMA_CHANGE, what="DROP (why): the capture failed", **place),
        Barrier(
            BarrierKind.SCHEMA_CHANGE,
            what="schema change (a message without a seal): the capture failed",
            **place,
        ),
        extra,
    )


def created(secret: str) -> bytes:
    """Return the capture's message of a table that was made."""
    touched = {
        "type": "table", "names": ["public", "t"], "args": [], "identity": "public.t",
        "schema": "public", "tag": "CREATE TABLE", "in_extension": False, "oid": 9,
        "catalog": "pg_class", "fingerprint": None,
    }  # fmt: skip
    body = {
        "kind": "command", "tag": "CREATE TABLE", "query_id": "q", "query": "create table t()",
        "context": "", "caller": {"role": "app", "session": "app", "settings": {}},
        "statement_at": "2026-03-01T11:30:00.123456Z", "objects": [touched],
    }  # fmt: skip
    return sealed(body, secret)


def test_a_schema_change_that_can_be_replayed_is_no_barrier(path: Path) -> None:
    writer = SegmentWriter(path, "chain", Lsn(100), widen, secret=SECRET)
    write(writer, *transaction(150, at(1), 9, wire.message("respaldo.ddl", created(SECRET))))
    assert (writer.barriers, writer.schema_changed_at) == ((), Lsn(150))
    assert not writer.finish(Lsn(200), STATE).has_barriers


def test_a_schema_change_that_somebody_else_wrote_is_a_barrier(path: Path) -> None:
    writer = SegmentWriter(path, "chain", Lsn(100), widen, secret=SECRET)
    write(writer, *transaction(150, at(1), 9, wire.message("respaldo.ddl", created("guess"))))
    (barrier,) = writer.barriers
    assert "not the capture's" in barrier.what


def test_rows_of_a_table_written_anew_are_a_truncate_and_inserts(path: Path) -> None:
    def rows(*values: list[str | None], first: bool, secret: str = SECRET) -> bytes:
        body = {"relation": ORDERS.to_json(), "first": first, "rows": values}
        return wire.message("respaldo.rows", sealed(body, secret))

    writer = SegmentWriter(path, "chain", Lsn(100), widen, secret=SECRET)
    sent = rows(["1", "ñ"], ["2", None], first=True), rows(["3", ""], first=False)
    write(writer, *transaction(150, at(1), 9, *sent))
    writer.finish(Lsn(200), STATE)
    assert [(r["kind"], r["new"]) for r in pq.read_table(path).to_pylist()] == [
        ("truncate", None),
        ("insert", ["1", "ñ"]),
        ("insert", ["2", None]),
        ("insert", ["3", ""]),
    ]
    forged = SegmentWriter(path, "chain", Lsn(100), widen, secret=SECRET)
    write(forged, *transaction(150, at(1), 9, rows(["1", "x"], first=True, secret="guess")))
    assert len(forged.barriers) == 1


def test_a_transaction_without_rows_writes_nothing(path: Path) -> None:
    writer = new_writer(path)
    write(
        writer,
        *transaction(150, at(1), 9, wire.message("another app", b"x")),
        wire.message("respaldo.mark", b"outside", transactional=False),
    )
    assert writer.is_empty
    assert (writer.transactions, writer.last_commit, writer.position) == (0, None, Lsn(151))
    writer.discard()
    assert not path.exists()


def test_a_segment_without_changes_is_as_old_as_its_state(path: Path) -> None:
    segment = new_writer(path).finish(Lsn(200), STATE)
    assert segment.first_commit_at == segment.last_commit_at == STATE.read_at
    assert read_footer(path).state == STATE


def test_what_respaldo_keeps_in_the_database_is_left_out(path: Path) -> None:
    ours = replace(table(7, "replica_identity", "id was", key="id"), schema="respaldo")
    writer = new_writer(path)
    changes = (wire.relation(ours), wire.insert(7, [b"1", b"d"]), wire.truncate([7]))
    write(writer, *transaction(150, at(1), 9, *changes))
    assert writer.is_empty
    writer.discard()


def test_an_empty_segment_can_carry_a_barrier(path: Path) -> None:
    barrier = Barrier(BarrierKind.LARGE_OBJECT, Lsn(100), Lsn(200), at(3), "large objects")
    found = segment(path, 100, 200, [], barriers=(barrier,))
    assert (found.first_commit_at, found.last_commit_at, found.max_xid) == (at(3), at(3), 0)
    assert read_footer(path).barriers == (barrier,)


def test_relations_are_remembered_from_one_segment_to_the_next(tmp_path: Path) -> None:
    relations = RelationMap()
    first = SegmentWriter(tmp_path / "a", "chain", Lsn(1), int, relations)
    write(first, *transaction(1, at(1), 1, wire.relation(AUDIT), wire.insert(2, [b"a"])))
    first.finish(Lsn(5), STATE)
    second = SegmentWriter(tmp_path / "b", "chain", Lsn(5), int, relations)
    write(second, *transaction(5, at(1), 2, wire.insert(2, [b"b"])))
    second.finish(Lsn(9), STATE)
    assert read_footer(tmp_path / "b").relations == {relation_key(AUDIT): AUDIT}


def test_a_segment_ends_only_between_transactions_and_after_its_changes(path: Path) -> None:
    writer = new_writer(path)
    write(writer, wire.begin(150, at(1), 9), wire.relation(AUDIT), wire.insert(2, [b"a"]))
    assert writer.in_transaction
    with pytest.raises(ValueError, match="found one open"):
        writer.finish(Lsn(200), STATE)
    write(writer, wire.commit(150, 151, at(1)))
    assert writer.last_commit == Commit(Lsn(150), at(1), 9)
    with pytest.raises(ValueError, match="found 0/96"):
        writer.finish(Lsn(150), STATE)
    writer.finish(Lsn(151), STATE)


def test_a_commit_that_comes_again_breaks_the_chain(path: Path) -> None:
    writer = new_writer(path)
    with pytest.raises(ChainBroken):
        write(writer, wire.begin(99, at(1), 9))
    write(writer, *transaction(150, at(1), 9))
    with pytest.raises(ChainBroken):
        write(writer, wire.begin(150, at(1), 9))


@pytest.mark.parametrize(
    "payloads",
    [
        [wire.relation(AUDIT), wire.insert(2, [b"a"])],
        [wire.begin(150, at(1), 9), wire.insert(2, [b"a"])],
        [wire.begin(150, at(1), 9), wire.begin(151, at(1), 10)],
        [wire.begin(150, at(1), 9), wire.commit(151, 152, at(1))],
        [wire.commit(151, 152, at(1))],
        [wire.begin(150, at(1), 9), wire.relation(AUDIT), wire.insert(2, [b"a", b"b"])],
    ],
    ids=["no begin", "unknown table", "two begins", "other commit", "lone commit", "columns"],
)
def test_messages_that_do_not_fit_are_malformed(path: Path, payloads: list[bytes]) -> None:
    writer = new_writer(path)
    with pytest.raises(MalformedMessage):
        write(writer, *payloads)


def test_a_value_that_is_no_utf8_is_refused(path: Path) -> None:
    writer = new_writer(path)
    change = transaction(150, at(1), 9, wire.relation(AUDIT), wire.insert(2, [b"caf\xe9"]))
    write(writer, *change)
    with pytest.raises(MalformedMessage, match="UTF-8"):
        writer.finish(Lsn(200), STATE)
    writer.discard()
    assert not path.exists()


def test_row_groups_bound_the_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "_FLUSH_BYTES", 1000)
    writer = new_writer(path)
    write(writer, wire.relation(AUDIT), wire.begin(150, at(1), 9))
    for i in range(100):
        write(writer, wire.insert(2, [b"%d" % i * 30]))
        assert writer.bytes_buffered < 1000
    write(writer, wire.commit(150, 151, at(1)))
    writer.finish(Lsn(200), STATE)
    rows = pq.read_table(path).to_pylist()
    assert [r["seq"] for r in rows] == list(range(100))
    assert [r["new"] for r in rows] == [[str(i) * 30] for i in range(100)]
    assert {r["commit_lsn"] for r in rows} == {150}
    assert pq.read_metadata(path).num_row_groups > 5


def test_a_damaged_footer_is_seen(path: Path) -> None:
    segment(path, 100, 200, [transaction(110, at(5), 3, wire.insert(2, [b"x"]))], [AUDIT])
    data = path.read_bytes()
    for damaged in (data.replace(b'"transactions": 1', b'"transactions": 2'), data[:-40], b""):
        assert damaged != data
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"."):
            read_footer(path)
