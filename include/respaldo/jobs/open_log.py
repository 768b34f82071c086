"""Open a database's query log: go on with its chain, or begin a new one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from include.respaldo import failpoints
from include.respaldo.errors import NotPrepared, VaultError
from include.respaldo.jobs.read_catalog import fetch_segment, read_chains
from include.respaldo.model import keys
from include.respaldo.model.backup import Source
from include.respaldo.model.catalog import Chain
from include.respaldo.model.continuity import BeginAnew, GoOn, SlotFacts, continuity
from include.respaldo.model.moments import moment_key
from include.respaldo.model.segment import ChainEnd, ChainStart, Covered, DatabaseState
from include.respaldo.postgres.capture import prepare, read_secret
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.introspect import read_identity, read_state
from include.respaldo.postgres.preparation import Preparation, examine
from include.respaldo.postgres.slot import drop_slot, list_slots, slot_name
from include.respaldo.querylog.segment import read_footer

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.jobs.replica_lag import ReplicaLag
    from include.respaldo.model.lsn import Lsn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedLog:
    """A chain that can be added to."""

    chain: Chain
    #: where the stream starts: all before it is in the vault
    position: Lsn
    #: what was read beside the stream after the last segment
    state: DatabaseState
    #: set when the chain is new: the reason
    begun_because: str | None
    #: what the capture's messages are sealed with
    secret: str


def open_log(
    deployment: Deployment, source: Source, coverage: dict[str, Covered], lag: ReplicaLag
) -> OpenedLog:
    """Return the chain to add to, preparing the database and beginning a chain where needed.

    Idempotent; a crash at any step is made good by calling it again.

    :raises NotPrepared: the server does not allow it (its settings, rights); the hint says what to
        change.
    :raises VaultUnreachable: the primary vault does not answer; the replica may lag behind it.
    """
    connection = deployment.connection_of(source.server)
    chains, _ = read_chains(deployment, source, coverage, with_barriers=False)
    lag.compare(keys.query_log_prefix(source), _written(source, chains))
    chain = chains[-1] if chains else None
    with connect(connection, source.name) as conn:
        identity = read_identity(conn)
        name = slot_name(identity.database_oid)
        slot = list_slots(conn).get(name)
        facts = SlotFacts(
            identity.system_identifier,
            identity.timeline,
            identity.database_oid,
            slot.confirmed_flush_lsn if slot else None,
            slot is not None and slot.wal_status != "lost",
        )
        decision = continuity(chain, facts)
        settings = deployment.config.query_log
        lock_timeout = settings.lock_timeout.total_seconds()
        slot_timeout = settings.slot_timeout.total_seconds()
        if isinstance(decision, GoOn) and chain is not None:
            found = examine(conn)
            adopted = _adopt(deployment, source, chain, found)
            if isinstance(adopted, DatabaseState):
                is_kept = found.is_complete or (
                    prepare(
                        conn, lock_timeout=lock_timeout, slot_timeout=slot_timeout
                    ).consistent_point
                    is None
                )
                if is_kept:
                    return OpenedLog(chain, decision.position, adopted, None, read_secret(conn))
                adopted = BeginAnew("the replication slot had to be made anew")
                slot = list_slots(conn).get(name)
            decision = adopted
        assert isinstance(decision, BeginAnew)
        if chain is not None and chain.end is None:
            _close(deployment, source, lag, chain, decision.reason)
        if slot is not None:
            drop_slot(conn, name, terminate=True)
        prepared = prepare(
            conn,
            lock_timeout=lock_timeout,
            slot_timeout=slot_timeout,
            progress=deployment.progress,
        )
        failpoints.reach(failpoints.SLOT_CREATED)
        if prepared.consistent_point is None:
            raise NotPrepared(
                f"the slot {name} appeared while it was to be made anew",
                hint="another archiver runs: let only one archive this server",
            )
        started_at = deployment.clock.now()
        begin = ChainStart(
            source=source,
            chain_id=moment_key(started_at),
            system_identifier=identity.system_identifier,
            timeline=identity.timeline,
            database_oid=identity.database_oid,
            slot=name,
            start=prepared.consistent_point,
            snapshot=prepared.snapshot,
            started_at=started_at,
            reason=decision.reason,
            state=read_state(conn),
        )
        secret = read_secret(conn)
    put_in_both(deployment, lag, keys.chain_key(source, begin.chain_id), begin.to_bytes())
    failpoints.reach(failpoints.CHAIN_BEGUN)
    log.info("%s: a new chain begins (%s)", source, decision.reason)
    return OpenedLog(Chain(begin), begin.start, begin.state, decision.reason, secret)


def _adopt(
    deployment: Deployment, source: Source, chain: Chain, found: Preparation
) -> DatabaseState | BeginAnew:
    """Verify what the chain goes on from: its last segment, and that capture was never removed.

    Return what was read beside the stream after that segment.

    A segment that an earlier drain stored but never confirmed is adopted here: the stream starts at
    its end.
    """
    if found.broken is not None:
        return BeginAnew(found.broken)
    state = chain.begin.state
    if chain.path:
        with TemporaryDirectory(dir=deployment.scratch("footers")) as folder:
            path = Path(folder) / "segment.parquet"
            try:
                fetch_segment(deployment.vaults, source, chain.begin.chain_id, chain.path[-1], path)
                state = read_footer(path).state
            except (VaultError, ValueError) as error:
                return BeginAnew(f"its last segment cannot be read: {error}")
    return state


def _close(
    deployment: Deployment, source: Source, lag: ReplicaLag, chain: Chain, reason: str
) -> None:
    end = ChainEnd(chain.begin.chain_id, deployment.clock.now(), reason, chain.covered)
    key = keys.closed_key(source, chain.begin.chain_id)
    put_in_both(deployment, lag, key, end.to_bytes())
    log.warning("%s: the chain %s is closed: %s", source, chain.begin.chain_id, reason)


def _written(source: Source, chains: tuple[Chain, ...]) -> Iterator[str]:
    """Yield the keys of all objects of these chains, each chain's beginning first."""
    for chain in chains:
        chain_id = chain.begin.chain_id
        yield keys.chain_key(source, chain_id)
        if chain.trim is not None:
            yield keys.trimmed_key(source, chain_id, chain.trim.start)
        for segment in chain.segments:
            yield keys.segment_key(source, chain_id, segment)
        if chain.end is not None:
            yield keys.closed_key(source, chain_id)


def put_in_both(deployment: Deployment, lag: ReplicaLag, key: str, data: bytes) -> None:
    """Store a small object in the primary, then in the replica, or later if that does not take it.

    :raises VaultUnreachable: the primary does not answer.
    """
    digest = sha256(data).hexdigest()
    deployment.vaults.primary.put(key, data, sha256=digest)
    lag.put(key, data, sha256=digest)
