"""Full backups that new chains need: taken at once, beside the archiving, never instead of it.

Archiving must go on meanwhile: while a large database is dumped its slot would hold back the
server's log, and be lost to the limit that protects the server's disk.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from include.respaldo.errors import RespaldoError, VaultError
from include.respaldo.jobs.take_backup import backup_of, take_backup
from include.respaldo.model import keys
from include.respaldo.model.backup import Manifest, Source
from include.respaldo.model.catalog import Chain, is_anchored
from include.respaldo.model.segment import ChainStart
from include.respaldo.postgres.watch import wait_until_ended

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)

#: dumps of one server at the same time
_DUMPS = 2


class ChainAnchors:
    """The full backups that a drain takes for chains which have none."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._pool = ThreadPoolExecutor(_DUMPS, thread_name_prefix="full-backup")
        self._taken: dict[Source, tuple[ChainStart, Future[None]]] = {}

    def want(self, source: Source, chain: ChainStart) -> None:
        """Have a full backup taken, unless the newest one is anchored in the chain already."""
        self._taken[source] = (chain, self._pool.submit(self._take, source, chain))

    def retry(self) -> None:
        """Try again those that failed."""
        for source, (chain, future) in list(self._taken.items()):
            if future.done() and not future.cancelled() and future.exception() is not None:
                self.want(source, chain)

    @property
    def busy(self) -> bool:
        """Whether some are not taken yet."""
        return any(not future.done() for _, future in list(self._taken.values()))

    @property
    def failures(self) -> dict[str, BaseException]:
        """Source -> why it has no full backup in its chain."""
        ended = {
            source: future.exception()
            for source, (_, future) in list(self._taken.items())
            if future.done() and not future.cancelled()
        }
        return {str(source): error for source, error in ended.items() if error is not None}

    def close(self) -> None:
        """Wait for those that have begun; leave the rest to the next drain."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, source: Source, chain: ChainStart) -> None:
        deployment = self._deployment
        try:
            if not _needs_full_backup(deployment, source, chain):
                return
            wait_until_ended(
                deployment.connection_of(source.server),
                chain.snapshot.in_progress,
                deployment.config.query_log.slot_timeout,
            )
            take_backup(deployment, [backup_of(deployment, source)])
        except Exception as error:
            known = isinstance(error, RespaldoError)
            log.log(
                logging.WARNING if known else logging.ERROR,
                "%s: no full backup for the new chain: %s",
                source,
                error,
                exc_info=not known,
            )
            raise


def _needs_full_backup(deployment: Deployment, source: Source, chain: ChainStart) -> bool:
    """Return whether the newest full backup is not anchored in the chain (or there is none)."""
    vaults = deployment.vaults
    manifests = [
        stored.key
        for stored in vaults.list(keys.backups_prefix(source))
        if stored.key.endswith("/" + keys.MANIFEST)
    ]
    for key in sorted(manifests, reverse=True):
        try:
            newest = vaults.read_verified(key, Manifest.from_bytes)
        except VaultError:
            continue
        return not is_anchored(newest, Chain(chain))
    return True
