"""Which times are behind a log position: what turns "nothing more until here" into "until then"."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import datetime, timedelta
from threading import Lock

from include.respaldo.model.lsn import Lsn

#: PostgreSQL takes a commit's time just before it writes the commit record. A position read this
#: much later than a time is taken to be past every commit that bears a time up to it.
COMMIT_LAG = timedelta(seconds=1)

_KEPT = 20_000


class TimeMarks:
    """Pairs of a server's clock and its log position, read again and again; safe for threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pending: list[datetime] = []
        self._positions: list[Lsn] = []
        self._times: list[datetime] = []

    def sample(self, at: datetime, position: Lsn) -> None:
        """Note that the log ended at `position` when the server's clock showed `at`."""
        with self._lock:
            settled = [t for t in self._pending if at - t >= COMMIT_LAG]
            if settled and (not self._times or settled[-1] > self._times[-1]):
                if self._positions and self._positions[-1] >= position:
                    self._times[-1] = settled[-1]
                else:
                    self._positions.append(position)
                    self._times.append(settled[-1])
            self._pending = [t for t in self._pending if at - t < COMMIT_LAG] + [at]
            del self._positions[:-_KEPT], self._times[:-_KEPT]

    def latest_before(self, position: Lsn) -> datetime | None:
        """Return the latest time all of whose commits lie before `position`, or None."""
        with self._lock:
            index = bisect_right(self._positions, position)
            return self._times[index - 1] if index else None

    def position_past(self, at: datetime) -> Lsn | None:
        """Return a position that lies past all commits of times up to `at`; None: not known yet."""
        with self._lock:
            index = bisect_left(self._times, at)
            return self._positions[index] if index < len(self._positions) else None
