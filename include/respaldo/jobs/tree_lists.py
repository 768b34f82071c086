"""The lists of a tree that is being backed up: made, compared, and held against the snapshot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo.errors import VaultError
from include.respaldo.filetree.amended_list import amended
from include.respaldo.filetree.as_stored import as_stored, disagreements, moved
from include.respaldo.filetree.digests import DigestCache
from include.respaldo.filetree.file_list import compare, read_batches, summary, write_batches
from include.respaldo.filetree.listing import ListedTree, list_tree
from include.respaldo.filetree.restic import Repository, Snapshot
from include.respaldo.filetree.second_look import is_as_listed
from include.respaldo.jobs.bring_tree import DIGESTS, Brought, Tree, mirror_folder
from include.respaldo.jobs.discover_trees import sealed_before
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


def keep_problems(brought: Brought, folder: Path) -> None:
    """Write down in the landing folder what could not be brought as it is."""
    told = [[p.path, p.problem.value, p.reason] for p in brought.problems]
    if brought.no_version:
        told.append(["", "", f"its version is not known: {brought.no_version}"])
    draft = (folder / PROBLEMS).with_suffix(".partial")
    draft.write_text(json.dumps(told))
    draft.replace(folder / PROBLEMS)


def list_landed(deployment: Deployment, source: Source, tree: Tree, folder: Path) -> StoredFile:
    """List what was brought, with digests, and what could not be brought; remember the digests."""
    digests = mirror_folder(deployment, source) / DIGESTS
    with _look(deployment, tree, digests) as listed:
        unread = _unread(listed, _problems(folder))
        file = write_batches(amended(listed.batches(), unread), folder / LIST)
        listed.digests.write(digests)
    return file


def fetch_before(deployment: Deployment, source: Source, run_id: str, folder: Path) -> str:
    """Bring the list of the backup before this one; return its id, "" where there is none.

    Where its list is damaged in both regions an older one is taken.
    """
    to = folder / BEFORE
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


def described(
    deployment: Deployment, tree: StoredTree, folder: Path, since: str, *, listed: str = LIST
) -> StoredTree:
    """Return what the manifest says of a list: totals, problems, changes, what is unusual."""
    found = summary(folder / listed)
    before = folder / BEFORE
    changes = compare(before if since and before.exists() else None, folder / listed, since)
    usual = deployment.config.unusual
    strange = suspicions(
        changes,
        Unusual(usual.removed / 100, usual.modified / 100, usual.incompressible / 100, usual.files),
    )
    if since and not before.exists():
        strange = ("no list of an earlier backup could be read: nothing was compared",)
    reasons = {shown(p.path): p.reason for p in _problems(folder) if p.path}
    general = [("", why) for path, _, why in _told(folder) if not path]
    named = [(path, reasons.get(path, what)) for path, what in found.problems]
    return replace(
        tree,
        files=found.files,
        folders=found.folders,
        links=found.links,
        others=found.others,
        size=found.size,
        changes=changes,
        problems=tuple([*general, *named][:PROBLEMS_SHOWN]),
        problem_counts=found.problem_counts,
        suspicions=strange,
    )


def list_of_snapshot(
    deployment: Deployment,
    repository: Repository,
    manifest: Manifest,
    tree: Tree,
    snapshot: str,
    made: Snapshot | None,
    folder: Path,
) -> tuple[StoredFile, StoredTree]:
    """Return the list of what a snapshot holds, as a file of the folder, and what it says.

    :param made: how the snapshot was made; None: an earlier run has made it.
    """
    assert manifest.tree is not None
    (file,) = manifest.files
    digests = mirror_folder(deployment, manifest.source) / DIGESTS
    if made is not None and is_as_listed(tree.root, DigestCache.read(digests), made):
        return file, manifest.tree
    with _look(deployment, tree, digests) as now:
        changed = moved(folder / LIST, now)
    root, scratch = str(tree.root), deployment.scratch()
    entries = as_stored(repository, snapshot, root, changed, scratch, deployment.progress)
    name = LIST
    if entries:
        name = STORED
        file = write_batches(amended(read_batches(folder / LIST), entries), folder / STORED)
    if made is None or made.unread or not _agrees(made, folder / name):
        changed = disagreements(repository, snapshot, root, folder / name, scratch)
        entries |= as_stored(repository, snapshot, root, changed, scratch, deployment.progress)
        if changed:
            name = STORED
            file = write_batches(amended(read_batches(folder / LIST), entries), folder / STORED)
    if name == LIST:
        return file, manifest.tree
    since = manifest.tree.changes.since
    return replace(file, name=name), described(
        deployment, manifest.tree, folder, since, listed=name
    )


def _look(deployment: Deployment, tree: Tree, digests: Path) -> ListedTree:
    return list_tree(
        tree.root,
        tree.patterns,
        one_file_system=tree.one_file_system,
        known=DigestCache.read(digests),
        progress=deployment.progress,
        scratch=deployment.scratch(),
    )


def _agrees(made: Snapshot, listed: Path) -> bool:
    """Return whether restic has stored as many files, and bytes, as a list names."""
    found = summary(listed)
    gone = sum(found.problem_counts.get(p, 0) for p in (Problem.UNREADABLE, Problem.VANISHED))
    if gone:  # of which it is not known how many are files
        return found.files - gone <= made.files <= found.files
    return (made.files, made.size) == (found.files, found.size)


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
