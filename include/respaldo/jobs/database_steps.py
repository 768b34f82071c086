"""What each of the four steps does for one database, or for the roles of a server."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from include.respaldo import __version__, failpoints
from include.respaldo.errors import RespaldoError
from include.respaldo.jobs.landed_backup import (
    DRAFT,
    VERIFIED,
    copy_sealed,
    is_sealed,
    landing_folder,
    put_unsealed,
    read_manifest,
    read_sealed,
    seal,
    write_manifest,
)
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source
from include.respaldo.postgres.dump import dump_database, dump_globals, verify_dump

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

DUMP, GLOBALS = "dump.pgc.zst", "globals.sql.zst"


def dump(deployment: Deployment, source: Source, run_id: str) -> int | None:
    """Dump it into the landing zone; return the bytes written, None where that was done before."""
    folder = landing_folder(deployment, source, run_id)
    if read_manifest(folder / DRAFT) or is_sealed(deployment.vaults.primary, source, run_id):
        return None
    started_at = deployment.clock.now()
    connection = deployment.connection_of(source.server)
    if source.category is Category.SERVER_GLOBALS:
        made = dump_globals(connection, folder / GLOBALS)
    else:
        made = dump_database(connection, source.name, folder / DUMP)
    failpoints.reach(failpoints.DUMP_LANDED)
    draft = Manifest(
        source=source,
        backup_id=run_id,
        started_at=started_at,
        files=(made.file,),
        server_version=made.server_version,
        tools={**made.tools, "respaldo": __version__},
        durations={"dump": made.duration},
        anchor=made.anchor,
        database=made.properties,
    )
    write_manifest(folder / DRAFT, draft)
    return made.file.size


def checksum(deployment: Deployment, source: Source, run_id: str) -> int | None:
    """Read the landed dump back: its digest, and that it can be understood.

    A dump that is damaged is removed, so that dumping again makes it anew.
    """
    folder = landing_folder(deployment, source, run_id)
    draft = read_manifest(folder / DRAFT)
    if draft is None or read_manifest(folder / VERIFIED):
        return None
    begun = time.monotonic()
    try:
        for file in draft.files:
            verify_dump(folder / file.name, file)
    except RespaldoError:
        deployment.landing_zone.remove_tree(folder)
        raise
    durations = {**draft.durations, "checksum": round(time.monotonic() - begun, 3)}
    write_manifest(folder / VERIFIED, replace(draft, durations=durations))
    return draft.stored_size


def upload(deployment: Deployment, source: Source, run_id: str) -> int | None:
    """Store the verified dump in the primary vault, its manifest last: that seals it."""
    vault = deployment.vaults.primary
    folder = landing_folder(deployment, source, run_id)
    manifest = read_manifest(folder / VERIFIED)
    if manifest is None or is_sealed(vault, source, run_id):
        return None
    begun = time.monotonic()
    prefix = keys.backup_prefix(source, run_id)
    for file in manifest.files:
        put_unsealed(vault, prefix + file.name, folder / file.name, file.sha256)
    failpoints.reach(failpoints.DUMP_UPLOADED)
    durations = {**manifest.durations, "upload": round(time.monotonic() - begun, 3)}
    seal(vault, replace(manifest, durations=durations))
    return manifest.stored_size


def copy(deployment: Deployment, source: Source, run_id: str) -> int:
    """Copy the sealed backup to the replica vault, its manifest last."""
    primary, replica = deployment.vaults.primary, deployment.vaults.replica
    return copy_sealed(primary, replica, *read_sealed(primary, source, run_id))
