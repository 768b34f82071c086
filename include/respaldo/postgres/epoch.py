"""The tables between two schema changes: independent, so that two sessions may share them.

A table that comes a second time ends an epoch, too: the rows that stood in the log before the
command that made it come first (`querylog.epochs`), and what happened to them later after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from include.respaldo.model.replay import SchemaReplay, TableReplay


class Epoch:
    """Hands each table out once, to whichever session asks next."""

    def __init__(self, first: TableReplay, following: Iterator[TableReplay | SchemaReplay]) -> None:
        self._next: TableReplay | SchemaReplay | None = first
        self._following = following
        self._lock = Lock()
        self._stopped = False
        self._taken: set[int] = set()

    def take(self) -> TableReplay | None:
        """Return a table; None: all were handed out, or another session failed."""
        with self._lock:
            taken = self._next
            if self._stopped or not isinstance(taken, TableReplay):
                return None
            if taken.relation.oid in self._taken:
                return None
            self._taken.add(taken.relation.oid)
            try:
                self._next = next(self._following, None)
            except BaseException:
                self._stopped = True
                raise
            return taken

    def stop(self) -> None:
        """Hand out no more."""
        with self._lock:
            self._stopped = True

    @property
    def after(self) -> TableReplay | SchemaReplay | None:
        """What follows, once all tables were handed out; None: nothing."""
        return self._next
