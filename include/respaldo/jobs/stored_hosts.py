"""Descriptions of hosts that the vaults hold: found by their day, read, and brought back whole."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from include.respaldo.debian.description import DESCRIPTION, Description
from include.respaldo.errors import CorruptObject, RestoreRefused
from include.respaldo.filetree.file_list import read_list
from include.respaldo.filetree.restic import Repository
from include.respaldo.filetree.verification import differences
from include.respaldo.jobs.discover_trees import CONFIGURATION, sealed_before
from include.respaldo.jobs.stored_trees import fetch_list, in_either_region, tree_in
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: how many differences from the list a message names
_NAMED = 20


def source_of(host: str) -> Source:
    """Return the source that a host's configuration is."""
    return Source(Category.SERVER_CONFIGURATION, host, CONFIGURATION)


def find_backup(deployment: Deployment, host: str, before: datetime | None) -> Manifest:
    """Return the last backup of a host's configuration that was begun before a moment.

    :param before: None: the newest.
    :raises RestoreRefused: there is none; names those there are.
    :raises VaultUnreachable: neither region answers.
    """
    later: list[str] = []
    for manifest in sealed_before(deployment, source_of(host)):
        if before is None or manifest.started_at < before:
            return manifest
        later.append(manifest.backup_id)
    raise RestoreRefused(
        f"no backup of the configuration of {host!r}"
        + (f" was begun before {before.isoformat(timespec='minutes')}" if before else ""),
        hint=f"later ones: {', '.join(sorted(later))}"
        if later
        else "`catalog` shows what there is",
    )


def read_backup(deployment: Deployment, host: str, backup_id: str) -> Manifest:
    """Return one backup of a host's configuration."""
    key = keys.manifest_key(source_of(host), backup_id)
    return deployment.vaults.read_verified(key, Manifest.from_bytes)


def newest_description(deployment: Deployment, host: str) -> tuple[Description | None, str]:
    """Return what a host was in its last sealed backup, and the backup's id; (None, ""): none."""
    for manifest in sealed_before(deployment, source_of(host)):
        return read_description(deployment, manifest), manifest.backup_id
    return None, ""


def read_description(deployment: Deployment, manifest: Manifest) -> Description:
    """Return the description that a backup holds.

    :raises CorruptObject: it cannot be read as one.
    """
    tree = tree_in(manifest)

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

    return in_either_region(deployment, Category.SERVER_CONFIGURATION, read).value


def fetch_host(deployment: Deployment, manifest: Manifest, scratch: Path) -> Path:
    """Bring a whole backup into a scratch folder, compare it with its list, return the tree.

    :raises CorruptObject: what restic brought is not what the list says.
    """
    tree = tree_in(manifest)
    to = scratch / "tree"

    def restore(repository: Repository) -> None:
        shutil.rmtree(to, ignore_errors=True)
        repository.restore(tree.snapshot, tree.root, (), to, deployment.progress)

    in_either_region(deployment, Category.SERVER_CONFIGURATION, restore)
    listed = fetch_list(deployment, manifest, scratch / keys.FILE_LIST)
    found = differences(read_list(listed), to, owners=os.geteuid() == 0, limit=_NAMED)
    if found:
        raise CorruptObject(
            f"backup {manifest.backup_id} is not what its list says: " + "; ".join(found),
            hint="`verify` looks at the repositories of both regions; choose another day meanwhile",
        )
    return to
