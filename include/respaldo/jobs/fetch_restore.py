"""Bring what a restore needs from the vaults to this machine, verified."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo.jobs.plan_restore import PlannedRoute, RestorePlan
from include.respaldo.jobs.read_catalog import fetch_segment
from include.respaldo.model import keys
from include.respaldo.model.backup import Manifest
from include.respaldo.model.segment import Segment, Sequence
from include.respaldo.model.units import size_text
from include.respaldo.querylog.segment import read_footer

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: fetches from a vault at the same time
_FETCHERS = 4


def read_manifest(deployment: Deployment, planned: RestorePlan, route: PlannedRoute) -> Manifest:
    key = keys.manifest_key(planned.request.source, route.backup_id)
    return deployment.vaults.read_verified(key, Manifest.from_bytes)


def fetch_backup(
    deployment: Deployment, planned: RestorePlan, route: PlannedRoute, scratch: Path
) -> Manifest:
    manifest = read_manifest(deployment, planned, route)
    deployment.progress.step(
        f"fetching the full backup {route.backup_id} ({size_text(manifest.stored_size)})"
    )
    prefix = keys.backup_prefix(planned.request.source, route.backup_id)
    for file in manifest.files:
        deployment.vaults.download(prefix + file.name, scratch / file.name, sha256=file.sha256)
    return manifest


def fetch_segments(
    deployment: Deployment, planned: RestorePlan, route: PlannedRoute, scratch: Path
) -> list[Path]:
    """Download and verify the segments, a few at a time, in log order."""
    source, chain_id = planned.request.source, route.chain_id or ""
    paths = [
        scratch / f"{segment.start.key}-{segment.end.key}.parquet" for segment in route.segments
    ]

    def fetch(pair: tuple[Segment, Path]) -> None:
        fetch_segment(deployment.vaults, source, chain_id, *pair)

    with ThreadPoolExecutor(_FETCHERS) as pool:
        pairs = zip(route.segments, paths, strict=True)
        for number, _ in enumerate(pool.map(fetch, pairs), 1):
            deployment.progress.advance(number, len(paths), "segments")
    return paths


def fetch_sequences(
    deployment: Deployment, planned: RestorePlan, route: PlannedRoute, scratch: Path
) -> tuple[tuple[Sequence, ...], tuple[Sequence, ...]]:
    """Return the states of sequences first recorded at or past the target, and those before it.

    None are recorded before it where the log begins there.
    """
    at_target = route.sequences_from
    if at_target is None:
        return (), ()
    before = [segment for segment in route.segments if segment.end <= at_target.start]

    def read(segment: Segment) -> tuple[Sequence, ...]:
        path = scratch / "sequences.parquet"
        source, chain_id = planned.request.source, route.chain_id or ""
        fetch_segment(deployment.vaults, source, chain_id, segment, path)
        return read_footer(path).state.sequences

    return read(at_target), read(before[-1]) if before else ()
