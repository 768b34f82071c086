"""Whether the log holds every change of the schema: the live schema is looked at now and then.

Event triggers can be disabled, and some commands fire none. Between two looks without a schema
change in the log the schema must be the same; else a barrier closes the window there, and a full
backup follows.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from include.respaldo.errors import ChainBroken
from include.respaldo.model.backup import Source
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.segment import Barrier, BarrierKind, SchemaAudit
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.preparation import examine
from include.respaldo.postgres.schema_audit import schema_fingerprint
from include.respaldo.postgres.watch import look

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: seconds from a schema change to the next look: a migration makes many
_AFTER_CHANGE = 5.0


class SchemaAuditor:
    """Looks at one database's schema beside its log; used by the thread that reads the log."""

    def __init__(self, deployment: Deployment, source: Source, last: SchemaAudit | None) -> None:
        self._deployment = deployment
        self._source = source
        self._interval: timedelta = deployment.config.query_log.schema_audit
        #: what the schema has to be; None: a change is in the log since
        self.last = last
        self._looked: tuple[SchemaAudit, Lsn] | None = None
        self._changed_at = Lsn(0)
        self._due = 0.0

    def look(self) -> Lsn:
        """Look at the schema if that is due; return the position that the log has to reach.

        :raises ChainBroken: the capture is not what was installed.
        """
        self._looked = None
        if time.monotonic() < self._due:
            return Lsn(0)
        self._due = time.monotonic() + self._interval.total_seconds()
        connection = self._deployment.connection_of(self._source.server)
        with connect(connection, self._source.name) as conn:
            found = examine(conn)
            if found.broken is not None:
                raise ChainBroken(found.broken, hint="a new chain and a full backup begin now")
            before = look(conn)
            fingerprint = schema_fingerprint(conn)
            after = look(conn)
        self._looked = SchemaAudit(fingerprint, before.inserted, before.at), after.inserted
        return after.inserted

    def changed(self, lsn: Lsn) -> None:
        """Take note of a schema change in the log, by the position of its commit."""
        self._changed_at = max(self._changed_at, lsn)
        if self.last is not None and lsn >= self.last.lsn:
            self.last = None
            self._due = min(self._due, time.monotonic() + _AFTER_CHANGE)

    def compare(self) -> Barrier | None:
        """Compare the look with the one before, once the log has reached it."""
        if self._looked is None:
            return None
        (audit, until), self._looked = self._looked, None
        before = self.last
        if self._changed_at >= audit.lsn:
            # changed while it was looked at: once more
            self._due = min(self._due, time.monotonic() + _AFTER_CHANGE)
            return None
        self.last = audit
        if before is None or before.fingerprint == audit.fingerprint:
            return None
        return Barrier(
            BarrierKind.NOT_CAPTURED,
            first_lsn=before.lsn,
            last_lsn=until,
            at=before.at,
            what=f"between {before.at:%H:%M:%S} and {audit.at:%H:%M:%S} UTC",
        )
