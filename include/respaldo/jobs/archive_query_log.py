"""Archive the query logs of one server's databases for as long as there is something to archive."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from include.respaldo.config import ServerConfig
from include.respaldo.errors import Busy, RespaldoError, SomeFailed, UnreachableError
from include.respaldo.jobs.discover import discover_server
from include.respaldo.jobs.drain_server import ServerDrain
from include.respaldo.jobs.read_catalog import DATABASES
from include.respaldo.model import keys
from include.respaldo.model.moments import moment_key
from include.respaldo.model.units import duration_text, size_text
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.introspect import database_activity
from include.respaldo.postgres.locks import locked

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)

#: a drain that follows tries again after this many seconds when server or vault went away
_RECONNECT = 2.0


class ArchiveMode(StrEnum):
    """When a drain ends."""

    #: everything up to now is archived
    ONCE = "once"
    #: nothing changed, or has changed for a while; or the longest run is over
    UNTIL_IDLE = "until-idle"
    #: it is told to stop
    FOLLOW = "follow"


@dataclass(frozen=True)
class ArchiveReport:
    """What one drain of a server did."""

    server: str
    databases: int
    transactions: int
    changes: int
    segments: int
    size: int
    seconds: float
    #: database -> why a new chain was begun
    begun: dict[str, str] = field(default_factory=dict)
    #: what people should know (the replica lags, a slot is about to be lost, …)
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        lines = [
            f"**{self.server}**: {self.changes:,} changes of {self.transactions:,} transactions "
            f"in {self.segments} segments ({size_text(self.size)}), {self.databases} databases, "
            f"in {duration_text(self.seconds)}"
        ]
        lines += [f"- {name}: a new chain was begun: {why}" for name, why in self.begun.items()]
        return "\n".join(lines + [f"- {note}" for note in self.notes])


@dataclass(frozen=True)
class Work:
    """Which servers have something to archive."""

    servers: tuple[str, ...]
    #: server -> a mark that changes when rows are written; pass it to the next call
    activity: dict[str, str]


def servers_with_work(deployment: Deployment, since: Mapping[str, str] | None) -> Work:
    """Return the servers where rows were written since, or whose coverage is due.

    Cheap: one query a server, and one listing where nothing was written. A server that does not
    answer has no work (the drain would say why; `check` does).

    :param since: `Work.activity` of an earlier call; None: look at coverage alone.
    """
    found: list[str] = []
    activity: dict[str, str] = {}
    for server in deployment.config.servers:
        try:
            with connect(deployment.connection_of(server.name), server.database) as conn:
                counters = database_activity(conn)
            names = {
                d.source.name for d in discover_server(deployment, server, frozenset(DATABASES))
            }
        except RespaldoError as error:
            log.warning("server %s: %s", server.name, error.message)
            continue
        text = repr(sorted((n, c) for n, c in counters.items() if n in names))
        activity[server.name] = sha256(text.encode()).hexdigest()
        changed = since is not None and since.get(server.name) != activity[server.name]
        if changed or _coverage_due(deployment, server.name):
            found.append(server.name)
    return Work(tuple(found), activity)


def _coverage_due(deployment: Deployment, server: str) -> bool:
    since = deployment.clock.now() - deployment.config.query_log.coverage_interval
    recent = deployment.vaults.list(
        keys.coverage_prefix(server), after=keys.coverage_key(server, moment_key(since))
    )
    return next(iter(recent), None) is None


def archive(
    deployment: Deployment,
    server_name: str,
    *,
    mode: ArchiveMode,
    stop: threading.Event | None = None,
) -> ArchiveReport:
    """Drain all databases of a server into their query logs.

    Prepares databases that are new, begins a chain where continuity cannot be proven and then takes
    a full backup at once. Safe to kill at any moment and to start again.

    :param stop: set it to end the drain early (any mode).
    :raises Busy: another archiver drains this server.
    :raises SomeFailed: names the databases that could not be archived; the others are.
    """
    server = deployment.server(server_name)
    stop = stop or threading.Event()
    while True:
        last = mode is not ArchiveMode.FOLLOW or stop.is_set()
        try:
            return _drain(deployment, server, mode, stop)
        except UnreachableError as error:
            if last:
                raise
            deployment.progress.step(f"{error.message}; trying again")
            # told to stop meanwhile: once more, to say how it stands now
            stop.wait(_RECONNECT)


def _drain(
    deployment: Deployment, server: ServerConfig, mode: ArchiveMode, stop: threading.Event
) -> ArchiveReport:
    begun = time.monotonic()
    with (
        connect(deployment.connection_of(server.name), server.database) as conn,
        locked(conn, f"respaldo archive {server.name}") as free,
    ):
        if not free:
            raise Busy(
                f"another archiver is draining server {server.name!r}",
                hint="one at a time is enough: it drains all databases of the server",
            )
        drain = ServerDrain(deployment, server, conn, linger=mode is not ArchiveMode.ONCE)
        try:
            drain.open()
            _supervise(deployment, drain, mode, stop)
        finally:
            drain.close()
    report = ArchiveReport(
        server=server.name,
        databases=drain.databases,
        transactions=drain.total.transactions,
        changes=drain.total.changes,
        segments=drain.total.segments,
        size=drain.total.size,
        seconds=time.monotonic() - begun,
        begun=dict(drain.begun),
        notes=tuple(drain.notes()),
    )
    deployment.progress.step(report.text)
    if drain.failures:
        raise SomeFailed("be archived", drain.failures)
    return report


def _supervise(
    deployment: Deployment, drain: ServerDrain, mode: ArchiveMode, stop: threading.Event
) -> None:
    """Tick once a second until the mode says that it is enough."""
    settings = deployment.config.query_log
    started: datetime = deployment.clock.now()
    while not stop.is_set():
        drain.tick()
        now = deployment.clock.now()
        if mode is ArchiveMode.ONCE and drain.reached_start():
            return
        if mode is ArchiveMode.UNTIL_IDLE:
            over = now - started >= settings.longest_run and not drain.anchoring
            quiet = drain.total.changes == 0 or now - drain.last_change_at >= settings.idle_after
            if over or (quiet and drain.reached_start()):
                return
        if drain.nothing_left():
            return
        stop.wait(0.1 if mode is ArchiveMode.ONCE else 0.5)
