"""What reduction hands to a database, case by case; the property test covers the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.respaldo.errors import LogDiverged
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import (
    KeyedStretch,
    MovesStretch,
    Replayed,
    RowsStretch,
    TableReplay,
)
from include.respaldo.model.segment import RelationDefinition
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import Target, TargetLsn, TargetTime
from include.respaldo.querylog.log_files import connect
from include.respaldo.querylog.pgoutput import UNCHANGED
from include.respaldo.querylog.reduction import reduce_log
from include.respaldo.querylog.stop import seen_sql
from tests.unit.querylog import wire
from tests.unit.querylog.logs import at, segment, table, transaction

ORDERS = table(1, "orders", "id note image", key="id")
AUDIT = table(2, "audit", "what", identity="f")
EVERYTHING = TargetLsn(Lsn(10**9))
NOTHING_SEEN = Snapshot(3, 3)


def reduced(
    folder: Path,
    *payloads: bytes,
    relations: tuple[RelationDefinition, ...] = (ORDERS, AUDIT),
    target: Target = EVERYTHING,
) -> tuple[Replayed, list[TableReplay]]:
    """Reduce one transaction for each payload, at seconds 0, 1, …"""
    messages = [transaction(10 + n, at(n), 10 + n, p) for n, p in enumerate(payloads)]
    segment(folder / "s", 1, 1000, messages, relations)
    replayed, tables = reduce_log(
        [folder / "s"], snapshot=NOTHING_SEEN, target=target, scratch=folder
    )
    return replayed, list(tables)


def lines(path: Path | None) -> list[str]:
    assert path is not None
    return sorted(path.read_bytes().decode().split("\n")[:-1])


def inserted_rows(table: TableReplay) -> Path | None:
    (stretch,) = table.stretches
    assert isinstance(stretch, RowsStretch)
    return stretch.inserted


def test_null_and_empty_text_stay_apart_and_odd_text_stays_as_it_is(tmp_path: Path) -> None:
    odd = 'a"b,\\.\r ñ'
    _, (_, orders) = reduced(
        tmp_path,
        wire.insert(1, [b"1", b"", None]),
        wire.insert(1, [b"2", None, odd.encode()]),
        wire.insert(2, [None]),
        relations=(ORDERS, table(2, "zeta", "what", identity="f")),
    )
    (stretch,) = orders.stretches
    assert isinstance(stretch, KeyedStretch)
    assert (stretch.deletes, stretch.updates, stretch.inserts) == (0, 0, 2)
    assert lines(stretch.inserted) == ['"1","",', '"2",,"a""b,\\.\r ñ"']


def test_the_last_state_of_each_row_is_all_that_is_left(tmp_path: Path) -> None:
    replayed, (orders,) = reduced(
        tmp_path,
        wire.insert(1, [b"new and gone", b"x", b"y"]),
        wire.delete(1, key=[b"new and gone", None, None]),
        wire.delete(1, key=[b"gone", None, None]),
        wire.delete(1, key=[b"replaced", None, None]),
        wire.insert(1, [b"replaced", b"n", b"i"]),
        wire.update(1, [b"changed", b"a", b"i1"]),
        wire.update(1, [b"changed", b"b", UNCHANGED]),
        wire.update(1, [b"image kept", b"b", UNCHANGED]),
        wire.update(1, [b"moved to", b"m", b"j"], key=[b"moved", None, None]),
    )
    (stretch,) = orders.stretches
    assert isinstance(stretch, KeyedStretch)
    assert lines(stretch.deleted) == ['"gone"', '"moved"']
    assert lines(stretch.inserted) == ['"moved to","m","j"']
    assert lines(stretch.updated) == [
        '"","changed","b","i1"',
        '"","replaced","n","i"',
        '"2","image kept","b",',
    ]
    assert stretch.has_unsent
    assert (replayed.transactions, replayed.changes, replayed.next) == (9, 9, None)


def test_moves_over_values_that_were_not_sent_stand_between_stretches(tmp_path: Path) -> None:
    _, (orders,) = reduced(
        tmp_path,
        wire.update(1, [b"1", b"a", b"i"]),
        wire.update(1, [b"2", b"b", UNCHANGED], key=[b"1", None, None]),
        wire.update(1, [b"3", b"c", UNCHANGED], key=[b"2", None, None]),
        wire.delete(1, key=[b"3", None, None]),
    )
    first, moves, last = orders.stretches
    assert isinstance(moves, MovesStretch)
    assert isinstance(first, KeyedStretch)
    assert lines(first.updated) == ['"","1","a","i"']
    assert moves.csv.read_text().splitlines() == [
        '"2","1",,,"2","b",',
        '"2","2",,,"3","c",',
    ]
    assert isinstance(last, KeyedStretch)
    assert lines(last.deleted) == ['"3"']


def test_an_old_key_that_stayed_the_same_is_no_move(tmp_path: Path) -> None:
    _, (orders,) = reduced(
        tmp_path, wire.update(1, [UNCHANGED, b"b", UNCHANGED], key=[b"large", None, None])
    )
    (stretch,) = orders.stretches
    assert isinstance(stretch, KeyedStretch)
    assert lines(stretch.updated) == ['"2","large","b",']


def test_rows_without_a_key_are_a_net_count(tmp_path: Path) -> None:
    long = b"x" * 100
    _, (audit,) = reduced(
        tmp_path,
        wire.insert(2, [b"a"]),
        wire.insert(2, [b"a"]),
        wire.update(2, [UNCHANGED], old=[b"same"]),
        wire.update(2, [long], old=[b"b"]),
        wire.delete(2, old=[None]),
    )
    (stretch,) = audit.stretches
    assert isinstance(stretch, RowsStretch)
    assert stretch.lessened is not None
    assert lines(stretch.lessened) == ['"1",', '"1","b"']
    assert lines(stretch.inserted) == ['"a"', '"a"', f'"{long.decode()}"']
    assert (stretch.removed, stretch.added) == (2, 3)


def test_what_came_before_a_truncate_is_left_out(tmp_path: Path) -> None:
    _, (orders, audit) = reduced(
        tmp_path,
        wire.insert(1, [b"1", b"x", b"y"]),
        wire.insert(2, [b"a"]),
        wire.truncate([1, 2]),
        wire.insert(2, [b"b"]),
    )
    assert (orders.truncate, orders.stretches) == (True, ())
    assert audit.truncate
    assert lines(inserted_rows(audit)) == ['"b"']


def test_recovery_stops_at_the_first_commit_past_the_target_though_clocks_step_back(
    tmp_path: Path,
) -> None:
    messages = [
        transaction(10, at(1), 11, wire.insert(2, [b"a"])),
        transaction(20, at(3), 12, wire.insert(2, [b"b"])),
        transaction(30, at(2), 13, wire.insert(2, [b"c"])),
    ]
    segment(tmp_path / "s", 1, 100, messages, [AUDIT])
    # the full backup holds the transaction at which recovery stops: it counts all the same
    replayed, tables = reduce_log(
        [tmp_path / "s"],
        snapshot=Snapshot(11, 14, (11, 13)),
        target=TargetTime(at(2)),
        scratch=tmp_path,
    )
    assert [lines(inserted_rows(t)) for t in tables] == [['"a"']]
    assert replayed.last is not None
    assert replayed.next is not None
    assert (replayed.last.xid, replayed.next.xid) == (11, 12)


def test_no_segments_are_nothing_to_replay(tmp_path: Path) -> None:
    replayed, tables = reduce_log([], snapshot=NOTHING_SEEN, target=EVERYTHING, scratch=tmp_path)
    assert (replayed, list(tables)) == (Replayed(0, 0, None, None), [])


@pytest.mark.parametrize(
    "payloads",
    [
        [wire.insert(1, [b"1", b"", b""]), wire.insert(1, [b"1", b"", b""])],
        [wire.delete(1, key=[b"1", None, None]), wire.update(1, [b"1", b"", b""])],
        [wire.delete(1, key=[b"1", None, None]), wire.delete(1, key=[b"1", None, None])],
        [wire.insert(1, [None, b"", b""])],
        [wire.update(2, [b"x"])],
        [wire.message("respaldo.ddl", b'{"tag": "ALTER TABLE"}')],
    ],
    ids=["inserted twice", "updated once gone", "deleted twice", "no key", "no old row", "ddl"],
)
def test_changes_that_cannot_be_replayed_exactly_are_refused(
    tmp_path: Path, payloads: list[bytes]
) -> None:
    with pytest.raises(LogDiverged):
        reduced(tmp_path, *payloads)


def test_a_table_whose_definition_changed_among_the_changes_is_refused(tmp_path: Path) -> None:
    wider = table(1, "orders", "id note image more", key="id")
    segment(tmp_path / "a", 1, 20, [transaction(10, at(0), 10, wire.insert(2, [b"x"]))], [AUDIT])
    changed = [
        transaction(30, at(1), 11, wire.relation(ORDERS), wire.insert(1, [b"1", b"", b""])),
        transaction(40, at(2), 12, wire.relation(wider), wire.insert(1, [b"2", b"", b"", b""])),
    ]
    segment(tmp_path / "b", 20, 100, changed)
    paths = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(LogDiverged, match=r"public\.orders.*the schema changed"):
        reduce_log(paths, snapshot=NOTHING_SEEN, target=EVERYTHING, scratch=tmp_path)
    before = TargetTime(at(1))
    _, tables = reduce_log(paths, snapshot=NOTHING_SEEN, target=before, scratch=tmp_path)
    assert [t.relation for t in tables] == [AUDIT, ORDERS]


@pytest.mark.parametrize(
    "snapshot",
    [
        Snapshot(3, 3),
        Snapshot(100, 105, (100, 103)),
        Snapshot((1 << 32) - 2, (1 << 32) + 3, ((1 << 32) - 2, (1 << 32) + 1)),
        Snapshot((5 << 32) + (1 << 31), (5 << 32) + (1 << 31) + 2),
        Snapshot((7 << 32) - 5, (7 << 32) - 1, ((7 << 32) - 3,)),
    ],
    ids=str,
)
def test_sql_sees_the_same_transactions_as_the_snapshot(snapshot: Snapshot) -> None:
    near = [snapshot.xmin, snapshot.xmax, *snapshot.in_progress, 0, 1 << 31, (1 << 32) - 1]
    xids = sorted({(n + d) % (1 << 32) for n in near for d in range(-3, 4)})
    xids += [(x + (1 << 31)) % (1 << 32) for x in xids]
    with connect() as db:
        found = db.execute(
            f"SELECT xid, {seen_sql(snapshot)} FROM (SELECT unnest(?::UINTEGER[]) AS xid)", [xids]
        ).fetchall()
    assert found == [(xid, snapshot.sees_xid32(xid)) for xid in xids]
