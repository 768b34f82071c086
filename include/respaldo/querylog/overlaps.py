"""Which schema changes were committed while another command, which committed later, was running."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from include.respaldo.model.replay import SchemaReplay
from include.respaldo.model.schema_change import ReplayCommand
from include.respaldo.model.snapshot import Snapshot


def mark_overlapped(changes: list[tuple[SchemaReplay, ...]]) -> list[tuple[SchemaReplay, ...]]:
    """Return the same, those marked whose transactions a later one may not have seen.

    :param changes: in log order; one tuple for each message.
    """
    marked: list[tuple[SchemaReplay, ...]] = []
    later = _Seen()
    for _, group in groupby(reversed(changes), key=lambda here: here[0].lsn):
        of_one = list(group)
        is_overlapped = later.may_lack(of_one[0][0])
        marked += [tuple(replace(c, is_overlapped=is_overlapped) for c in here) for here in of_one]
        for item in (item for here in of_one for item in here):
            later.add(item.command)
    return marked[::-1]


class _Seen:
    """What all of some commands have seen when they began."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        #: begun at the earliest; without a snapshot, too
        self._earliest: ReplayCommand | None = None
        self._without: ReplayCommand | None = None

    def add(self, command: ReplayCommand) -> None:
        if command.snapshot is None:
            self._without = _earlier(self._without, command)
        else:
            both = self._snapshot and self._snapshot.both_see(command.snapshot)
            self._snapshot = both or command.snapshot
            self._earliest = _earlier(self._earliest, command)

    def may_lack(self, change: SchemaReplay) -> bool:
        """Return whether one of them may not have seen it (`ReplayCommand.may_not_have_seen`)."""
        at = change.at
        if at is None:
            return False
        if self._snapshot is not None and not self._snapshot.sees_xid32(change.xid):
            return True
        times = [c for c in (self._earliest, self._without) if c is not None]
        return any(c.may_not_have_seen(change.xid, at) for c in times)


def _earlier(one: ReplayCommand | None, other: ReplayCommand) -> ReplayCommand | None:
    known = [c for c in (one, other) if c is not None and c.at is not None]
    return min(known, key=attrgetter("at"), default=None)
