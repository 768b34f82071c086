"""Read from the vaults what exists of a database: listings first, then the small objects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from include.respaldo.errors import VaultError
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source
from include.respaldo.model.catalog import Chain, DatabaseCatalog
from include.respaldo.model.moments import moment_key
from include.respaldo.model.segment import (
    Barrier,
    ChainEnd,
    ChainStart,
    ChainTrim,
    Coverage,
    Covered,
    Segment,
)
from include.respaldo.ports import StoredObject
from include.respaldo.querylog.segment import read_footer
from include.respaldo.vault.mirror import MirroredVault

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)

DATABASES = (Category.TENANT_DATABASES, Category.SYSTEM_DATABASE)


def read_catalog(
    deployment: Deployment, source: Source, coverage: dict[str, Covered] | None = None
) -> DatabaseCatalog:
    """Return the full backups and chains of a database, from whichever region has them.

    :param coverage: what `newest_coverage` of its server returned; None: it is read.
    :raises VaultUnreachable: neither region answers.
    """
    vaults, notes = deployment.vaults, []
    backups: list[Manifest] = []
    for stored in vaults.list_either(keys.backups_prefix(source)):
        parsed = keys.parse_backup_key(stored.key)
        if parsed is None or parsed[2] != keys.MANIFEST:
            continue
        try:
            backups.append(vaults.read_verified(stored.key, Manifest.from_bytes))
        except VaultError as error:
            notes.append(f"the full backup {parsed[1]} cannot be used: {error.message}")
    if coverage is None:
        coverage = newest_coverage(deployment, source.server)
    chains, unusable = read_chains(deployment, source, coverage, with_barriers=True)
    return DatabaseCatalog(
        source,
        tuple(sorted(backups, key=lambda b: b.backup_id)),
        chains,
        tuple(notes) + unusable,
    )


def read_chains(
    deployment: Deployment,
    source: Source,
    coverage: dict[str, Covered],
    *,
    with_barriers: bool,
) -> tuple[tuple[Chain, ...], tuple[str, ...]]:
    """Return a database's chains, oldest first, and what could not be read, in words.

    :param coverage: what `newest_coverage` of its server returned.
    :param with_barriers: also what only the replica has, and the footers of the segments that hold
        barriers: all that a restore needs. Else the primary's listing alone: a replica that lags
        proves no continuity.
    """
    chains: list[Chain] = []
    notes: list[str] = []
    vaults = deployment.vaults
    list_chains = vaults.list_either if with_barriers else vaults.primary.list
    for chain_id, listed in _by_chain(source, list_chains).items():
        try:
            chain = _read_chain(deployment, source, chain_id, listed, coverage)
            if with_barriers:
                kept = tuple(s for s in chain.segments if s.end > chain.start)
                found = tuple(read_barriers(deployment, source, chain_id, kept))
                chain = replace(chain, barriers=found)
            chains.append(chain)
        except VaultError as error:
            notes.append(f"the query log begun {chain_id} cannot be used: {error.message}")
    return tuple(sorted(chains, key=lambda c: c.begin.started_at)), tuple(notes)


def archived_sources(
    vaults: MirroredVault, categories: Iterable[Category] = DATABASES
) -> tuple[Source, ...]:
    """Return every source that has a sealed backup, also of databases that are gone."""
    found: set[Source] = set()
    for category in categories:
        for stored in vaults.list(keys.category_prefix(category)):
            parsed = keys.parse_backup_key(stored.key)
            if parsed is not None and parsed[2] == keys.MANIFEST:
                found.add(parsed[0])
    return tuple(sorted(found))


def newest_coverage(
    deployment: Deployment, server: str, *, of_primary: bool = False
) -> dict[str, Covered]:
    """Return, for each database, how far the newest readable coverage record says its log reaches.

    Looks at the last two days of records, then at all.

    :param of_primary: never take the replica's listing, which may lag.
    :raises VaultUnreachable: the region does not answer (neither, unless `of_primary`).
    """
    vaults = deployment.vaults
    list_records = vaults.primary.list if of_primary else vaults.list
    recent = moment_key(deployment.clock.now() - timedelta(days=2))
    prefix = keys.coverage_prefix(server)
    listed = [o.key for o in list_records(prefix, after=keys.coverage_key(server, recent))]
    listed = listed or [o.key for o in list_records(prefix)]
    for key in reversed(listed):
        try:
            return dict(vaults.read_verified(key, Coverage.from_bytes).databases)
        except VaultError as error:
            log.warning("coverage record %s cannot be used: %s", key, error.message)
    return {}


def _by_chain(
    source: Source, list_objects: Callable[[str], Iterator[StoredObject]]
) -> dict[str, list[tuple[str, int]]]:
    prefix = keys.query_log_prefix(source)
    chains: dict[str, list[tuple[str, int]]] = {}
    for stored in list_objects(prefix):
        chain_id, _, rest = stored.key[len(prefix) :].partition("/")
        chains.setdefault(chain_id, []).append((rest, stored.size))
    return chains


def _read_chain(
    deployment: Deployment,
    source: Source,
    chain_id: str,
    listed: list[tuple[str, int]],
    coverage: dict[str, Covered],
) -> Chain:
    vaults = deployment.vaults
    begin = vaults.read_verified(keys.chain_key(source, chain_id), ChainStart.from_bytes)
    end: ChainEnd | None = None
    if any(name == "closed.json" for name, _ in listed):
        end = vaults.read_verified(keys.closed_key(source, chain_id), ChainEnd.from_bytes)
    trim: ChainTrim | None = None
    trimmed = [at for name, _ in listed if (at := keys.parse_trimmed_key(name)) is not None]
    if trimmed:
        key = keys.trimmed_key(source, chain_id, max(trimmed))
        trim = vaults.read_verified(key, ChainTrim.from_bytes)
    segments = tuple(
        segment
        for name, size in listed
        if (segment := keys.parse_segment_key(name, size)) is not None
    )
    covered = coverage.get(source.name)
    if covered is None or covered.chain_id != chain_id:
        covered = end.covered if end is not None else None
    return Chain(begin, segments, end, covered, trim=trim)


def read_barriers(
    deployment: Deployment, source: Source, chain_id: str, segments: tuple[Segment, ...]
) -> Iterable[Barrier]:
    """Yield the barriers that the footers of these segments list."""
    flagged = [s for s in segments if s.has_barriers]
    if not flagged:
        return
    with TemporaryDirectory(dir=deployment.scratch("footers")) as folder:
        for segment in flagged:
            path = Path(folder) / "segment.parquet"
            fetch_segment(deployment.vaults, source, chain_id, segment, path)
            yield from read_footer(path).barriers


def fetch_segment(
    vaults: MirroredVault, source: Source, chain_id: str, segment: Segment, to: Path
) -> None:
    """Download a segment and check it against the digest in its key; the replica's if need be.

    :raises CorruptObject: damaged in both regions.
    """
    vaults.download(keys.segment_key(source, chain_id, segment), to, sha256=segment.sha256)
