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
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo import __version__, failpoints
from include.respaldo.errors import SourceError, VaultError
from include.respaldo.filetree.amended_list import amended
from include.respaldo.filetree.as_stored import as_stored, moved
from include.respaldo.filetree.digests import DigestCache
from include.respaldo.filetree.file_list import (
    compare,
    read_batches,
    summary,
    write_batches,
)
from include.respaldo.filetree.listing import ListedTree, list_tree
from include.respaldo.filetree.restic import Repository
from include.respaldo.jobs.bring_tree import DIGESTS, Tree, bring_tree, mirror_folder, tree_of
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
from include.respaldo.jobs.prove_repository import prove_repository
from include.respaldo.model import keys
from include.respaldo.model.backup import Manifest, Source, StoredFile
from include.respaldo.model.file_tree import (
    PROBLEMS_SHOWN,
    Entry,
    Kind,
    Problem,
    ReadProblem,
    StoredTree,
    Unusual,
    shown,
    suspicions,
)

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
        named = [[p.path, p.problem.value, p.reason] for p in brought.problems]
        told = [["", "", f"its version is not known: {brought.no_version}"]]
        _replace(folder / PROBLEMS, json.dumps(named + told * bool(brought.no_version)))
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
    if draft is None or read_manifest(folder / VERIFIED):
        return None
    begun = time.monotonic()
    with _room(folder):
        digests = mirror_folder(deployment, source) / DIGESTS
        with _listed(deployment, tree_of(deployment, source), digests) as listed:
            unread = _unread(listed, _problems(folder))
            file = write_batches(amended(listed.batches(), unread), folder / LIST)
            listed.digests.write(digests)
        failpoints.reach(failpoints.TREE_LISTED)
        since = _fetch_before(deployment, source, run_id, folder / BEFORE)
        tree = _described(deployment, folder, draft.tree, folder / LIST, since)
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
        snapshot, stored = _store(deployment, repository, manifest, tree)
        file, found = _as_stored(deployment, repository, manifest, tree, snapshot, folder)
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


def _listed(deployment: Deployment, tree: Tree, digests: Path) -> ListedTree:
    return list_tree(
        tree.root,
        tree.patterns,
        one_file_system=tree.one_file_system,
        known=DigestCache.read(digests),
        progress=deployment.progress,
        scratch=deployment.scratch(),
    )


def _store(
    deployment: Deployment, repository: Repository, manifest: Manifest, tree: Tree
) -> tuple[str, int]:
    """Return the snapshot of a backup, and the bytes that the repository grew by."""
    source = manifest.source
    prefix = keys.repository_prefix(source.category)
    repository.ensure(is_empty=lambda: next(deployment.vaults.primary.list(prefix), None) is None)
    tags = (
        f"category={source.category.value}",
        f"source={keys.encode_name(source.name)}",
        f"backup={manifest.backup_id}",
    )
    for earlier in reversed(repository.snapshots(tags=tags)):
        if earlier.host == source.server and earlier.paths == (str(tree.root),):
            return earlier.id, 0
    made = repository.backup(
        tree.root,
        patterns=tree.patterns,
        host=source.server,
        tags=tags,
        at=manifest.started_at,
        one_file_system=tree.one_file_system,
        progress=deployment.progress,
    )
    return made.id, made.stored


def _as_stored(
    deployment: Deployment,
    repository: Repository,
    manifest: Manifest,
    tree: Tree,
    snapshot: str,
    folder: Path,
) -> tuple[StoredFile, StoredTree]:
    """Return the list of what the snapshot holds, as a file of the folder, and what it says."""
    assert manifest.tree is not None
    (listed,) = manifest.files
    digests = mirror_folder(deployment, manifest.source) / DIGESTS
    with _listed(deployment, tree, digests) as now:
        changed = moved(folder / LIST, now)
    if not changed:
        return listed, manifest.tree
    entries = as_stored(
        repository, snapshot, str(tree.root), changed, deployment.scratch(), deployment.progress
    )
    made = write_batches(amended(read_batches(folder / LIST), entries), folder / STORED)
    since = manifest.tree.changes.since
    found = _described(deployment, folder, manifest.tree, folder / STORED, since)
    return replace(made, name=STORED), found


def _described(
    deployment: Deployment, folder: Path, tree: StoredTree | None, listed: Path, since: str
) -> StoredTree:
    """Return what the manifest says of a list: totals, problems, changes, what is unusual."""
    assert tree is not None
    found = summary(listed)
    before = folder / BEFORE
    changes = compare(before if since and before.exists() else None, listed, since)
    reasons = {shown(p.path): p.reason for p in _problems(folder) if p.path}
    told = tuple((path, reasons.get(path, what)) for path, what in found.problems)
    general = tuple(("", reason) for path, _, reason in _told(folder) if not path)
    usual = deployment.config.unusual
    strange = suspicions(
        changes,
        Unusual(usual.removed / 100, usual.modified / 100, usual.incompressible / 100, usual.files),
    )
    if since and not before.exists():
        strange = ("no list of an earlier backup could be read: nothing was compared",)
    return replace(
        tree,
        files=found.files,
        folders=found.folders,
        links=found.links,
        others=found.others,
        size=found.size,
        changes=changes,
        problems=(*general, *told)[:PROBLEMS_SHOWN],
        problem_counts=found.problem_counts,
        suspicions=strange,
    )


def _fetch_before(deployment: Deployment, source: Source, run_id: str, to: Path) -> str:
    """Bring the list of the backup before this one; return its id, "" where there is none.

    Where lists are damaged in both regions an older one is taken; without any, `to` is not there.
    """
    to.unlink(missing_ok=True)
    newest = ""
    for manifest in sealed_before(deployment, source, run_id):
        newest = newest or manifest.backup_id
        for file in manifest.files:
            try:
                key = keys.backup_prefix(source, manifest.backup_id) + file.name
                deployment.vaults.download(key, to, sha256=file.sha256)
            except VaultError as error:
                deployment.progress.step(f"{source} {manifest.backup_id}: {error.message}")
            else:
                return manifest.backup_id
    return newest


def _told(folder: Path) -> list[tuple[str, str, str]]:
    return [(p, q, r) for p, q, r in json.loads((folder / PROBLEMS).read_text())]


def _problems(folder: Path) -> list[ReadProblem]:
    """Return what could not be brought as it is."""
    return [ReadProblem(path, Problem(what), why) for path, what, why in _told(folder) if what]


def _unread(listed: ListedTree, problems: Sequence[ReadProblem]) -> dict[str, Entry | None]:
    """Return the entries of a list that could not be brought, with their problem."""
    wanted = {p.path: p for p in problems}
    if not wanted:
        return {}
    found = {entry.path: entry for entry in listed if entry.path in wanted}
    return {
        path: replace(found.get(path) or _absent(path), problem=problem.problem)
        for path, problem in wanted.items()
    }


def _absent(path: str) -> Entry:
    return Entry(path, Kind.FILE, size=0, mode=0, uid=0, gid=0, mtime_ns=0)


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".partial")
    draft.write_text(text)
    draft.replace(path)


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
