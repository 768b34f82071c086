"""What the steps of every backup share: where a source lands, what seals it, how it is copied.

What passes between steps lies in the landing zone, below
``<category>/<backup id>/<server>/<source>/``:

    …                what the dump step wrote
    draft.json       the manifest to be, once that has landed
    verified.json    the same, once what has landed was read back and understood
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo import failpoints
from include.respaldo.errors import CorruptObject, KeyTaken
from include.respaldo.model import keys
from include.respaldo.model.backup import Manifest, Source
from include.respaldo.ports import Vault

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

DRAFT, VERIFIED = "draft.json", "verified.json"


def landing_folder(deployment: Deployment, source: Source, run_id: str) -> Path:
    """Return where a source's backup lands, made if missing."""
    folder = deployment.landing_zone.path(
        source.category.value,
        run_id,
        keys.encode_name(source.server),
        keys.encode_name(source.name),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace what stands there, at once."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(manifest.to_bytes())
    partial.replace(path)


def read_manifest(path: Path) -> Manifest | None:
    """Return what `write_manifest` wrote; None where there is none, or a crash cut it short."""
    try:
        return Manifest.from_bytes(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def is_sealed(vault: Vault, source: Source, run_id: str) -> bool:
    """Return whether the vault holds that backup of the source, sealed."""
    return vault.find(keys.manifest_key(source, run_id)) is not None


def sealed_runs(vault: Vault, source: Source) -> set[str]:
    """Return the ids of the source's sealed backups."""
    listed = (keys.parse_backup_key(o.key) for o in vault.list(keys.backups_prefix(source)))
    return {run_id for _, run_id, name in filter(None, listed) if name == keys.MANIFEST}


def put_unsealed(vault: Vault, key: str, path: Path, digest: str) -> None:
    """Store a file in the place of one whose landing was lost before it could be sealed.

    The caller has seen that no manifest seals the key.
    """
    try:
        vault.put(key, path, sha256=digest)
    except KeyTaken:
        vault.delete(key)
        vault.put(key, path, sha256=digest)


def seal(vault: Vault, manifest: Manifest) -> None:
    """Store the manifest: all that it speaks of is there."""
    data = manifest.to_bytes()
    key = keys.manifest_key(manifest.source, manifest.backup_id)
    vault.put(key, data, sha256=sha256(data).hexdigest())
    failpoints.reach(failpoints.BACKUP_SEALED_IN_PRIMARY)


def read_sealed(vault: Vault, source: Source, run_id: str) -> tuple[Manifest, bytes]:
    """Return a manifest of one region, and its bytes.

    :raises CorruptObject: it is damaged.
    """
    data = vault.read(keys.manifest_key(source, run_id))
    try:
        return Manifest.from_bytes(data), data
    except ValueError as e:
        raise CorruptObject(
            f"the manifest in the {vault.region} vault is damaged: {e}",
            hint="take another backup",
        ) from e


def copy_sealed(primary: Vault, replica: Vault, manifest: Manifest, data: bytes) -> int:
    """Copy the files of a sealed backup, then its manifest; return their size in bytes."""
    prefix = keys.backup_prefix(manifest.source, manifest.backup_id)
    for file in manifest.files:
        replica.copy_from(primary, prefix + file.name, sha256=file.sha256)
    key = keys.manifest_key(manifest.source, manifest.backup_id)
    replica.put(key, data, sha256=sha256(data).hexdigest())
    return manifest.stored_size
