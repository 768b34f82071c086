"""Drain the databases of one server round-robin, with a few connections.

Worker threads each take the database that is due, visit it until it is caught up, and put it back.
The thread that calls `tick` watches the server: which databases are active, what time belongs to
which position, how the slots are; and records coverage.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

from include.respaldo import failpoints
from include.respaldo.config import ServerConfig
from include.respaldo.errors import ChainBroken, RespaldoError, VaultUnreachable
from include.respaldo.jobs.anchor_chains import ChainAnchors
from include.respaldo.jobs.database_log import DatabaseLog, Drained
from include.respaldo.jobs.discover import discover_server
from include.respaldo.jobs.open_log import open_log, put_in_both
from include.respaldo.jobs.read_catalog import DATABASES, newest_coverage
from include.respaldo.jobs.replica_lag import ReplicaLag
from include.respaldo.jobs.time_marks import TimeMarks
from include.respaldo.model import keys
from include.respaldo.model.backup import Source
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import moment_key
from include.respaldo.model.segment import Coverage, Covered
from include.respaldo.postgres.introspect import database_activity
from include.respaldo.postgres.slot import list_slots, slot_name
from include.respaldo.postgres.watch import flush, look

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.postgres.connect import Session

log = logging.getLogger(__name__)

#: a visit to a database where nothing happens any more ends after this many seconds
_LINGER = 2.0
#: after a visit to an idle database, the next idle one waits this many times its duration: the
#: skipping of other databases' log takes at most a tenth of a core of the primary
_IDLE_REST = 9.0
#: a database that failed is tried again after this many seconds
_BACK_OFF = 5.0
#: new databases are looked for this often, in seconds
_REDISCOVER = 60.0
#: warn when a slot may be lost after this many more bytes of log
_SLOT_WARNING = 256 * 1024 * 1024
#: seconds given to a replica that lags, each time and at the end: what is left waits
_CATCH_UP, _CATCH_UP_AT_END = 3.0, 30.0
#: older records of coverage are superseded: nobody reads them
_COVERAGE_COMPARED = timedelta(days=2)


@dataclass
class _Entry:
    """One database and when to visit it next (monotonic seconds)."""

    source: Source
    oid: int
    log: DatabaseLog | None = None
    due: float = 0.0
    active: bool = True
    busy: bool = False
    #: it has been visited and reached the position at which the drain started
    reached: bool = False


class ServerDrain:
    """A running drain of one server."""

    def __init__(
        self,
        deployment: Deployment,
        server: ServerConfig,
        conn: Session,
        *,
        linger: bool = True,
    ) -> None:
        """:param linger: stay with a database for a moment after it has become quiet."""
        self._linger = _LINGER if linger else 0.0
        self._deployment = deployment
        self._server = server
        self._conn = conn
        self._settings = deployment.config.query_log
        self._marks = TimeMarks()
        self._entries: dict[str, _Entry] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._idle_after = 0.0
        self._activity: dict[str, int] = {}
        self._coverage: dict[str, Covered] = {}
        self._coverage_due = 0.0
        self._rediscover_due = 0.0
        self._position = Lsn(0)
        #: the server's clock when the drain began, and a position past all commits until then
        self._began_at: datetime | None = None
        self._goal: Lsn | None = None
        self._lag = ReplicaLag(deployment.vaults)
        self._anchors = ChainAnchors(deployment)
        self._slot_warnings: dict[str, str] = {}
        self.last_change_at = deployment.clock.now()
        self.total = Drained()
        self.begun: dict[str, str] = {}
        self._failures: dict[str, BaseException] = {}

    @property
    def failures(self) -> dict[str, BaseException]:
        """Source -> why it is not archived, or has no full backup in its new chain."""
        with self._changed:
            return {**self._anchors.failures, **self._failures}

    @property
    def databases(self) -> int:
        """How many databases are drained."""
        return len(self._entries)

    def open(self) -> None:
        """Start the workers."""
        self._coverage = newest_coverage(self._deployment, self._server.name, of_primary=True)
        self._compare_coverage()
        self._look()
        self._rediscover()
        self._activity = database_activity(self._conn)
        self._coverage_due = time.monotonic() + self._settings.coverage_interval.total_seconds()
        for number in range(self._settings.streams):
            thread = threading.Thread(
                target=self._work, name=f"drain-{self._server.name}-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def tick(self) -> None:
        """Watch the server; call it about once a second."""
        self._look()
        self._wake_active()
        self._anchors.begin()
        now = time.monotonic()
        if now >= self._rediscover_due:
            self._rediscover()
        if now >= self._coverage_due:
            self._watch_slots()
            self.record_coverage()
            self._lag.catch_up(_CATCH_UP)
            self._coverage_due = now + self._settings.coverage_interval.total_seconds()

    def reached_start(self) -> bool:
        """Return whether every database can be restored up to the time at which the drain began."""
        with self._changed:
            tried = all(
                e.reached or str(e.source) in self._failures for e in self._entries.values()
            )
        return tried and not self.anchoring

    @property
    def anchoring(self) -> bool:
        """Whether a full backup of a new chain is being taken: archiving goes on meanwhile."""
        return self._anchors.busy

    def nothing_left(self) -> bool:
        """Return whether there is no database to drain."""
        return not self._entries

    def notes(self) -> Iterator[str]:
        """Yield what people should know."""
        yield from self._slot_warnings.values()
        if self._lag.note is not None:
            yield self._lag.note

    def close(self) -> None:
        """Stop the workers, each at its next safe point, and record how far the logs reach."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._anchors.close()
        self._look()
        self.record_coverage()
        self._lag.catch_up(_CATCH_UP_AT_END)

    def _look(self) -> None:
        """Take the time of where the log ends; make sure that visits can get there."""
        moment = look(self._conn)
        if moment.flushed < moment.inserted and moment.flushed == self._position:
            flush(self._conn)
            moment = look(self._conn)
        self._position = moment.flushed
        self._marks.sample(moment.at, moment.inserted)
        self._began_at = self._began_at or moment.at
        if self._goal is None:
            self._goal = self._marks.position_past(self._began_at)

    def record_coverage(self) -> None:
        """Write one record for the server of how far each log is durable, in both regions."""
        with self._changed:
            logs = {name: e.log for name, e in self._entries.items() if e.log is not None}
        reached = {name: opened.covered() for name, opened in logs.items()}
        covered = {name: item for name, item in reached.items() if item is not None}
        if not covered:
            return
        now = self._deployment.clock.now()
        # those that are not open now reach as far as before: only the newest record is ever read
        record = Coverage(self._server.name, now, {**self._coverage, **covered})
        key = keys.coverage_key(self._server.name, moment_key(now))
        try:
            put_in_both(self._deployment, self._lag, key, record.to_bytes())
        except VaultUnreachable as error:
            log.warning("coverage of %s is not recorded: %s", self._server.name, error.message)
            return
        failpoints.reach(failpoints.COVERAGE_RECORDED)
        for name, item in covered.items():
            logs[name].coverage_recorded(item)
        self._coverage |= covered

    def _compare_coverage(self) -> None:
        """Find the records that an earlier drain could not store in the replica."""
        prefix = keys.coverage_prefix(self._server.name)
        since = moment_key(self._deployment.clock.now() - _COVERAGE_COMPARED)
        after = keys.coverage_key(self._server.name, since)
        listed = self._deployment.vaults.primary.list(prefix, after=after)
        self._lag.compare(prefix, [o.key for o in listed], after=after)

    def _rediscover(self) -> None:
        self._rediscover_due = time.monotonic() + _REDISCOVER
        found = discover_server(self._deployment, self._server, frozenset(DATABASES))
        with self._changed:
            known = {d.source.name: d for d in found}
            for name in [n for n in self._entries if n not in known]:
                self._failures.pop(str(self._entries.pop(name).source), None)
            for name, database in known.items():
                entry = self._entries.get(name)
                if entry is None or entry.oid != database.oid:
                    self._entries[name] = _Entry(database.source, database.oid)
            self._changed.notify_all()

    def _wake_active(self) -> None:
        """Make due those databases where rows were written since the last look."""
        activity = database_activity(self._conn)
        with self._changed:
            for name, entry in self._entries.items():
                if activity.get(name) != self._activity.get(name):
                    entry.active, entry.due = True, 0.0
                    self.last_change_at = self._deployment.clock.now()
            self._activity = activity
            self._changed.notify_all()

    def _watch_slots(self) -> None:
        slots = list_slots(self._conn)
        self._slot_warnings.clear()
        for name, entry in self._entries.items():
            slot = slots.get(slot_name(entry.oid))
            if slot is None or slot.wal_status == "lost":
                continue
            left = slot.safe_wal_size
            if slot.wal_status == "unreserved" or (left is not None and left < _SLOT_WARNING):
                self._slot_warnings[name] = (
                    f"the slot of {name} is about to be lost: raise max_slot_wal_keep_size, or "
                    "find out why archiving is slow (a long transaction, an unreachable vault)"
                )

    def _work(self) -> None:
        while (found := self._next()) is not None:
            entry, was_active = found
            begun = time.monotonic()
            drained = Drained()
            rest = self._settings.coverage_interval.total_seconds()
            try:
                drained = self._visit(entry, was_active)
                with self._changed:
                    self._failures.pop(str(entry.source), None)
                    entry.reached = True
            except Exception as error:
                # Whatever it is, it is this database's alone: the others go on.
                level = logging.WARNING if isinstance(error, RespaldoError) else logging.ERROR
                log.log(level, "%s: %s", entry.source, error, exc_info=level == logging.ERROR)
                with self._changed:
                    self._failures[str(entry.source)] = error
                if isinstance(error, ChainBroken):
                    entry.log = None
                rest = _BACK_OFF
            with self._changed:
                now = time.monotonic()
                self.total.add(drained)
                if drained.changes:
                    self.last_change_at = self._deployment.clock.now()
                if not was_active:
                    pause = 0.0 if drained.changes else _IDLE_REST * (now - begun)
                    self._idle_after = now + pause
                entry.busy = False
                entry.due = 0.0 if entry.active else now + rest
                self._changed.notify_all()

    def _visit(self, entry: _Entry, was_active: bool) -> Drained:
        if entry.log is None:
            entry.log = self._open(entry)
        with self._changed:
            # a second at most: then it is known which position lies past the drain's beginning
            self._changed.wait_for(lambda: self._goal is not None or self._stopping)
            upto = max(self._position, self._goal or self._position)
        idle_since = time.monotonic()

        def keep_on(got_changes: bool) -> bool:
            nonlocal idle_since
            now = time.monotonic()
            if got_changes:
                idle_since = now
            return (
                not self._stopping and not self._others_wait() and now - idle_since < self._linger
            )

        database_log = entry.log
        drained = database_log.visit(upto, keep_on, look_beside=was_active)
        if drained.closed:
            self._anchors.want(entry.source, lambda: database_log.chain)
        return drained

    def _open(self, entry: _Entry) -> DatabaseLog:
        opened = open_log(self._deployment, entry.source, self._coverage, self._lag)
        if opened.begun_because is not None:
            self.begun[entry.source.name] = opened.begun_because
        database_log = DatabaseLog(self._deployment, entry.source, opened, self._marks, self._lag)
        self._anchors.want(entry.source, lambda: database_log.chain)
        return database_log

    def _others_wait(self) -> bool:
        with self._changed:
            now = time.monotonic()
            return any(
                not e.busy and e.due <= now and (e.active or now >= self._idle_after)
                for e in self._entries.values()
            )

    def _next(self) -> tuple[_Entry, bool] | None:
        """Return the database to visit now, and whether it is active; waits for one.

        Active ones first; of the idle ones one at a time, with pauses: each makes the server read
        what all the others have written. None once the drain stops.
        """
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                waiting = [e for e in self._entries.values() if not e.busy and e.due <= now]
                due = [e for e in waiting if e.active or now >= self._idle_after]
                if due:
                    entry = min(due, key=lambda e: (not e.active, e.due))
                    was_active, entry.active, entry.busy = entry.active, False, True
                    if not was_active:
                        self._idle_after = inf
                    return entry, was_active
                self._changed.wait(0.2)
        return None
