"""Wait, in the triggerer, until a server has something to archive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from include.respaldo.errors import RespaldoError, can_retry

if TYPE_CHECKING:
    from include.respaldo.jobs.archive_query_log import Work

log = logging.getLogger(__name__)


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
        look: Callable[[Mapping[str, str] | None], Work] | None = None
        activity: Mapping[str, str] | None = None
        while True:
            try:
                if look is None:
                    look = await asyncio.to_thread(_looker)
                work = await asyncio.to_thread(look, activity)
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


def _looker() -> Callable[[Mapping[str, str] | None], Work]:
    """Return the look; imports and connections are made once."""
    from include.respaldo.jobs.archive_query_log import servers_with_work
    from include.respaldo.orchestration.deployment import deployment

    opened = deployment()
    return lambda since: servers_with_work(opened, since)
