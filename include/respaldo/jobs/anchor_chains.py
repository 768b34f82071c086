"""Full backups that a query log needs: taken at once, beside the archiving, never instead of it.

A new chain needs one, and so does a chain past a change that cannot be replayed. Archiving must go
on meanwhile: while a large database is dumped its slot would hold back the server's log, and be
lost to the limit that protects the server's disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from include.respaldo.errors import RespaldoError, VaultError
from include.respaldo.jobs.read_catalog import read_barriers
from include.respaldo.jobs.take_backup import backup_of, take_backup
from include.respaldo.model import keys
from include.respaldo.model.backup import Manifest, Source
from include.respaldo.model.catalog import Chain, first_barrier, is_anchored
from include.respaldo.postgres.watch import wait_until_ended

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)

#: dumps of one server at the same time
_DUMPS = 2
#: how often as long as a dump took it rests: a database whose log is closed again and again is
#: dumped a tenth of the time at most
_REST = 9
#: seconds that one rests at least that failed; else as long as it took
_REST_AFTER_FAILURE = 10.0


ReadChain = Callable[[], Chain]


class ChainAnchors:
    """The full backups that a drain takes for logs from which no moment could be had else."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._pool = ThreadPoolExecutor(_DUMPS, thread_name_prefix="full-backup")
        self._lock = threading.Lock()
        #: not begun yet; the log is read when it is: more may have come by then
        self._wanted: dict[Source, ReadChain] = {}
        self._taken: dict[Source, tuple[ReadChain, Future[None]]] = {}
        #: when the next one may be taken (monotonic seconds)
        self._rested: dict[Source, float] = {}

    def want(self, source: Source, read_chain: ReadChain) -> None:
        """Have a full backup taken, unless the newest one leads to the end of the log already."""
        with self._lock:
            self._wanted[source] = read_chain
        self.begin()

    def begin(self) -> None:
        """Begin those that are wanted and have rested, those that failed too; call it often."""
        with self._lock:
            for source, (read_chain, future) in list(self._taken.items()):
                if future.done() and not future.cancelled() and future.exception() is not None:
                    self._wanted.setdefault(source, read_chain)
            for source, read_chain in list(self._wanted.items()):
                if not self._rests(source) and not self._runs(source):
                    del self._wanted[source]
                    future = self._pool.submit(self._take, source, read_chain)
                    self._taken[source] = (read_chain, future)

    def _rest(self, source: Source, begun: float | None, *, failed: bool = False) -> None:
        """Let it rest after a dump that began then (None: it did not begin)."""
        now = time.monotonic()
        took = 0.0 if begun is None else now - begun
        self._rested[source] = now + (max(_REST_AFTER_FAILURE, took) if failed else _REST * took)

    def _rests(self, source: Source) -> bool:
        return time.monotonic() < self._rested.get(source, 0.0)

    def _runs(self, source: Source) -> bool:
        return source in self._taken and not self._taken[source][1].done()

    @property
    def busy(self) -> bool:
        """Whether some are being taken, or are about to be."""
        with self._lock:
            return any(map(self._runs, self._taken)) or not all(map(self._rests, self._wanted))

    @property
    def failures(self) -> dict[str, BaseException]:
        """Source -> why no full backup leads to the end of its log."""
        with self._lock:
            ended = {
                source: future.exception()
                for source, (_, future) in self._taken.items()
                if future.done() and not future.cancelled()
            }
        return {str(source): error for source, error in ended.items() if error is not None}

    def close(self) -> None:
        """Wait for those that have begun; leave the rest to the next drain."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, source: Source, read_chain: ReadChain) -> None:
        deployment = self._deployment
        begun: float | None = None
        try:
            chain = read_chain()
            if not _needs_full_backup(deployment, source, chain):
                return
            wait_until_ended(
                deployment.connection_of(source.server),
                chain.begin.snapshot.in_progress,
                deployment.config.query_log.slot_timeout,
            )
            begun = time.monotonic()
            take_backup(deployment, [backup_of(deployment, source)])
            self._rest(source, begun)
        except Exception as error:
            self._rest(source, begun, failed=True)
            known = isinstance(error, RespaldoError)
            log.log(
                logging.WARNING if known else logging.ERROR,
                "%s: no full backup for its query log: %s",
                source,
                error,
                exc_info=not known,
            )
            raise


def _needs_full_backup(deployment: Deployment, source: Source, chain: Chain) -> bool:
    """Return whether there is no full backup from which the log leads to its end."""
    newest = _newest_backup(deployment, source)
    if newest is None or newest.anchor is None or not is_anchored(newest, chain):
        return True
    anchor = newest.anchor
    flagged = tuple(
        segment
        for segment in chain.segments
        if segment.has_barriers
        and (segment.end > anchor.lsn or segment.max_xid >= anchor.snapshot.xmin)
    )
    barriers = tuple(read_barriers(deployment, source, chain.begin.chain_id, flagged))
    return first_barrier(newest, replace(chain, barriers=barriers)) is not None


def _newest_backup(deployment: Deployment, source: Source) -> Manifest | None:
    vaults = deployment.vaults
    manifests = [
        stored.key
        for stored in vaults.list(keys.backups_prefix(source))
        if stored.key.endswith("/" + keys.MANIFEST)
    ]
    for key in sorted(manifests, reverse=True):
        try:
            return vaults.read_verified(key, Manifest.from_bytes)
        except VaultError:
            continue
    return None
