"""The tables between two schema changes: independent, so that two sessions may share them."""

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

    def take(self) -> TableReplay | None:
        """Return a table; None: all were handed out, or another session failed."""
        with self._lock:
            taken = self._next
            if self._stopped or not isinstance(taken, TableReplay):
                return None
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
    def after(self) -> SchemaReplay | None:
        """What follows, once all tables were handed out; None: nothing."""
        assert not isinstance(self._next, TableReplay)
        return self._next
