"""The deployment as a task or a trigger sees it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from include.respaldo.config import load_config
from include.respaldo.model.units import size_text
from include.respaldo.orchestration.connections import from_airflow

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)
#: seconds between two lines about the same work
_QUIET = 10.0


class TaskLog:
    """Progress as lines of the task's log: each step, and every few seconds how far it is."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def step(self, message: str) -> None:
        log.info("%s", message)
        self._said_at = time.monotonic()

    def advance(self, done: int, total: int | None, unit: str) -> None:
        now = time.monotonic()
        if now - self._said_at < _QUIET:
            return
        self._said_at = now
        amount = size_text(done) if unit == "bytes" else f"{done:,} {unit}"
        if total:
            of = size_text(total) if unit == "bytes" else f"{total:,}"
            log.info("%s of %s (%d %%)", amount, of, 100 * done // total)
        else:
            log.info("%s", amount)


def deployment() -> Deployment:
    """Return what the jobs work with: the configuration file, Airflow's connections, the log.

    :raises ConfigurationError: the configuration is missing or has mistakes.
    """
    from include.respaldo.jobs.deployment import Deployment

    return Deployment(load_config(), from_airflow, progress=TaskLog())
