"""Which commands were committed unseen by another one that committed later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import SchemaReplay
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.querylog.overlaps import mark_overlapped
from tests.unit.querylog.replaying import command

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def change(xid: int, at: float, began: float, snapshot: Snapshot | None) -> SchemaReplay:
    begun = command(str(xid), at=NOON + timedelta(seconds=began), snapshot=snapshot)
    return SchemaReplay(begun, Lsn(xid), xid, NOON + timedelta(seconds=at))


@pytest.mark.parametrize(
    ("began", "snapshot", "overlapped"),
    [
        (6, Snapshot(11, 12), False),
        # a commit has its time before others see it
        (6, Snapshot(10, 12, (10,)), True),
        (6, Snapshot(9, 10), True),
        # a string's later command sees more than it did when that began
        (4, Snapshot(11, 12), True),
        (6.5, None, False),
        (6, None, True),
    ],
)
def test_a_commit_that_a_later_command_may_not_have_seen_is_marked(
    began: float, snapshot: Snapshot | None, overlapped: bool
) -> None:
    first = change(10, 5, 1, Snapshot(9, 10))
    # none of the others changes what is known of one of them
    others = [change(12 + i, 9 + i, 8.5 + i, Snapshot(12 + i, 12 + i)) for i in range(3)]
    later = change(11, 7, began, snapshot)
    marked = mark_overlapped([(first,), (later,), *((other,) for other in others)])
    assert [c.is_overlapped for (c,) in marked] == [overlapped, False, False, False, False]
    assert later.command.may_not_have_seen(10, NOON + timedelta(seconds=5)) == overlapped
