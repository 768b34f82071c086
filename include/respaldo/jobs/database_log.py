"""One database's query log while it is being added to: receive, cut, make durable, confirm.

The order is the promise: a segment is written, stored in the primary vault, stored in the replica
vault, and only then is its end confirmed to PostgreSQL. A crash anywhere repeats or adopts the
segment (docs/FORMAT.md, "Write order").
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo import failpoints
from include.respaldo.jobs.audit_schema import SchemaAuditor
from include.respaldo.jobs.open_log import OpenedLog
from include.respaldo.model import keys
from include.respaldo.model.backup import Source
from include.respaldo.model.catalog import Chain
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.segment import Barrier, BarrierKind, Covered, DatabaseState, Segment
from include.respaldo.ports import Keepalive
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.introspect import read_state
from include.respaldo.postgres.stream import open_stream
from include.respaldo.querylog.pgoutput import Commit, decode
from include.respaldo.querylog.segment import RelationMap, SegmentWriter

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.jobs.replica_lag import ReplicaLag
    from include.respaldo.jobs.time_marks import TimeMarks

log = logging.getLogger(__name__)

#: how long one read waits for the server, in seconds
_PATIENCE = 0.2
#: how often the server is asked where it is while nothing arrives, in seconds
_ASK_EVERY = 0.5
#: how late PostgreSQL's statistics may show a write (source: pgstat.c, PGSTAT_IDLE_INTERVAL)
_STATISTICS_LAG = timedelta(seconds=10)


@dataclass
class Drained:
    """What was archived, counted."""

    transactions: int = 0
    changes: int = 0
    segments: int = 0
    size: int = 0
    #: a change came past which no moment can be had before the next full backup
    closed: bool = False

    def add(self, other: Drained) -> None:
        self.transactions += other.transactions
        self.changes += other.changes
        self.segments += other.segments
        self.size += other.size
        self.closed |= other.closed


class DatabaseLog:
    """The open query log of one database; used by one thread at a time."""

    def __init__(
        self,
        deployment: Deployment,
        source: Source,
        opened: OpenedLog,
        marks: TimeMarks,
        lag: ReplicaLag,
    ) -> None:
        self.source = source
        self._lag = lag
        self._deployment = deployment
        self._opened = opened.chain
        self._begin = opened.chain.begin
        #: those since with barriers
        self._flagged: tuple[Segment, ...] = ()
        self._marks = marks
        #: end of the last durable segment: the next one starts here
        self._head = opened.chain.head
        #: all before it was received, and all of that is durable
        self._position = opened.position
        #: all before it may be confirmed: durable segments, or a recorded coverage, reach it
        self._confirmable = opened.position
        self._until = opened.chain.until
        self._state = opened.state
        self._secret = opened.secret
        covered = opened.chain.covered
        self._auditor = SchemaAuditor(deployment, source, covered.audit if covered else None)

    @property
    def chain_id(self) -> str:
        return self._begin.chain_id

    @property
    def chain(self) -> Chain:
        """The chain as it was listed, and the segments since that hold barriers."""
        return replace(self._opened, segments=self._opened.segments + self._flagged)

    def covered(self) -> Covered | None:
        """Return how far the log is durable now, in position and in time.

        None while no time is known yet: nothing but the server's own clock can tell.
        """
        marked = self._marks.latest_before(self._position)
        if marked is not None and (self._until is None or marked > self._until):
            self._until = marked
        if self._until is None:
            return None
        return Covered(self.chain_id, self._position, self._until, self._head, self._auditor.last)

    def coverage_recorded(self, covered: Covered) -> None:
        """Allow that position to be confirmed: a vault now says that the log reaches it."""
        self._confirmable = max(self._confirmable, covered.lsn)

    def visit(
        self, upto: Lsn, keep_on: Callable[[bool], bool], *, look_beside: bool = True
    ) -> Drained:
        """Receive the changes of the database at least up to a position, cutting segments.

        :param upto: position the visit has to reach before it may end.
        :param keep_on: asked after each read, once `upto` is reached, with whether anything has
            arrived since the last time; the visit ends when it says no.
        :param look_beside: rows were written: if none of them came, look what it was.
        :return: what was made durable.
        """
        settings = self._deployment.config.query_log
        age = settings.segment_age.total_seconds()
        drained = Drained()
        relations = RelationMap()
        received = self._position
        upto = max(upto, self._auditor.look())
        connection = self._deployment.connection_of(self.source.server)
        stream = open_stream(connection, self.source.name, self._begin.slot, self._position)
        writer = self._new_writer(relations, self._position)
        first_at: float | None = None
        asked_at = 0.0
        try:
            stream.confirm(self._confirmable)
            while True:
                arrived = stream.read(_PATIENCE)
                got_changes = False
                for message in arrived:
                    if isinstance(message, Keepalive):
                        if not writer.in_transaction:
                            received = max(received, message.position)
                        continue
                    decoded = decode(message.data)
                    writer.write(decoded, len(message.data), message.position)
                    got_changes = True
                    if isinstance(decoded, Commit):
                        received = max(received, decoded.end_lsn)
                        first_at = first_at or time.monotonic()
                        if writer.schema_changed_at == decoded.lsn:
                            self._auditor.changed(decoded.lsn)
                        if writer.size >= settings.segment_size:
                            self._cut(writer, received, stream.confirm, drained)
                            writer = self._new_writer(relations, writer.overtaken_before)
                            first_at = None
                aged = first_at is not None and time.monotonic() - first_at >= age
                between = not writer.in_transaction
                leaving = between and received >= upto and not keep_on(got_changes)
                beside = leaving and look_beside and received > self._head
                unseen = self._auditor.compare() if leaving and received > self._head else None
                if (
                    (between and not writer.is_empty and (aged or leaving))
                    or unseen is not None
                    or (beside and self._has_changed_beside())
                ):
                    self._cut(writer, received, stream.confirm, drained, unseen)
                    writer = self._new_writer(relations, writer.overtaken_before)
                    first_at = None
                if between and writer.is_empty:
                    self._position = max(self._position, received)
                    stream.confirm(self._confirmable)
                if leaving:
                    return drained
                if not arrived and time.monotonic() - asked_at > _ASK_EVERY:
                    stream.ask_position()
                    asked_at = time.monotonic()
        finally:
            writer.discard()
            stream.close()

    def _has_changed_beside(self) -> bool:
        """Return whether large objects or sequences changed, which the stream does not show.

        An empty segment then tells it: without its barrier, or its state of the sequences (of which
        transactions that are rolled back take numbers, too), a restore would be silently different.
        """
        connection = self._deployment.connection_of(self.source.server)
        with connect(connection, self.source.name) as conn:
            state = read_state(conn)
        return state.sequences != self._state.sequences or bool(
            self._large_object_barriers(state, self._position)
        )

    def _new_writer(self, relations: RelationMap, overtaken_before: Lsn) -> SegmentWriter:
        folder = self._deployment.scratch("segments", keys.encode_name(self.source.server))
        path = folder / f"{keys.encode_name(self.source.name)[:100]}-{self._begin.slot}.parquet"
        return SegmentWriter(
            path,
            self.chain_id,
            self._head,
            self._begin.snapshot.widen,
            relations,
            self._secret,
            overtaken_before,
        )

    def _cut(
        self,
        writer: SegmentWriter,
        end: Lsn,
        confirm: Callable[[Lsn], None],
        drained: Drained,
        unseen: Barrier | None = None,
    ) -> None:
        """Make what was received up to `end` durable in both regions, then confirm it.

        :param unseen: a change of the schema that the log does not hold.
        """
        connection = self._deployment.connection_of(self.source.server)
        with connect(connection, self.source.name) as conn:
            state = read_state(conn)
        counted = Drained(writer.transactions, writer.changes, 1)
        barriers = self._large_object_barriers(state, end)
        if unseen is not None:
            barriers += (unseen,)
        counted.closed = bool(writer.barriers) or unseen is not None
        segment = writer.finish(end, state, barriers)
        failpoints.reach(failpoints.SEGMENT_WRITTEN)
        self._store(segment, writer.path)
        confirm(end)
        failpoints.reach(failpoints.SEGMENT_CONFIRMED)
        self._head = self._position = end
        self._confirmable = max(self._confirmable, end)
        self._state = state
        if segment.has_barriers:
            self._flagged += (segment,)
        counted.size = segment.size
        drained.add(counted)

    def _store(self, segment: Segment, path: Path) -> None:
        key = keys.segment_key(self.source, self.chain_id, segment)
        self._deployment.vaults.primary.put(key, path, sha256=segment.sha256)
        failpoints.reach(failpoints.SEGMENT_IN_PRIMARY)
        self._lag.put(key, path, sha256=segment.sha256)
        failpoints.reach(failpoints.SEGMENT_IN_REPLICA)
        path.unlink(missing_ok=True)

    def _large_object_barriers(self, state: DatabaseState, end: Lsn) -> tuple[Barrier, ...]:
        before = self._state
        same = (before.large_objects, before.large_object_writes) == (
            state.large_objects,
            state.large_object_writes,
        )
        if same:
            return ()
        return (
            Barrier(
                BarrierKind.LARGE_OBJECT,
                first_lsn=self._head,
                last_lsn=end,
                at=before.read_at - _STATISTICS_LAG,
                what=f"between {before.read_at:%H:%M:%S} and {state.read_at:%H:%M:%S} UTC",
            ),
        )
