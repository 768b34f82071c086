"""The four steps of a full backup: dump, checksum, upload, copy, each for a batch of databases.

A step does for every source of its batch what the step before it has left in the landing zone, and
ends by naming those that failed: one broken tenant stops nobody else, and a retry does only what
is missing. What passes between steps lies in the landing zone, below
``<category>/<backup id>/<server>/<source>/``:

    <dump file>      what the dump step wrote
    draft.json       the manifest to be, once the dump has landed
    verified.json    the same, once the landed bytes were read back and understood
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo import __version__, failpoints
from include.respaldo.errors import (
    CorruptObject,
    KeyTaken,
    RespaldoError,
    SomeFailed,
    VaultError,
)
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source
from include.respaldo.model.batches import Batch
from include.respaldo.model.units import duration_text, size_text
from include.respaldo.ports import Vault
from include.respaldo.postgres.dump import dump_database, dump_globals, verify_dump

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)

DRAFT, VERIFIED = "draft.json", "verified.json"
DUMP, GLOBALS = "dump.pgc.zst", "globals.sql.zst"


@dataclass(frozen=True)
class StepReport:
    """What one step did for a batch."""

    step: str
    done: tuple[str, ...] = ()
    #: already done by an earlier attempt
    skipped: tuple[str, ...] = ()
    #: bytes written by the step
    size: int = 0
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """One line for people."""
        skipped = f", {len(self.skipped)} already done" if self.skipped else ""
        return (
            f"{self.step}: {len(self.done)} done{skipped}, "
            f"{size_text(self.size)} in {duration_text(self.seconds)}"
        )


def dump(deployment: Deployment, batch: Batch) -> StepReport:
    """Dump each database of the batch into the landing zone.

    :raises SomeFailed: names those that failed; the others have landed.
    """

    def dump_one(source: Source) -> int | None:
        folder = landing_folder(deployment, source, batch.backup_id)
        if _read(folder / DRAFT) or is_sealed(deployment.vaults.primary, source, batch):
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
            backup_id=batch.backup_id,
            started_at=started_at,
            files=(made.file,),
            server_version=made.server_version,
            tools={**made.tools, "respaldo": __version__},
            durations={"dump": made.duration},
            anchor=made.anchor,
            database=made.properties,
        )
        _write(folder / DRAFT, draft)
        return made.file.size

    return _each(deployment, "dump", batch, dump_one)


def checksum(deployment: Deployment, batch: Batch) -> StepReport:
    """Read each landed dump back: its digest, and that it can be understood.

    A dump that is damaged is removed, so that dumping again makes it anew.

    :raises SomeFailed: names those that are damaged.
    """

    def check_one(source: Source) -> int | None:
        folder = landing_folder(deployment, source, batch.backup_id)
        draft = _read(folder / DRAFT)
        if draft is None or _read(folder / VERIFIED):
            return None
        begun = time.monotonic()
        try:
            for file in draft.files:
                verify_dump(folder / file.name, file)
        except RespaldoError:
            deployment.landing_zone.remove_tree(folder)
            raise
        durations = {**draft.durations, "checksum": round(time.monotonic() - begun, 3)}
        _write(folder / VERIFIED, replace(draft, durations=durations))
        return draft.stored_size

    return _each(deployment, "checksum", batch, check_one)


def upload(deployment: Deployment, batch: Batch) -> StepReport:
    """Store each verified dump in the primary vault, its manifest last: that seals it.

    :raises SomeFailed: names those that could not be stored.
    """
    vault = deployment.vaults.primary

    def upload_one(source: Source) -> int | None:
        folder = landing_folder(deployment, source, batch.backup_id)
        manifest = _read(folder / VERIFIED)
        if manifest is None or is_sealed(vault, source, batch):
            return None
        begun = time.monotonic()
        prefix = keys.backup_prefix(source, batch.backup_id)
        for file in manifest.files:
            _put(vault, prefix + file.name, folder / file.name, file.sha256)
        failpoints.reach(failpoints.DUMP_UPLOADED)
        durations = {**manifest.durations, "upload": round(time.monotonic() - begun, 3)}
        data = replace(manifest, durations=durations).to_bytes()
        vault.put(prefix + keys.MANIFEST, data, sha256=sha256(data).hexdigest())
        failpoints.reach(failpoints.BACKUP_SEALED_IN_PRIMARY)
        return manifest.stored_size

    return _each(deployment, "upload", batch, upload_one)


def copy(deployment: Deployment, batch: Batch) -> StepReport:
    """Copy each sealed backup to the replica vault, its manifest last; then clear its landing.

    Takes along what an earlier outage of the replica has left behind of the same sources.

    :raises SomeFailed: names those that could not be copied; they stay sealed in the primary.
    """
    primary, replica = deployment.vaults.primary, deployment.vaults.replica

    def copy_one(source: Source) -> int | None:
        if not is_sealed(primary, source, batch):
            return None
        size: int | None = None
        if not is_sealed(replica, source, batch):
            size = _copy(primary, replica, source, batch.backup_id)
        deployment.landing_zone.remove_tree(landing_folder(deployment, source, batch.backup_id))
        for run_id in sorted(_sealed_runs(primary, source) - _sealed_runs(replica, source)):
            try:
                size = (size or 0) + _copy(primary, replica, source, run_id)
            except VaultError as error:
                log.warning("%s: backup %s is not copied: %s", source, run_id, error.message)
        return size

    return _each(deployment, "copy", batch, copy_one)


STEPS: tuple[Callable[[Deployment, Batch], StepReport], ...] = (dump, checksum, upload, copy)


def landing_folder(deployment: Deployment, source: Source, run_id: str) -> Path:
    """Return where a source's dump lands, made if missing."""
    folder = deployment.landing_zone.path(
        source.category.value,
        run_id,
        keys.encode_name(source.server),
        keys.encode_name(source.name),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _each(
    deployment: Deployment, step: str, batch: Batch, act: Callable[[Source], int | None]
) -> StepReport:
    begun = time.monotonic()
    done: list[str] = []
    skipped: list[str] = []
    failures: dict[str, BaseException] = {}
    size = 0
    for number, source in enumerate(batch.sources, 1):
        try:
            written = act(source)
        except Exception as error:
            # whatever it is, it is this source's alone: the others go on
            known = isinstance(error, RespaldoError | OSError)
            level = logging.WARNING if known else logging.ERROR
            log.log(level, "%s of %s failed: %s", step, source, error, exc_info=not known)
            failures[str(source)] = error
            continue
        if written is None:
            skipped.append(str(source))
        else:
            done.append(str(source))
            size += written
        deployment.progress.advance(number, len(batch.sources), "sources")
    if failures:
        raise SomeFailed(step, failures)
    return StepReport(step, tuple(done), tuple(skipped), size, time.monotonic() - begun)


def is_sealed(vault: Vault, source: Source, batch: Batch) -> bool:
    return vault.find(keys.manifest_key(source, batch.backup_id)) is not None


def _sealed_runs(vault: Vault, source: Source) -> set[str]:
    """Return the ids of the source's sealed backups."""
    listed = (keys.parse_backup_key(o.key) for o in vault.list(keys.backups_prefix(source)))
    return {run_id for _, run_id, name in filter(None, listed) if name == keys.MANIFEST}


def _copy(primary: Vault, replica: Vault, source: Source, run_id: str) -> int:
    """Copy one sealed backup, its manifest last; return its size in bytes."""
    prefix, manifest_key = keys.backup_prefix(source, run_id), keys.manifest_key(source, run_id)
    data = primary.read(manifest_key)
    try:
        manifest = Manifest.from_bytes(data)
    except ValueError as e:
        raise CorruptObject(
            f"the manifest in the primary vault is damaged: {e}", hint="take another full backup"
        ) from e
    for file in manifest.files:
        replica.copy_from(primary, prefix + file.name, sha256=file.sha256)
    replica.put(manifest_key, data, sha256=sha256(data).hexdigest())
    return manifest.stored_size


def _put(vault: Vault, key: str, path: Path, digest: str) -> None:
    """Store a dump in the place of one whose landing was lost before it could be sealed.

    The caller has seen that no manifest seals the key.
    """
    try:
        vault.put(key, path, sha256=digest)
    except KeyTaken:
        vault.delete(key)
        vault.put(key, path, sha256=digest)


def _write(path: Path, manifest: Manifest) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(manifest.to_bytes())
    partial.replace(path)


def _read(path: Path) -> Manifest | None:
    """Return what `_write` wrote; None where there is nothing, or a crash has cut it short."""
    try:
        return Manifest.from_bytes(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
