"""What the vaults would hold of trees after some days of backups: manifests, and a repository."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source, StoredFile, backup_id
from include.respaldo.model.file_tree import StoredTree
from include.respaldo.vault.mirror import MirroredVault
from tests.jobs.old_days import put

DAY = timedelta(days=1)
UPLOADS = Source(Category.FILES, "local", "uploads")
LIST = b"a list of files"
#: what a repository has beside packs and snapshots
CONFIG = keys.repository_prefix(Category.FILES) + "config"


def named(category: Category, kind: str, data: bytes) -> str:
    """Return the key that restic gives to these bytes."""
    digest = sha256(data).hexdigest()
    folder = f"{kind}/{digest[:2]}" if kind == "data" else kind
    return f"{keys.repository_prefix(category)}{folder}/{digest}"


def midnight(days_ago: int) -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - (days_ago + 1) * DAY


def tree_of(snapshot: str, suspicions: Sequence[str] = ()) -> StoredTree:
    return StoredTree(
        snapshot, "/srv/uploads", 1, 1, 0, 0, size=9, stored=9, suspicions=tuple(suspicions)
    )


def tree_manifest(
    at: datetime,
    snapshot: str,
    *,
    source: Source = UPLOADS,
    suspicions: Sequence[str] = (),
) -> Manifest:
    file = StoredFile(keys.FILE_LIST, len(LIST), sha256(LIST).hexdigest(), 99)
    tree = tree_of(snapshot, suspicions)
    return Manifest(source, backup_id(at), at, (file,), "", {"restic": "0.14.0"}, tree=tree)


def seal_tree(vaults: MirroredVault, manifest: Manifest) -> None:
    """Store a manifest, and its list before it, in both regions."""
    prefix = keys.backup_prefix(manifest.source, manifest.backup_id)
    put(vaults, prefix + keys.FILE_LIST, LIST)
    put(vaults, prefix + keys.MANIFEST, manifest.to_bytes())


def plant_trees(
    vaults: MirroredVault,
    *,
    days: int = 20,
    source: Source = UPLOADS,
    suspicious: Sequence[int] = (),
) -> list[Manifest]:
    """Store a backup for each of so many days in both regions, oldest first.

    The repository looks like restic's; no restic could read it.
    """
    category = source.category
    put(vaults, keys.repository_prefix(category) + "config", b"config")
    put(vaults, named(category, "keys", b"key"), b"key")
    made = []
    for days_ago in range(days, -1, -1):
        name = f"{source} {days_ago} days ago".encode()
        for kind in ("data", "index", "snapshots"):
            data = kind.encode() + b" of " + name
            put(vaults, named(category, kind, data), data)
        manifest = tree_manifest(
            midnight(days_ago),
            named(category, "snapshots", b"snapshots of " + name).rpartition("/")[2],
            source=source,
            suspicions=("30 of 40 files were modified",) if days_ago in suspicious else (),
        )
        seal_tree(vaults, manifest)
        made.append(manifest)
    return made
