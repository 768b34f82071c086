"""Notice that a host sends nothing any more, though its connection stands."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self


class Watchdog:
    """End a group of processes once none of its rsyncs has read anything for a while.

    rsync's own ``--timeout`` does not notice: what it can still write counts as a sign of life. Nor
    does ssh: the host's sshd answers, while the program behind it hangs (a dead disk or mount).

    :param leader: the group's first process, and its number; rsync's child is of the group, too.
    :param limit: seconds.
    """

    def __init__(self, leader: int, limit: float) -> None:
        self._leader = leader
        self._limit = limit
        self._done = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        #: it has ended them
        self.fired = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        before: int | None = None
        since = time.monotonic()
        while not self._done.wait(min(5, self._limit / 4)):
            now = self._read()
            if now != before:
                before, since = now, time.monotonic()
            elif now is not None and time.monotonic() - since > self._limit:
                self.fired = True
                os.killpg(self._leader, signal.SIGTERM)
                return

    def _read(self) -> int | None:
        """Return how many bytes they have read so far; None where the system does not tell."""
        try:
            children = Path(f"/proc/{self._leader}/task/{self._leader}/children").read_text()
            total = 0
            for pid in (str(self._leader), *children.split()):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "rsync":
                    first = Path(f"/proc/{pid}/io").read_text().splitlines()[0]
                    total += int(first.removeprefix("rchar: "))
        except (OSError, ValueError, IndexError):
            return None
        return total
