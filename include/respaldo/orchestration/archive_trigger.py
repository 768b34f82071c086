"""Wait, in the triggerer, until a server has something to archive."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from include.respaldo.errors import RespaldoError, can_retry
from include.respaldo.orchestration.deployment import deployment

if TYPE_CHECKING:
    from include.respaldo.jobs.archive_query_log import Work
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)
#: seconds after which configuration and connections are read again
_RENEWAL = 600


class ArchiveTrigger(BaseTrigger):
    """Look every few seconds which servers have work; fire once some have.

    :param interval: seconds between two looks.
    """

    def __init__(self, interval: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how the triggerer makes it again."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"interval": self.interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: ``servers`` with work, or the ``error`` that ends the waiting.

        All looks happen in a thread: the event loop that all triggers share never waits.
        """
        activity: Mapping[str, str] | None = None
        while True:
            try:
                work = await asyncio.to_thread(_look, activity)
            except RespaldoError as error:
                if not can_retry(error):
                    yield _event(error=str(error))
                    return
                log.warning("cannot look for changes now: %s", error.message)
            else:
                if work.servers:
                    yield _event(servers=list(work.servers))
                    return
                activity = work.activity
            await asyncio.sleep(self.interval)


def _event(**payload: Any) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]


def _look(since: Mapping[str, str] | None) -> Work:
    from include.respaldo.jobs.archive_query_log import servers_with_work

    opened = _deployment(int(time.monotonic() // _RENEWAL))
    try:
        return servers_with_work(opened, since)
    except RespaldoError:
        _deployment.cache_clear()  # what was wrong may have been corrected by the next look
        raise


@lru_cache(maxsize=1)
def _deployment(period: int) -> Deployment:  # noqa: ARG001 - a new period, a new deployment
    """Return what is opened once for many looks.

    Making an S3 client anew for each would keep Python's lock for tenths of a second, and with it
    the event loop of all triggers.
    """
    return deployment()
