"""The log as people see it."""

from __future__ import annotations

from pathlib import Path

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import Commit
from include.respaldo.querylog.browse import (
    ChangeView,
    TransactionSummary,
    changes_of,
    transactions,
)
from include.respaldo.querylog.pgoutput import UNCHANGED
from tests.unit.querylog import wire
from tests.unit.querylog.logs import at, segment, table, transaction

ORDERS = table(1, "orders", "id note image", key="id")
AUDIT = table(2, "audit", "what", identity="f", schema="Odd schema")


def log(folder: Path) -> list[Path]:
    """Write two segments that overlap in one transaction."""
    first = transaction(10, at(1), 7, wire.insert(1, [b"1", b"", None]), wire.insert(2, [b"x"]))
    second = transaction(
        20,
        at(2),
        8,
        wire.update(1, [b"2", b"n", UNCHANGED], key=[b"1", None, None]),
        wire.delete(1, key=[b"2", None, None]),
        wire.truncate([2]),
        wire.message("respaldo.mark", b"m"),
    )
    third = transaction(30, at(3), 9, wire.delete(2, old=[b"x"]))
    segment(folder / "a", 10, 25, [first, second], [ORDERS, AUDIT])
    segment(folder / "b", 20, 40, [second, third], [ORDERS, AUDIT])
    return [folder / "b", folder / "a"]


def test_transactions_are_summed_up_once_each_in_log_order(tmp_path: Path) -> None:
    assert list(transactions(log(tmp_path), at(1), at(2))) == [
        TransactionSummary(
            Commit(Lsn(10), at(1), 7),
            {("Odd schema", "audit", "insert"): 1, ("public", "orders", "insert"): 1},
        ),
        TransactionSummary(
            Commit(Lsn(20), at(2), 8),
            {
                ("Odd schema", "audit", "truncate"): 1,
                ("public", "orders", "delete"): 1,
                ("public", "orders", "update"): 1,
                ("", "", "message"): 1,
            },
        ),
    ]


def test_transactions_can_be_those_of_one_table(tmp_path: Path) -> None:
    segments = log(tmp_path)
    for wanted in ("audit", ("Odd schema", "audit")):
        found = list(transactions(segments, at(2.5), at(9), wanted))
        assert [t.changes for t in found] == [{("Odd schema", "audit", "delete"): 1}]
    assert list(transactions(segments, at(0), at(9), ("public", "audit"))) == []
    assert list(transactions([], at(0), at(9))) == []


def test_changes_are_shown_by_column_name(tmp_path: Path) -> None:
    segments = log(tmp_path)
    place = ("public", "orders")
    assert list(changes_of(segments, Lsn(20))) == [
        ChangeView("update", *place, {"id": "1"}, {"id": "2", "note": "n"}, ("image",), None, None),
        ChangeView("delete", *place, {"id": "2"}, None, (), None, None),
        ChangeView(
            "truncate",
            "Odd schema",
            "audit",
            None,
            None,
            (),
            b'{"cascade":false,"restart_identity":false}',
            None,
        ),
        ChangeView("message", "", "", None, None, (), b"m", "respaldo.mark"),
    ]
    assert next(changes_of(segments, Lsn(10))).new == {"id": "1", "note": "", "image": None}
    assert list(changes_of(segments, Lsn(11))) == []
