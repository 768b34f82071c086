"""Write and describe segments: Parquet files (zstd) that hold committed changes in commit order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, cast

import pyarrow.parquet as pq

from include.respaldo.errors import ChainBroken
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import Commit as LastCommit
from include.respaldo.model.schema_change import NotReplayable
from include.respaldo.model.sealed import canonical
from include.respaldo.model.segment import (
    Barrier,
    BarrierKind,
    DatabaseState,
    RelationDefinition,
    Segment,
    SegmentFooter,
)
from include.respaldo.querylog.columns import (
    DELETE,
    INSERT,
    MESSAGE,
    SCHEMA,
    TRUNCATE,
    UPDATE,
    WITH_STATISTICS,
    PendingRow,
    PendingRows,
)
from include.respaldo.querylog.ddl.messages import RowsMessage, parse_messages, parse_rows
from include.respaldo.querylog.ddl.replayable import replay_commands
from include.respaldo.querylog.footer import FOOTER_KEY, read_footer, read_segment, seal_footer
from include.respaldo.querylog.hashed_file import HashedFile
from include.respaldo.querylog.pgoutput import (
    Begin,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    MalformedMessage,
    Message,
    Relation,
    Truncate,
    Update,
)
from include.respaldo.querylog.relations import RelationMap, relation_key

__all__ = ["RelationMap", "SegmentWriter", "read_footer", "read_segment", "relation_key"]

#: logical messages whose prefix begins so are ours; those of other applications are left out
OUR_PREFIX = "respaldo."
DDL_PREFIX = "respaldo.ddl"
ROWS_PREFIX = "respaldo.rows"
OUR_SCHEMA = "respaldo"

_FLUSH_ROWS = 65_536
_FLUSH_VALUES = 1_000_000
_FLUSH_BYTES = 32 * 1024 * 1024


class SegmentWriter:
    """Turn decoded messages into one segment, in bounded memory.

    Rows are written as they come: a transaction's Begin already says where and when it committed.
    Memory: one row group (32 MB of messages, or one row if that is larger).

    :param path: the file to write; made with the first row group.
    :param start: position where the segment begins: where the one before it ended.
    :param widen: 32-bit transaction id -> 64-bit id.
    :param relations: what the stream has described; the writer adds what it hears. Pass the same
        one to every segment of a stream.
    :param secret: the capture's: messages that are not sealed with it are not its own. None: not
        looked at.
    :param overtaken_before: a schema change may have been committed there that the stream does not
        show any more; None: nowhere. Pass the one of the writer before.
    """

    def __init__(
        self,
        path: Path,
        chain_id: str,
        start: Lsn,
        widen: Callable[[int], int],
        relations: RelationMap | None = None,
        secret: str | None = None,
        overtaken_before: Lsn | None = None,
    ) -> None:
        self.path = path
        self.start = start
        #: rows so far
        self.changes = 0
        #: transactions with rows so far
        self.transactions = 0
        #: the last finished transaction that has rows
        self.last_commit: LastCommit | None = None
        #: everything before this position is in the segments so far
        self.position = start
        #: bytes of messages that wait in memory for their row group
        self.bytes_buffered = 0
        self._chain_id = chain_id
        self._relations = RelationMap() if relations is None else relations
        self._widen = widen
        self._secret = secret
        #: the capture's messages of the open transaction
        self._schema_changes: list[bytes] = []
        #: what is written before it, and committed after it, is marked with its own position
        self.overtaken_before = overtaken_before or Lsn(0)
        #: of the message at hand, where it has to be told
        self._change_lsn: Lsn | None = None
        #: commit of the last transaction that changed the schema
        self.schema_changed_at: Lsn | None = None
        self._begin: Begin | None = None
        self._rows_before_begin = 0
        self._last_lsn = start - 1
        self._first_at: datetime | None = None
        self._last_at: datetime | None = None
        self._max_xid = 0
        self._barriers: list[Barrier] = []
        self._used: dict[str, RelationDefinition] = {}
        self._pending = PendingRows(0)
        self._sink: HashedFile | None = None
        self._parquet: pq.ParquetWriter | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction has begun and not ended: no moment to finish."""
        return self._begin is not None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to make a segment of."""
        return self.changes == 0

    @property
    def barriers(self) -> tuple[Barrier, ...]:
        """What the stream showed so far that cannot be replayed."""
        return tuple(self._barriers)

    @property
    def size(self) -> int:
        """Estimate, in bytes: what is in the file, and what waits as it came."""
        return (self._sink.size if self._sink else 0) + self.bytes_buffered

    def write(self, message: Message, payload_size: int, position: Lsn | None = None) -> None:
        """Take the next message of the stream.

        :param payload_size: bytes of the message as it was received.
        :param position: of the change in the server's log; None: not known.
        :raises MalformedMessage: it does not fit those before it, or a value is not UTF-8.
        :raises ChainBroken: a transaction that should not come (again) at this position.
        """
        is_overtaken = position is not None and position < self.overtaken_before
        self._change_lsn = position if is_overtaken else None
        if isinstance(message, Insert):
            oid, new = message
            self._row(oid, payload_size, PendingRow(INSERT, new=new))
        elif isinstance(message, Update):
            oid, old, old_is_key, new = message
            self._row(oid, payload_size, PendingRow(UPDATE, old, new, old_is_key))
        elif isinstance(message, Delete):
            oid, old, old_is_key = message
            self._row(oid, payload_size, PendingRow(DELETE, old, None, old_is_key))
        elif isinstance(message, Begin):
            self._open_transaction(message)
        elif isinstance(message, Commit):
            self._close_transaction(message)
        elif isinstance(message, Relation):
            self._relations.learn(message.definition)
        elif isinstance(message, Truncate):
            self._truncate(message, payload_size)
        elif isinstance(message, LogicalMessage):
            self._message(message, payload_size)

    def finish(self, end: Lsn, state: DatabaseState, barriers: tuple[Barrier, ...] = ()) -> Segment:
        """Write the footer, make the file durable, and return what the segment's key says.

        A segment without changes tells its barriers, and is as old as they, or the state, and is as
        old as that.

        :param end: everything that committed before it is in the segment.
        :param state: read after the last change.
        :param barriers: more than those that the stream itself showed.
        :raises ValueError: in a transaction, or `end` lies before its last change.
        """
        if self._begin is not None:
            raise ValueError("expected a segment to end between transactions, found one open")
        if end <= max(self._last_lsn, self.start):
            raise ValueError(
                f"expected a segment to end after its last commit and its start {self.start}, "
                f"found {end}"
            )
        times = [t for t in (self._first_at, self._last_at) if t] or [b.at for b in barriers]
        times = times or [state.read_at]
        footer = SegmentFooter(
            chain_id=self._chain_id,
            relations=self._used,
            transactions=self.transactions,
            changes=self.changes,
            state=state,
            barriers=(*self._barriers, *barriers),
        )
        segment = Segment(
            start=self.start,
            end=end,
            first_commit_at=min(times),
            last_commit_at=max(times),
            max_xid=self._max_xid,
            has_barriers=bool(footer.barriers),
            sha256="",
        )
        parquet, sink = self._flush()
        parquet.add_key_value_metadata({FOOTER_KEY: seal_footer(segment, footer).decode()})
        parquet.close()
        sink.close()
        return replace(segment, sha256=sink.sha256, size=sink.size)

    def discard(self) -> None:
        """Remove what was written."""
        if self._parquet is not None and self._parquet.is_open:
            self._parquet.close()
        if self._sink is not None:
            self._sink.close()
        self.path.unlink(missing_ok=True)

    def _open_transaction(self, begin: Begin) -> None:
        if self._begin is not None:
            raise MalformedMessage("expected a transaction to end before the next one begins")
        if begin.final_lsn <= self._last_lsn:
            raise ChainBroken(
                f"expected a commit after {Lsn(self._last_lsn)}, found one at {begin.final_lsn}",
                hint="the stream began before the position that was asked for; start it again",
            )
        self._begin = begin
        self._rows_before_begin = self.changes

    def _close_transaction(self, commit: Commit) -> None:
        begin = self._begin
        if begin is None or begin.final_lsn != commit.lsn:
            raise MalformedMessage(
                f"expected the end of the transaction that was begun, found that of {commit.lsn}"
            )
        self._begin = None
        self._last_lsn = commit.lsn
        self.position = commit.end_lsn
        if self.changes == self._rows_before_begin:
            return
        lsn, at, xid = begin
        self._judge(lsn, at, xid)
        self._pending.stamp(lsn, at, xid)
        self.transactions += 1
        self.last_commit = LastCommit(lsn, at, xid)
        self._first_at = at if self._first_at is None else min(self._first_at, at)
        self._last_at = at if self._last_at is None else max(self._last_at, at)
        self._max_xid = max(self._max_xid, self._widen(xid))

    def _row(self, oid: int, size: int, row: PendingRow) -> None:
        relation = self._relations[oid]
        if relation.definition.schema == OUR_SCHEMA:
            return  # what Respaldo keeps in the database is no change of the customer's
        self._pending.add(relation, row, self._change_lsn)
        self._used[relation.key] = relation.definition
        self._added(size)

    def _added(self, size: int) -> None:
        if self._begin is None:
            raise MalformedMessage("expected changes within a transaction, found one outside")
        self.changes += 1
        self.bytes_buffered += size
        pending = self._pending
        if (
            self.bytes_buffered >= _FLUSH_BYTES
            or len(pending) >= _FLUSH_ROWS
            or pending.values >= _FLUSH_VALUES
        ):
            self._flush()

    def _truncate(self, message: Truncate, size: int) -> None:
        content = canonical({
            "cascade": message.cascade,
            "restart_identity": message.restart_identity,
        })
        for oid in message.relation_oids:
            self._row(oid, size, PendingRow(TRUNCATE, content=content))

    def _message(self, message: LogicalMessage, size: int) -> None:
        if not message.transactional or not message.prefix.startswith(OUR_PREFIX):
            return
        if message.prefix == ROWS_PREFIX:
            rows = parse_rows(message.content, self._secret)
            if isinstance(rows, RowsMessage):
                self._rewritten(rows, size)
                return
            # kept as it is: the transaction's judgement names it
        self._pending.add(None, PendingRow(MESSAGE, content=message.content, prefix=message.prefix))
        self._added(size)
        if message.prefix in {DDL_PREFIX, ROWS_PREFIX}:
            self._schema_changes.append(message.content)

    def _rewritten(self, message: RowsMessage, size: int) -> None:
        """Take the rows of a table that was written anew: as a truncate, and inserts."""
        self._relations.learn(message.relation)
        oid = message.relation.oid
        if message.first:
            self._row(oid, 0, PendingRow(TRUNCATE, content=canonical({"rewritten": True})))
        share = size // max(1, len(message.rows))
        for row in message.rows:
            self._row(oid, share, PendingRow(INSERT, new=list(row)))

    def _judge(self, lsn: Lsn, at: datetime, xid: int) -> None:
        """Find out whether the transaction's schema changes can be replayed."""
        contents, self._schema_changes = self._schema_changes, []
        if not contents:
            return
        self.schema_changed_at = self.overtaken_before = lsn
        for item in replay_commands(parse_messages(contents, self._secret)):
            if isinstance(item, NotReplayable):
                what = f"{item.what}: {item.reason}"
                self._barriers.append(Barrier(BarrierKind.SCHEMA_CHANGE, lsn, lsn, at, what, xid))

    def _flush(self) -> tuple[pq.ParquetWriter, HashedFile]:
        """Write the rows in memory as a row group; make the file where there is none yet."""
        if self._sink is None or self._parquet is None:
            self._sink = HashedFile(self.path)
            self._parquet = pq.ParquetWriter(
                cast(IO[bytes], self._sink),
                SCHEMA,
                compression="zstd",
                compression_level=3,
                write_statistics=WITH_STATISTICS,
            )
        pending = self._pending
        if len(pending):
            if self._begin is not None:
                pending.stamp(*self._begin)
            self._parquet.write_table(pending.table(), row_group_size=len(pending))
            self._pending = PendingRows(self.changes)
            self.bytes_buffered = 0
        return self._parquet, self._sink
