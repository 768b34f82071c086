"""What each of the four steps does for one tree: an application, files, a host's configuration.

In the landing folder lie, besides what every backup has there:

    problems.json    what could not be brought as it is
    files.parquet    the list, as the tree was found
    before.parquet   the list of the backup before it
    stored.parquet   the list, as the snapshot holds the tree

The tree itself is read where it is, or from its mirror (`bring_tree`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo import __version__, failpoints
from include.respaldo.errors import SourceError, VaultUnreachable
from include.respaldo.filetree.restic import Repository, Snapshot
from include.respaldo.jobs.bring_tree import Tree, bring_tree, tree_of
from include.respaldo.jobs.discover_trees import sealed_before
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
from include.respaldo.jobs.mirror_repository import holds_snapshot, mirror_repository
from include.respaldo.jobs.prove_repository import prove_repository, repository_folder
from include.respaldo.jobs.tree_lists import (
    described,
    fetch_before,
    keep_problems,
    list_landed,
    list_of_snapshot,
)
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source
from include.respaldo.model.file_tree import StoredTree
from include.respaldo.ports import Vault

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

PROBLEMS, LIST, BEFORE, STORED = (
    "problems.json",
    "files.parquet",
    "before.parquet",
    "stored.parquet",
)
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def dump(deployment: Deployment, source: Source, run_id: str) -> int | None:
    """Bring the tree to where it can be read; return 0, None where that was done before."""
    folder = landing_folder(deployment, source, run_id)
    if read_manifest(folder / DRAFT) or is_sealed(deployment.vaults.primary, source, run_id):
        return None
    started_at, begun = deployment.clock.now(), time.monotonic()
    with _room(folder):
        brought = bring_tree(deployment, source)
        failpoints.reach(failpoints.TREE_LANDED)
        keep_problems(brought, folder)
        tree = StoredTree("", str(tree_of(deployment, source).root), 0, 0, 0, 0, 0, 0)
        draft = Manifest(
            source=source,
            backup_id=run_id,
            started_at=started_at,
            files=(),
            server_version="",
            tools={"respaldo": __version__},
            durations={"dump": round(time.monotonic() - begun, 3)},
            tree=replace(tree, version=brought.version),
        )
        write_manifest(folder / DRAFT, draft)
    return 0


def checksum(deployment: Deployment, source: Source, run_id: str) -> int | None:
    """List the tree with its digests, and compare it with that of the backup before it.

    What did not change since is not read again. Returns the bytes of all its files.

    :raises SourceError: the tree went away.
    """
    folder = landing_folder(deployment, source, run_id)
    draft = read_manifest(folder / DRAFT)
    if draft is None or draft.tree is None or read_manifest(folder / VERIFIED):
        return None
    begun = time.monotonic()
    with _room(folder):
        file = list_landed(deployment, source, tree_of(deployment, source), folder)
        failpoints.reach(failpoints.TREE_LISTED)
        since = fetch_before(deployment, source, run_id, folder)
        tree = described(deployment, draft.tree, folder, since)
        durations = {**draft.durations, "checksum": round(time.monotonic() - begun, 3)}
        write_manifest(
            folder / VERIFIED, replace(draft, files=(file,), durations=durations, tree=tree)
        )
    return tree.size


def upload(deployment: Deployment, source: Source, run_id: str) -> int | None:
    """Store a snapshot, then the list of what is in it, then the manifest, in the primary vault.

    Returns the bytes that the vault grew by. A snapshot that a run killed since has left is taken.

    :raises CorruptObject: the repository is damaged: nothing is sealed upon it.
    """
    vault = deployment.vaults.primary
    folder = landing_folder(deployment, source, run_id)
    manifest = read_manifest(folder / VERIFIED)
    if manifest is None or manifest.tree is None or is_sealed(vault, source, run_id):
        return None
    begun = time.monotonic()
    tree = tree_of(deployment, source)
    if str(tree.root) != manifest.tree.root:
        deployment.landing_zone.remove_tree(folder)
        raise SourceError(
            f"{source} was listed at {manifest.tree.root}, and is at {tree.root} now",
            hint="take the backup again",
        )
    with _room(folder):
        repository = deployment.repository(source.category)
        snapshot, made = _store(deployment, repository, manifest, tree)
        stored = made.stored if made else 0
        file, found = list_of_snapshot(
            deployment, repository, manifest, tree, snapshot, made, folder
        )
        prefix = keys.backup_prefix(source, run_id)
        put_unsealed(vault, prefix + keys.FILE_LIST, folder / file.name, file.sha256)
    failpoints.reach(failpoints.TREE_STORED)
    prove_repository(deployment, source.category)
    durations = {**manifest.durations, "upload": round(time.monotonic() - begun, 3)}
    seal(
        vault,
        replace(
            manifest,
            files=(replace(file, name=keys.FILE_LIST),),
            tools={**manifest.tools, "restic": repository.version},
            durations=durations,
            tree=replace(found, snapshot=snapshot, stored=stored),
        ),
    )
    return stored + file.size


def copy(deployment: Deployment, source: Source, run_id: str) -> int:
    """Copy the sealed backup to the replica vault: its repository, the list, the manifest.

    The repository is copied as a whole: for the other sources of a batch that is done then.

    :raises SourceError: the snapshot is not in the primary's repository.
    """
    vaults = deployment.vaults
    manifest, data = read_sealed(vaults.primary, source, run_id)
    if manifest.tree is None:
        raise SourceError(f"the manifest of {source} {run_id} names no snapshot")
    size = 0
    if not holds_snapshot(vaults.replica, source.category, manifest.tree.snapshot):
        size = mirror_repository(vaults, source.category, deployment.progress)
        if not holds_snapshot(vaults.replica, source.category, manifest.tree.snapshot):
            raise SourceError(
                f"the snapshot {manifest.tree.snapshot} of {source} is not in the primary vault",
                hint="take the backup again; the one before it stays",
            )
    return size + copy_sealed(vaults.primary, vaults.replica, manifest, data)


# -- inside -------------------------------------------------------------------------------------


def _store(
    deployment: Deployment, repository: Repository, manifest: Manifest, tree: Tree
) -> tuple[str, Snapshot | None]:
    """Return the snapshot of a backup, and how it was made; None: an earlier run has made it."""
    source = manifest.source
    _ensure(deployment, repository, source.category)
    tags = (
        f"category={source.category.value}",
        f"source={keys.encode_name(source.name)}",
        f"backup={manifest.backup_id}",
    )
    for earlier in reversed(repository.snapshots(tags=tags)):
        if earlier.host == source.server:
            return earlier.id, None
    made = repository.backup(
        tree.root,
        patterns=tree.patterns,
        host=source.server,
        tags=tags,
        at=manifest.started_at,
        one_file_system=tree.one_file_system,
        progress=deployment.progress,
        parent=_parent(deployment, manifest) if tree.patterns.include else "",
        size=manifest.tree.size if manifest.tree else None,
    )
    return made.id, made


def _ensure(deployment: Deployment, repository: Repository, category: Category) -> None:
    """Make the repository where there is none: one process at a time, or each makes its own."""
    prefix = keys.repository_prefix(category)
    if deployment.vaults.primary.find(prefix + "config") is not None:
        return
    with (repository_folder(deployment, category) / "repository.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        repository.ensure(is_empty=lambda: _is_new(deployment, prefix))


def _parent(deployment: Deployment, manifest: Manifest) -> str:
    """Return the snapshot to compare with: restic finds it by itself only where a tree is whole."""
    for earlier in sealed_before(deployment, manifest.source, manifest.backup_id):
        if earlier.tree is not None:
            return earlier.tree.snapshot
    return ""


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Say in words that the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        where = os.fsdecode(error.filename) if error.filename else str(folder)
        raise SourceError(
            f"the disk is full: {where}",
            hint="make room where the landing zone and `scratch` lie; the next run goes on",
        ) from error


def _is_new(deployment: Deployment, prefix: str) -> bool:
    """Return whether neither region has anything of a repository.

    Where the primary was lost, a second one beside the replica's could never be mirrored there. A
    replica that does not answer is taken to have nothing: the primary goes on alone.
    """

    def is_empty(vault: Vault) -> bool:
        return next(vault.list(prefix), None) is None

    if not is_empty(deployment.vaults.primary):
        return False
    try:
        return is_empty(deployment.vaults.replica)
    except VaultUnreachable:
        return True
