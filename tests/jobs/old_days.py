"""What the vaults would hold of a database after some days of backups and archiving."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import yaml

from include.respaldo.config import load_config
from include.respaldo.connections import Connection
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.model import keys
from include.respaldo.model.backup import Anchor, Category, Manifest, Source, StoredFile, backup_id
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import moment_key
from include.respaldo.model.segment import (
    ChainEnd,
    ChainStart,
    Coverage,
    Covered,
    DatabaseState,
    Segment,
)
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.vault.memory import MemoryVault
from include.respaldo.vault.mirror import MirroredVault

DAY = timedelta(days=1)
DUMP = b"a dump"
SERVER = "pg1"


@dataclass(frozen=True)
class OldDays:
    """A backup at each midnight and a segment for each half day, in a new chain at `broken`."""

    source: Source
    #: the last backup's
    last: datetime
    days: int

    def midnight(self, days_ago: int) -> datetime:
        return self.last - days_ago * DAY

    def backup_id(self, days_ago: int) -> str:
        return backup_id(self.midnight(days_ago))

    def position(self, at: datetime) -> Lsn:
        return Lsn(round((at - self.midnight(self.days)).total_seconds()) + 1000)

    def snapshot(self, at: datetime) -> Snapshot:
        xid = int(self.position(at))
        return Snapshot(xid, xid)


def in_memory(folder: Path) -> Deployment:
    """Return a deployment whose vaults are in memory, and whose server nobody asks."""
    path = folder / "respaldo.yaml"
    path.write_text(
        yaml.safe_dump({
            "vaults": {
                region: {"uri": f"s3://{region}/vault", "connection": region}
                for region in ("primary", "replica")
            },
            "landing_zone": (folder / "landing").as_uri(),
            "scratch": str(folder / "scratch"),
            "servers": [{"name": SERVER, "connection": "server", "tenants": {"pattern": "*"}}],
        })
    )
    deployment = Deployment(load_config(path), lambda conn_id: Connection(conn_id, "none"))
    deployment.vaults = MirroredVault(
        MemoryVault("primary", region="primary"), MemoryVault("replica", region="replica")
    )
    return deployment


def plant(
    vaults: MirroredVault,
    server: str,
    *tenants: str,
    days: int = 20,
    broken: int | None = None,
) -> OldDays:
    """Store what so many days leave of each tenant, in both regions; return those of the first.

    :param broken: the logs were interrupted so many days ago.
    """
    last = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
    reached: dict[str, Covered] = {}
    for tenant in tenants:
        made = OldDays(_source(server, tenant), last, days)
        if broken is not None:
            _chain(vaults, made, days, broken)
        reached[tenant] = _chain(vaults, made, days if broken is None else broken, None)
        for days_ago in range(days, -1, -1):
            _backup(vaults, made, days_ago)
    for days_ago in (30, 9, 3, 1, 0):
        recorded = last - days_ago * DAY
        record = Coverage(server, recorded, reached)
        put(vaults, keys.coverage_key(server, moment_key(recorded)), record.to_bytes())
    return OldDays(_source(server, tenants[0]), last, days)


def _source(server: str, tenant: str) -> Source:
    return Source(Category.TENANT_DATABASES, server, tenant)


def put(vaults: MirroredVault, key: str, data: bytes) -> None:
    """Store in both regions."""
    for vault in (vaults.primary, vaults.replica):
        vault.put(key, data, sha256=sha256(data).hexdigest())


def _backup(vaults: MirroredVault, made: OldDays, days_ago: int) -> None:
    at = made.midnight(days_ago)
    # snapshots are taken a minute after the run begins
    taken = at + timedelta(minutes=1)
    manifest = Manifest(
        source=made.source,
        backup_id=made.backup_id(days_ago),
        started_at=at,
        files=(StoredFile("dump.pgc.zst", len(DUMP), sha256(DUMP).hexdigest(), 99),),
        server_version="15.1",
        tools={},
        anchor=Anchor("42", 1, 5, made.position(taken), made.snapshot(taken), taken),
    )
    prefix = keys.backup_prefix(made.source, manifest.backup_id)
    put(vaults, prefix + "dump.pgc.zst", DUMP)
    put(vaults, prefix + keys.MANIFEST, manifest.to_bytes())


def _chain(vaults: MirroredVault, made: OldDays, begin: int, ends: int | None) -> Covered:
    """Begin a chain so many days ago, and end it, or go on until the last day."""
    at = made.midnight(begin)
    chain_id = moment_key(at)
    start = ChainStart(
        made.source,
        chain_id,
        "42",
        1,
        5,
        "respaldo_5",
        made.position(at),
        made.snapshot(at),
        at,
        "first time",
        DatabaseState(at),
    )
    put(vaults, keys.chain_key(made.source, chain_id), start.to_bytes())
    until = made.midnight(ends) - DAY / 4 if ends is not None else made.last + DAY / 100
    position = start.start
    while at < until:
        following = min(at + DAY / 2, until)
        data = f"segment of {made.source} from {at}".encode()
        segment = Segment(
            position,
            made.position(following),
            at,
            following - DAY / 200,
            int(made.position(following)) - 1,
            False,
            sha256(data).hexdigest(),
        )
        put(vaults, keys.segment_key(made.source, chain_id, segment), data)
        at, position = following, segment.end
    covered = Covered(chain_id, position, until, position)
    if ends is not None:
        end = ChainEnd(chain_id, made.midnight(ends), "the slot was lost", covered)
        put(vaults, keys.closed_key(made.source, chain_id), end.to_bytes())
    return covered
