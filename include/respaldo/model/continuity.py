"""Whether a query log may go on where it ended, or a new chain has to begin."""

from __future__ import annotations

from dataclasses import dataclass

from include.respaldo.model.catalog import Chain
from include.respaldo.model.lsn import Lsn


@dataclass(frozen=True)
class SlotFacts:
    """What the server says of a database and of its slot."""

    system_identifier: str
    timeline: int
    database_oid: int
    #: None: there is no slot
    confirmed: Lsn | None
    #: pg_replication_slots.wal_status is not "lost"
    usable: bool


@dataclass(frozen=True)
class GoOn:
    """The chain goes on; the stream starts at `position`, which segments or coverage reach."""

    position: Lsn


@dataclass(frozen=True)
class BeginAnew:
    """Continuity cannot be proven: a new chain has to begin, for this reason."""

    reason: str


def continuity(chain: Chain | None, facts: SlotFacts) -> GoOn | BeginAnew:
    """Return whether the newest chain of a database can be gone on with.

    The slot never sends again what was confirmed. We confirm a position only after segments or a
    coverage record that reach it are in a vault; so a slot confirmed beyond what the vault holds
    was moved by somebody else, and what lies between is lost to us.
    """
    if chain is None:
        return BeginAnew("first time")
    if chain.end is not None:
        return BeginAnew(chain.end.reason)
    begin = chain.begin
    if (begin.system_identifier, begin.timeline) != (facts.system_identifier, facts.timeline):
        return BeginAnew("the server was replaced, promoted or restored")
    if begin.database_oid != facts.database_oid:
        return BeginAnew("the database was dropped and created again")
    if facts.confirmed is None:
        return BeginAnew("the replication slot is gone")
    if not facts.usable:
        return BeginAnew("the replication slot was lost: the server kept too little of its log")
    if chain.missing:
        return BeginAnew("a segment of the query log is missing from the vaults")
    if facts.confirmed > chain.reach:
        return BeginAnew("somebody else moved the replication slot on")
    return GoOn(chain.reach)
