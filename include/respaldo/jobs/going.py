"""What retention has removed in one region and not yet in the other: no fault of either."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from include.respaldo.errors import SourceError
from include.respaldo.jobs.decide_retention import decide
from include.respaldo.jobs.read_catalog import newest_coverage
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.retention import RetentionPlan, superfluous_coverage

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.model.segment import Covered

log = logging.getLogger(__name__)


class Going:
    """Asks the policy, once a source: what it removed once it would remove again.

    That is one of retention's promises. A source of which not everything can be read has nothing
    that goes: retention leaves it alone, too.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._now = deployment.clock.now()
        self._plans: dict[Source, RetentionPlan | None] = {}
        self._covered: dict[str, dict[str, Covered]] = {}
        self._coverage: set[str] = set()

    def coverage(self, recorded: Iterable[str]) -> None:
        """Say which coverage records there are of one server."""
        by_moment = {
            at: key for key in recorded if (at := keys.parse_coverage_key(key)) is not None
        }
        self._coverage = {by_moment[at] for at in superfluous_coverage(list(by_moment), self._now)}

    def has(self, key: str) -> bool:
        """Return whether this object goes."""
        if key.startswith("coverage/"):
            return key in self._coverage
        if key.startswith("backups/"):
            parsed = keys.parse_backup_key(key)
            return parsed is not None and self.backup(parsed[0], parsed[1])
        return key.startswith("query_log/") and self._log(key)

    def backup(self, source: Source, backup_id: str) -> bool:
        """Return whether this backup goes."""
        plan = self._plan(source)
        return plan is not None and any(b.backup_id == backup_id for b in plan.removed)

    def _log(self, key: str) -> bool:
        _, category, server, name, chain_id, *_ = key.split("/")
        source = Source(Category(category), keys.decode_name(server), keys.decode_name(name))
        plan = self._plan(source)
        for log in plan.logs if plan else ():
            if log.chain.begin.chain_id != chain_id:
                continue
            if log.whole:
                return True
            trim = log.trim or log.chain.trim
            segment, trimmed = keys.parse_segment_key(key), keys.parse_trimmed_key(key)
            if trim is None:
                return False
            if segment is not None:
                return segment.end <= trim.start
            return trimmed is not None and trimmed < trim.start
        return False

    def _plan(self, source: Source) -> RetentionPlan | None:
        if source not in self._plans:
            if source.server not in self._covered:
                self._covered[source.server] = newest_coverage(self._deployment, source.server)
            try:
                self._plans[source] = decide(
                    self._deployment, source, self._now, self._covered[source.server]
                )
            except SourceError as error:
                log.info("retention leaves %s alone: %s", source, error.message)
                self._plans[source] = None
        return self._plans[source]
