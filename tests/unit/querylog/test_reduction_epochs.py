"""A log with schema changes is carried out in stretches between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from include.respaldo.errors import LogDiverged
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import KeyedStretch, RowsStretch, SchemaReplay, TableReplay
from include.respaldo.model.schema_change import ReplayCommand
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import TargetLsn
from include.respaldo.querylog.reduction import Commands, reduce_log
from tests.unit.querylog import wire
from tests.unit.querylog.logs import at, segment, table, transaction
from tests.unit.querylog.replaying import Tables, command, commands

ORDERS = table(1, "orders", "id note", key="id")
WIDER = table(1, "orders", "id note more", key="id")
MADE = table(2, "made", "what", identity="d")
Items = list[TableReplay | SchemaReplay]


def ddl(text: str) -> bytes:
    return wire.message("respaldo.ddl", text.encode())


def reduced(folder: Path, *transactions: Sequence[bytes], commands: Commands = commands) -> Items:
    messages = [transaction(10 + n, at(n), 10 + n, *t) for n, t in enumerate(transactions)]
    segment(folder / "s", 1, 100_000, messages, (ORDERS, MADE))
    _, items = reduce_log(
        [folder / "s"],
        snapshot=Snapshot(3, 3),
        target=TargetLsn(Lsn(10**9)),
        scratch=folder,
        commands=commands,
    )
    return list(items)


def told(items: Items) -> list[str]:
    """Return each item in one line."""
    found = []
    for item in items:
        if isinstance(item, SchemaReplay):
            found.append(item.command.sql)
            continue
        counts = [
            (s.deletes, s.updates, s.inserts)
            if isinstance(s, KeyedStretch)
            else (s.removed, s.added)
            if isinstance(s, RowsStretch)
            else s
            for s in item.stretches
        ]
        emptied = "emptied " if item.truncate else ""
        found.append(f"{emptied}{item.relation.name}/{len(item.relation.columns)} {counts}")
    return found


def test_rows_before_and_after_a_schema_change_stand_before_and_after_it(tmp_path: Path) -> None:
    items = reduced(
        tmp_path,
        [wire.insert(1, [b"1", b"a"]), wire.update(1, [b"1", b"b"])],
        [
            wire.insert(1, [b"2", b"a"]),
            ddl("widen 1 x"),
            wire.relation(WIDER),
            wire.update(1, [b"1", b"b", b"y"]),
            wire.insert(1, [b"3", b"", b""]),
        ],
        [wire.update(1, [b"2", b"c", b"z"])],
    )
    assert told(items) == ["orders/2 [(0, 0, 2)]", "widen 1 x", "orders/3 [(0, 2, 1)]"]
    change = items[1]
    assert isinstance(change, SchemaReplay)
    assert (change.lsn, change.xid) == (Lsn(11), 11)
    tables = Tables()
    tables.keyed = {1: {}}
    tables.apply(items)
    assert tables.keyed[1] == {
        ("1",): ("1", "b", "y"),
        ("2",): ("2", "c", "z"),
        ("3",): ("3", "", ""),
    }


def test_rows_of_a_table_made_from_a_query_come_after_the_command(tmp_path: Path) -> None:
    full = replace(MADE, replica_identity="f")
    items = reduced(
        tmp_path,
        [
            wire.insert(2, [b"q"]),
            wire.insert(1, [b"1", b"a"]),
            wire.insert(2, [b"r"]),
            ddl("select 2"),
            wire.relation(full),
            wire.insert(2, [b"s"]),
        ],
        [wire.update(2, [b"t"], old=[b"q"])],
    )
    assert told(items) == [
        "orders/2 [(0, 0, 1)]",
        "select 2",
        "made/1 [(0, 2)]",
        "made/1 [(1, 2)]",
    ]


def test_rows_that_an_extensions_script_wrote_come_after_the_command(tmp_path: Path) -> None:
    def refilling(messages: Sequence[bytes]) -> list[list[ReplayCommand]]:
        return [[command(m.decode(), refilled=(("public", "made"),))] for m in messages]

    items = reduced(
        tmp_path,
        [wire.insert(2, [b"a"])],
        [
            wire.truncate([2]),
            wire.insert(2, [b"b"]),
            ddl("create extension"),
            ddl("drop"),
            wire.insert(2, [b"c"]),
            ddl("create again"),
        ],
        commands=refilling,
    )
    assert told(items) == [
        "made/1 [(0, 1)]",
        "create extension",
        "emptied made/1 [(0, 1)]",
        "drop",
        "create again",
        "made/1 [(0, 1)]",
    ]


def test_a_message_without_commands_cuts_nothing_and_one_may_have_several(tmp_path: Path) -> None:
    def several(messages: Sequence[bytes]) -> list[list[ReplayCommand]]:
        return [[command(c) for c in m.decode().split(",") if c] for m in messages]

    items = reduced(
        tmp_path,
        [wire.insert(1, [b"1", b"a"]), ddl(""), wire.update(1, [b"1", b"b"])],
        [ddl("a,b"), ddl("c")],
        [wire.delete(1, key=[b"1", None])],
        [ddl("d")],
        commands=several,
    )
    assert told(items) == ["orders/2 [(0, 0, 1)]", "a", "b", "c", "orders/2 [(1, 0, 0)]", "d"]


def test_a_truncate_leaves_out_what_came_before_it_in_its_epoch_only(tmp_path: Path) -> None:
    items = reduced(
        tmp_path,
        [wire.insert(1, [b"1", b"a"]), ddl("a"), wire.insert(1, [b"2", b"a"])],
        [wire.truncate([1]), wire.insert(1, [b"1", b"a"])],
    )
    assert told(items) == ["orders/2 [(0, 0, 1)]", "a", "emptied orders/2 [(0, 0, 1)]"]


def test_a_definition_that_changes_without_a_schema_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogDiverged, match=r"public\.orders.*the schema changed"):
        reduced(
            tmp_path,
            [ddl("a"), wire.insert(1, [b"1", b"a"])],
            [wire.relation(WIDER), wire.insert(1, [b"2", b"a", b""])],
        )


def test_thousands_of_schema_changes_with_few_rows_between_them(tmp_path: Path) -> None:
    number = 3_000
    items = reduced(
        tmp_path,
        *([wire.insert(1, [b"%d" % n, b"a"]), ddl(f"change {n}")] for n in range(number)),
    )
    expected = [["orders/2 [(0, 0, 1)]", f"change {n}"] for n in range(number)]
    assert told(items) == [line for pair in expected for line in pair]


def test_a_command_knows_whether_a_later_one_had_begun_before_it_was_committed(
    tmp_path: Path,
) -> None:
    # the n-th transaction is committed at at(n)
    begun = {"widen 1": at(0), "a 1": at(0), "b 1": at(0), "again 1": at(3)}

    def timed(messages: Sequence[bytes]) -> list[list[ReplayCommand]]:
        return [[command(m.decode(), at=begun[m.decode()])] for m in messages]

    items = reduced(
        tmp_path,
        [ddl("widen 1")],
        [ddl("a 1"), ddl("b 1")],
        [ddl("again 1")],
        commands=timed,
    )
    changes = [item for item in items if isinstance(item, SchemaReplay)]
    assert [(c.command.sql, c.at, c.is_overlapped) for c in changes] == [
        ("widen 1", at(0), True),
        ("a 1", at(1), False),
        ("b 1", at(1), False),
        ("again 1", at(2), False),
    ]
