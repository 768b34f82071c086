"""The query log's pieces: chains, segments, barriers, coverage."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from include.respaldo.model.backup import Category, Source
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import iso, parse_iso
from include.respaldo.model.sealed import seal, unseal
from include.respaldo.model.snapshot import Snapshot

CHAIN_FORMAT = "respaldo-chain/1"
CLOSED_FORMAT = "respaldo-chain-closed/1"
TRIMMED_FORMAT = "respaldo-chain-trimmed/1"
COVERAGE_FORMAT = "respaldo-coverage/1"
#: object ids below are PostgreSQL's own: the same on every server of a major version
FIRST_OWN_OID = 16_384


@dataclass(frozen=True)
class Sequence:
    """The state of one sequence, as pg_sequences and pg_sequence show it."""

    schema: str
    name: str
    #: None: nextval() was never called
    last_value: int | None
    increment: int = 1
    #: tells it from another one of the same name; 0: not recorded
    oid: int = field(default=0, compare=False)
    #: pg_class.relfilenode: its oid, until a command alters or restarts it; 0: not recorded
    file: int = field(default=0, compare=False)

    def to_json(self) -> list[Any]:
        return [self.schema, self.name, self.last_value, self.increment, self.oid, self.file]

    @classmethod
    def from_json(cls, item: list[Any]) -> Sequence:
        return cls(*item)


@dataclass(frozen=True)
class DatabaseState:
    """What logical decoding does not carry, read beside the stream at one moment."""

    #: server clock when it was read
    read_at: datetime
    sequences: tuple[Sequence, ...] = ()
    #: how many large objects there are
    large_objects: int = 0
    #: rows ever written in pg_largeobject (pg_stat counters): changes when a large object does
    large_object_writes: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "read_at": iso(self.read_at),
            "sequences": [s.to_json() for s in self.sequences],
            "large_objects": self.large_objects,
            "large_object_writes": self.large_object_writes,
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> DatabaseState:
        return cls(
            read_at=parse_iso(d["read_at"]),
            sequences=tuple(Sequence.from_json(s) for s in d["sequences"]),
            large_objects=d["large_objects"],
            large_object_writes=d["large_object_writes"],
        )


class BarrierKind(StrEnum):
    """Why a stretch of the log cannot be replayed across (yet)."""

    SCHEMA_CHANGE = "schema change"
    NOT_CAPTURED = "schema change that could not be captured"
    LARGE_OBJECT = "large object change"


@dataclass(frozen=True)
class Barrier:
    """A change that replay cannot carry out exactly: targets beyond it are refused.

    Known to lie in (`first_lsn`, `last_lsn`]; for a schema change both are its commit's position.
    """

    kind: BarrierKind
    first_lsn: Lsn
    last_lsn: Lsn
    #: no target at or after this time is free of it
    at: datetime
    #: for people: "ALTER TABLE public.orders"
    what: str
    #: 32-bit id of its transaction, where there is one
    xid: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "first_lsn": str(self.first_lsn),
            "last_lsn": str(self.last_lsn),
            "at": iso(self.at),
            "what": self.what,
            "xid": self.xid,
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> Barrier:
        return cls(
            kind=BarrierKind(d["kind"]),
            first_lsn=Lsn.parse(d["first_lsn"]),
            last_lsn=Lsn.parse(d["last_lsn"]),
            at=parse_iso(d["at"]),
            what=d["what"],
            xid=d["xid"],
        )


@dataclass(frozen=True)
class Segment:
    """What a segment's key says of it: enough to plan with.

    It holds every committed change of the database whose commit record starts in
    [`start`, `end`). Segments of a chain touch (``next.start == end``); after a crash two may
    overlap, and then hold the same transactions where they do.
    """

    start: Lsn
    end: Lsn
    #: commit times in it: the smallest and the largest (clocks may step back); of one without
    #: commits, the time of what it tells instead, which says nothing of where recovery stops
    first_commit_at: datetime
    last_commit_at: datetime
    #: largest 64-bit transaction id in it
    max_xid: int
    #: the footer lists barriers
    has_barriers: bool
    #: of the whole Parquet file, hexadecimal
    sha256: str
    #: stored bytes (from the listing; not part of the key)
    size: int = 0

    @property
    def has_commits(self) -> bool:
        """Whether it holds changes; else it tells barriers, or the sequences, alone."""
        return self.max_xid > 0


@dataclass(frozen=True)
class ColumnDefinition:
    """A column as the stream describes it."""

    name: str
    type_oid: int
    #: pg_attribute.atttypmod
    type_modifier: int
    #: part of the replica identity
    is_key: bool


@dataclass(frozen=True)
class RelationDefinition:
    """A table as the stream describes it before its first change (pgoutput's Relation message)."""

    oid: int
    schema: str
    name: str
    #: pg_class.relreplident: d (primary key), n (nothing), f (full), i (index)
    replica_identity: str
    columns: tuple[ColumnDefinition, ...]

    @property
    def key_positions(self) -> tuple[int, ...]:
        return tuple(i for i, c in enumerate(self.columns) if c.is_key)

    def to_json(self) -> dict[str, Any]:
        return {
            "oid": self.oid,
            "schema": self.schema,
            "name": self.name,
            "replica_identity": self.replica_identity,
            "columns": [[c.name, c.type_oid, c.type_modifier, c.is_key] for c in self.columns],
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> RelationDefinition:
        return cls(
            oid=d["oid"],
            schema=d["schema"],
            name=d["name"],
            replica_identity=d["replica_identity"],
            columns=tuple(ColumnDefinition(*c) for c in d["columns"]),
        )


@dataclass(frozen=True)
class SegmentFooter:
    """What a segment's own metadata adds to its key."""

    chain_id: str
    #: relation key (see `querylog.segment`) -> definition
    relations: dict[str, RelationDefinition]
    transactions: int
    changes: int
    #: read after the segment's last change
    state: DatabaseState
    barriers: tuple[Barrier, ...] = ()


@dataclass(frozen=True)
class ChainStart:
    """The object that begins a chain."""

    source: Source
    chain_id: str
    system_identifier: str
    timeline: int
    database_oid: int
    slot: str
    #: the slot's first consistent point: every later commit is in the chain
    start: Lsn
    #: read after the slot was made: a full backup that does not see one of the transactions in
    #: progress here cannot be anchored in this chain (docs/FORMAT.md, "Anchoring")
    snapshot: Snapshot
    started_at: datetime
    reason: str
    state: DatabaseState

    def to_bytes(self) -> bytes:
        return seal({
            "format": CHAIN_FORMAT,
            "category": self.source.category.value,
            "server": self.source.server,
            "database": self.source.name,
            "chain_id": self.chain_id,
            "system_identifier": self.system_identifier,
            "timeline": self.timeline,
            "database_oid": self.database_oid,
            "slot": self.slot,
            "start": str(self.start),
            "snapshot": str(self.snapshot),
            "started_at": iso(self.started_at),
            "reason": self.reason,
            "state": self.state.to_json(),
        })

    @classmethod
    def from_bytes(cls, data: bytes) -> ChainStart:
        """:raises ValueError: damaged, or of an unknown format."""
        d = unseal(data)
        if d.get("format") != CHAIN_FORMAT:
            raise ValueError(f"expected format {CHAIN_FORMAT}, found {d.get('format')!r}")
        return cls(
            source=Source(Category(d["category"]), d["server"], d["database"]),
            chain_id=d["chain_id"],
            system_identifier=d["system_identifier"],
            timeline=d["timeline"],
            database_oid=d["database_oid"],
            slot=d["slot"],
            start=Lsn.parse(d["start"]),
            snapshot=Snapshot.parse(d["snapshot"]),
            started_at=parse_iso(d["started_at"]),
            reason=d["reason"],
            state=DatabaseState.from_json(d["state"]),
        )


@dataclass(frozen=True)
class SchemaAudit:
    """The schema as it was seen beside the log: every later change of it must be in the log."""

    #: of the catalogs' rows; comparable within one database only
    fingerprint: str
    #: every change that committed before is in it
    lsn: Lsn
    at: datetime

    def to_json(self) -> list[str]:
        return [self.fingerprint, str(self.lsn), iso(self.at)]

    @classmethod
    def from_json(cls, item: list[str]) -> SchemaAudit:
        fingerprint, lsn, at = item
        return cls(fingerprint, Lsn.parse(lsn), parse_iso(at))


@dataclass(frozen=True)
class Covered:
    """Everything that committed before `lsn`, hence up to the time `until`, is in the chain."""

    chain_id: str
    lsn: Lsn
    until: datetime
    #: end of the chain's last segment then: coverage holds only together with all segments up to it
    head: Lsn
    #: None: the log holds a schema change since the last one
    audit: SchemaAudit | None = None

    def to_json(self) -> list[Any]:
        item: list[Any] = [self.chain_id, str(self.lsn), iso(self.until), str(self.head)]
        return item if self.audit is None else [*item, self.audit.to_json()]

    @classmethod
    def from_json(cls, item: list[Any]) -> Covered:
        chain_id, lsn, until, head, *audit = item
        return cls(
            chain_id,
            Lsn.parse(lsn),
            parse_iso(until),
            Lsn.parse(head),
            SchemaAudit.from_json(audit[0]) if audit else None,
        )


@dataclass(frozen=True)
class ChainEnd:
    """The object that closes a chain, with the reason."""

    chain_id: str
    closed_at: datetime
    reason: str
    #: how far the chain was known to reach
    covered: Covered | None = None

    def to_bytes(self) -> bytes:
        return seal({
            "format": CLOSED_FORMAT,
            "chain_id": self.chain_id,
            "closed_at": iso(self.closed_at),
            "reason": self.reason,
            "covered": self.covered.to_json() if self.covered else None,
        })

    @classmethod
    def from_bytes(cls, data: bytes) -> ChainEnd:
        """:raises ValueError: damaged, or of an unknown format."""
        d = unseal(data)
        if d.get("format") != CLOSED_FORMAT:
            raise ValueError(f"expected format {CLOSED_FORMAT}, found {d.get('format')!r}")
        covered = Covered.from_json(d["covered"]) if d["covered"] else None
        return cls(d["chain_id"], parse_iso(d["closed_at"]), d["reason"], covered)


@dataclass(frozen=True)
class ChainTrim:
    """The object that says from where on a chain is kept; written before its older part goes."""

    chain_id: str
    #: nothing before it counts any more
    start: Lsn
    #: sees all that committed before `start`; so does every full backup that includes it
    snapshot: Snapshot

    def to_bytes(self) -> bytes:
        return seal({
            "format": TRIMMED_FORMAT,
            "chain_id": self.chain_id,
            "start": str(self.start),
            "snapshot": str(self.snapshot),
        })

    @classmethod
    def from_bytes(cls, data: bytes) -> ChainTrim:
        """:raises ValueError: damaged, or of an unknown format."""
        d = unseal(data)
        if d.get("format") != TRIMMED_FORMAT:
            raise ValueError(f"expected format {TRIMMED_FORMAT}, found {d.get('format')!r}")
        return cls(d["chain_id"], Lsn.parse(d["start"]), Snapshot.parse(d["snapshot"]))


@dataclass(frozen=True)
class Coverage:
    """How far the logs of one server's databases reach, though nothing changed; one a tick."""

    server: str
    recorded_at: datetime
    #: database -> how far
    databases: dict[str, Covered]

    def to_bytes(self) -> bytes:
        return seal({
            "format": COVERAGE_FORMAT,
            "server": self.server,
            "recorded_at": iso(self.recorded_at),
            "databases": {name: covered.to_json() for name, covered in self.databases.items()},
        })

    @classmethod
    def from_bytes(cls, data: bytes) -> Coverage:
        """:raises ValueError: damaged, or of an unknown format."""
        d = unseal(data)
        if d.get("format") != COVERAGE_FORMAT:
            raise ValueError(f"expected format {COVERAGE_FORMAT}, found {d.get('format')!r}")
        return cls(
            server=d["server"],
            recorded_at=parse_iso(d["recorded_at"]),
            databases={name: Covered.from_json(item) for name, item in d["databases"].items()},
        )
