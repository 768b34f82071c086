"""Which commits of a log a replay takes: those before the stop that the full backup lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import Commit, Replayed
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import Target, TargetTime
from include.respaldo.querylog.log_files import microseconds, moment

_EPOCH = 1 << 32


def seen_sql(snapshot: Snapshot) -> str:
    """Return the SQL condition on ``xid`` (32 bits) that `Snapshot.sees_xid32` is."""
    near = snapshot.xmax
    candidate = f"({near & ~(_EPOCH - 1)} + xid::BIGINT)"
    shifted = f"""(CASE WHEN {candidate} - {near} > {_EPOCH // 2} THEN {candidate} - {_EPOCH}
                        WHEN {near} - {candidate} > {_EPOCH // 2} THEN {candidate} + {_EPOCH}
                        ELSE {candidate} END)"""
    wide = f"(CASE WHEN {shifted} < 0 THEN {shifted} + {_EPOCH} ELSE {shifted} END)"
    running = ", ".join(str(xid) for xid in snapshot.in_progress) or "-1"
    return f"({wide} < {snapshot.xmin} OR ({wide} < {snapshot.xmax} AND {wide} NOT IN ({running})))"


@dataclass(frozen=True)
class Stop:
    """Where a replay of the log stops."""

    #: the first commit past the target, where the log reaches that far
    next: Commit | None

    @classmethod
    def find(cls, db: duckdb.DuckDBPyConnection, target: Target) -> Stop:
        """Return the first commit, in log order, that `target` does not include.

        All commits count, also those that the full backup already holds: so does PostgreSQL's own
        recovery, which knows of no full backup.
        """
        if isinstance(target, TargetTime):
            past = f"commit_us > {microseconds(target.at)}"
        else:
            past = f"commit_lsn > {int(target.lsn)}"
        (lsn,) = _one(db, f"SELECT min(commit_lsn) FROM log WHERE {past}")  # noqa: S608
        return cls(_commit(db, lsn))

    def condition(self, snapshot: Snapshot) -> str:
        """Return the SQL condition on the rows that count."""
        before = f"commit_lsn < {int(self.next.lsn)}" if self.next else "true"
        return f"({before} AND NOT {seen_sql(snapshot)})"

    def create_view(self, db: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> Replayed:
        """Create the view ``replayed``, the rows of ``log`` that count; return how much that is."""
        condition = self.condition(snapshot)
        db.execute(f"CREATE TEMP VIEW replayed AS SELECT * FROM log WHERE {condition}")  # noqa: S608
        transactions, changes, last = _one(
            db,
            """
            SELECT count(*), coalesce(sum(changes), 0)::BIGINT, max(commit_lsn)
            FROM (SELECT commit_lsn, count(*) FILTER (kind <> 'message') AS changes
                  FROM replayed GROUP BY commit_lsn)
            """,
        )
        return Replayed(transactions, changes, last=_commit(db, last), next=self.next)


def _commit(db: duckdb.DuckDBPyConnection, lsn: int | None) -> Commit | None:
    if lsn is None:
        return None
    us, xid = _one(db, f"SELECT commit_us, xid FROM log WHERE commit_lsn = {lsn} LIMIT 1")  # noqa: S608
    return Commit(Lsn(lsn), moment(us), xid)


def _one(db: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row = db.execute(query).fetchone()
    if row is None:
        raise ValueError("expected one row of the log, found none")
    return row
