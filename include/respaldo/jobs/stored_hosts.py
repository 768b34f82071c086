"""Descriptions of hosts that the vaults hold: found by their day, read, and brought back whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from include.respaldo.config.schema import VaultLocation
from include.respaldo.debian.description import DESCRIPTION, Description
from include.respaldo.errors import (
    ConfigurationError,
    CorruptObject,
    KeyNotFound,
    RestoreRefused,
    VaultError,
    VaultUnreachable,
)
from include.respaldo.filetree.file_list import read_list
from include.respaldo.filetree.location import RepositoryLocation
from include.respaldo.filetree.restic import Repository
from include.respaldo.filetree.verification import differences
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source, parse_backup_id
from include.respaldo.model.file_tree import StoredTree

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

T = TypeVar("T")

#: how many differences from the list a message names
_NAMED = 20


def source_of(host: str) -> Source:
    """Return the source that a host's configuration is."""
    return Source(Category.SERVER_CONFIGURATION, host, "configuration")


def find_backup(deployment: Deployment, host: str, before: datetime | None) -> Manifest:
    """Return the last backup of a host's configuration that was begun before a moment.

    :param before: None: the newest.
    :raises RestoreRefused: there is none; names those there are.
    :raises VaultUnreachable: neither region answers.
    """
    ids = _backup_ids(deployment, host)
    for backup_id in reversed(ids):
        begun = parse_backup_id(backup_id)
        if begun is None or (before is not None and begun >= before):
            continue
        try:
            return _manifest(deployment, host, backup_id)
        except VaultError as error:
            deployment.progress.step(f"backup {backup_id} cannot be used: {error.message}")
    raise RestoreRefused(
        f"no backup of the configuration of {host!r}"
        + (f" was begun before {before.isoformat(timespec='minutes')}" if before else ""),
        hint=f"there are: {', '.join(ids)}"
        if ids
        else "take one first (backup_server_configuration)",
    )


def read_backup(deployment: Deployment, host: str, backup_id: str) -> Manifest:
    """Return one backup of a host's configuration."""
    return _manifest(deployment, host, backup_id)


def newest_description(deployment: Deployment, host: str) -> tuple[Description | None, str]:
    """Return what a host was in its last sealed backup, and the backup's id; (None, ""): none."""
    for backup_id in reversed(_backup_ids(deployment, host)):
        return read_description(deployment, _manifest(deployment, host, backup_id)), backup_id
    return None, ""


def read_description(deployment: Deployment, manifest: Manifest) -> Description:
    """Return the description that a backup holds.

    :raises CorruptObject: it cannot be read as one.
    """
    tree = _tree(manifest)

    def read(repository: Repository) -> Description:
        with TemporaryDirectory(prefix="host-", dir=deployment.scratch()) as folder:
            to = Path(folder) / DESCRIPTION
            repository.dump(tree.snapshot, f"{tree.root.rstrip('/')}/{DESCRIPTION}", to)
            try:
                return Description.from_bytes(to.read_bytes())
            except ValueError as error:
                raise CorruptObject(
                    f"the description in backup {manifest.backup_id} cannot be read: {error}"
                ) from None

    return _in_either_region(deployment, read)


def fetch_host(deployment: Deployment, manifest: Manifest, scratch: Path) -> Path:
    """Bring a whole backup into a scratch folder, compare it with its list, return the tree.

    :raises CorruptObject: what restic brought is not what the list says.
    """
    tree = _tree(manifest)
    to = scratch / "tree"

    def restore(repository: Repository) -> None:
        shutil.rmtree(to, ignore_errors=True)
        repository.restore(tree.snapshot, tree.root, (), to, deployment.progress)

    _in_either_region(deployment, restore)
    listed = scratch / keys.FILE_LIST
    stored = next((f for f in manifest.files if f.name == keys.FILE_LIST), None)
    if stored is None:
        raise CorruptObject(f"backup {manifest.backup_id} has no list of its files")
    key = keys.backup_prefix(manifest.source, manifest.backup_id) + keys.FILE_LIST
    deployment.vaults.download(key, listed, sha256=stored.sha256)
    found = differences(read_list(listed), to, owners=os.geteuid() == 0, limit=_NAMED)
    if found:
        raise CorruptObject(
            f"backup {manifest.backup_id} is not what its list says: " + "; ".join(found),
            hint="`verify` looks at the repositories of both regions; choose another day meanwhile",
        )
    return to


def _tree(manifest: Manifest) -> StoredTree:
    if manifest.tree is None:
        raise CorruptObject(f"backup {manifest.backup_id} has no tree of files")
    return manifest.tree


def _backup_ids(deployment: Deployment, host: str) -> list[str]:
    listed = deployment.vaults.list_either(keys.backups_prefix(source_of(host)))
    parsed = (keys.parse_backup_key(o.key) for o in listed)
    return sorted({p[1] for p in parsed if p is not None and p[2] == keys.MANIFEST})


def _manifest(deployment: Deployment, host: str, backup_id: str) -> Manifest:
    key = keys.manifest_key(source_of(host), backup_id)
    return deployment.vaults.read_verified(key, Manifest.from_bytes)


def _in_either_region(deployment: Deployment, act: Callable[[Repository], T]) -> T:
    """Do it with the primary's repository; the replica's where that one fails."""
    vaults = deployment.config.vaults
    try:
        return act(_repository(deployment, vaults.primary))
    except (VaultUnreachable, CorruptObject, KeyNotFound) as error:
        deployment.progress.step(f"the primary region is passed over: {error.message}")
        return act(_repository(deployment, vaults.replica))


def _repository(deployment: Deployment, vault: VaultLocation) -> Repository:
    repository = deployment.config.repository
    if repository is None:
        raise ConfigurationError(
            "no repository is configured",
            hint="set `repository: {connection: …}`: its password opens what is restored",
        )
    location = RepositoryLocation.s3(
        vault.uri,
        keys.repository_prefix(Category.SERVER_CONFIGURATION),
        deployment.connections(vault.connection),
        deployment.connections(repository.connection).password,
    )
    return Repository(location, deployment.scratch("restic"), read_only=True)
