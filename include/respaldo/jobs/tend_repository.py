"""The restic repository of a category after retention: forgotten, pruned, the replica's like it.

Manifests have gone before; so a snapshot that is forgotten is of no backup that anybody lists. The
primary's repository is pruned and checked first. Only then the replica's loses what the primary's
no longer has, after it got what the prune has written anew: snapshots first, then indexes, then
packs, so that it is whole at every moment. Each step can be done again; what a crash leaves goes
the next time.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

from include.respaldo import failpoints
from include.respaldo.errors import (
    Busy,
    CorruptObject,
    KeyNotFound,
    SourceError,
    VaultError,
    VaultUnreachable,
)
from include.respaldo.jobs.mirror_repository import mirror_repository
from include.respaldo.jobs.prove_repository import record_proven
from include.respaldo.jobs.retention_report import Tended
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest
from include.respaldo.model.redundancy import Stage, stage_of
from include.respaldo.model.units import size_text
from include.respaldo.ports import StoredObject, Vault

if TYPE_CHECKING:
    from include.respaldo.filetree.restic import Repository
    from include.respaldo.jobs.deployment import Deployment

#: a younger snapshot without a manifest may be of a backup that is still being sealed
_LEFT_ALONE = timedelta(days=2)


def repository_is_whole(deployment: Deployment, category: Category) -> bool:
    """Return whether restic finds, in the primary, all that the repository speaks of.

    :raises Busy: it is being pruned just now.
    :raises ConfigurationError: nothing opens it.
    """
    config = keys.repository_prefix(category) + "config"
    if deployment.vaults.primary.find(config) is None:
        return False
    try:
        deployment.repository(category).check()
    except (CorruptObject, KeyNotFound):
        return False
    return True


def tend_repository(
    deployment: Deployment,
    category: Category,
    removed: Collection[str],
    *,
    with_replica: bool,
    dry_run: bool,
) -> Tended:
    """Forget the snapshots of backups that are gone, prune, and let the replica follow.

    A repository that a backup is writing to is left for the next time.

    :param removed: snapshots of the backups that were removed in this run (a dry run: that would).
    :param with_replica: it answers.
    :raises SourceError: not every sealed backup has its snapshot in the primary: nothing is done.
    :raises CorruptObject: what is left does not pass restic's check: the replica keeps everything.
    """
    sealed = _sealed_snapshots(deployment, category)
    if dry_run:
        sealed -= set(removed)
    repository = deployment.repository(category)
    before = _listing(deployment.vaults.primary, category)
    try:
        doomed = _doomed(deployment, repository, category, sealed, removed)
        if dry_run:
            return Tended(category, len(doomed))
        deployment.progress.step(f"{category.value}: forgetting {len(doomed)} snapshots")
        repository.unlock()
        if doomed:
            repository.forget(doomed)
        failpoints.reach(failpoints.SNAPSHOTS_FORGOTTEN)
        # also where nothing was forgotten: an earlier run may have been stopped here
        repository.prune()
        failpoints.reach(failpoints.REPOSITORY_PRUNED)
        repository.check()
        record_proven(deployment, category)
    except Busy as error:
        return Tended(category, 0, note=f"in use, what is left goes the next time: {error.message}")
    failpoints.reach(failpoints.REPOSITORY_CHECKED)
    after = _listing(deployment.vaults.primary, category)
    gone = before.keys() - after.keys()
    freed = max(0, sum(before.values()) - sum(after.values()))
    done, note = 0, "what goes in the replica goes when it answers again"
    if with_replica:
        try:
            done, note = _let_replica_follow(deployment, category, sealed), ""
        except (VaultUnreachable, Busy) as error:
            note = f"{note}: {error.message}"
    deployment.progress.step(f"{category.value}: {size_text(freed)} freed")
    return Tended(category, len(doomed), len(gone), freed, done, note)


def _sealed_snapshots(deployment: Deployment, category: Category) -> set[str]:
    """Return the snapshots that manifests of either region name.

    :raises SourceError: a manifest cannot be read, so nobody knows what it names.
    """
    vaults = deployment.vaults
    found: set[str] = set()
    for stored in vaults.list_either(keys.category_prefix(category)):
        if not stored.key.endswith("/" + keys.MANIFEST):
            continue
        try:
            tree = vaults.read_verified(stored.key, Manifest.from_bytes).tree
        except VaultError as error:
            raise SourceError(
                f"no snapshot is forgotten while {stored.key} cannot be read: {error.message}",
                hint="the geo-redundancy check heals it, or says why it can't",
            ) from error
        if tree is not None:
            found.add(tree.snapshot)
    return found


def _doomed(
    deployment: Deployment,
    repository: Repository,
    category: Category,
    sealed: Collection[str],
    removed: Collection[str],
) -> list[str]:
    """Return the snapshots that belong to no backup, and to none that is still being sealed."""
    there = {snapshot.id: snapshot.at for snapshot in repository.snapshots()}
    missing = sorted(set(sealed) - there.keys())
    if missing:
        raise SourceError(
            f"{len(missing)} sealed backups have no snapshot in the primary's repository of "
            f"{category.value} ({missing[0][:8]} for one): nothing of it is removed",
            hint="the geo-redundancy check copies it from the replica, or says why it can't",
        )
    before = deployment.clock.now() - _LEFT_ALONE
    return sorted(
        snapshot
        for snapshot, at in there.items()
        if snapshot not in sealed and (snapshot in removed or at < before)
    )


def _let_replica_follow(deployment: Deployment, category: Category, sealed: Collection[str]) -> int:
    """Copy to the replica what the prune has written, then remove what it left; return how many.

    The replica is listed first: what it has had from the primary since is then in the primary's
    listing. (A backup may be written, and copied, at the same time.)
    """
    vaults = deployment.vaults
    replica = _listing(vaults.replica, category)
    primary = _listing(vaults.primary, category)
    mirror_repository(vaults, category, deployment.progress)
    snapshots = keys.repository_prefix(category) + "snapshots/"
    if any(snapshots + snapshot not in primary for snapshot in sealed):
        return 0  # sealed since, or lost since: the next run sees
    gone = {key for key in replica.keys() - primary.keys() if not key.endswith("/config")}
    for stages, reached in (
        ({Stage.SNAPSHOT}, failpoints.REPLICA_SNAPSHOTS_REMOVED),
        ({Stage.REPOSITORY_INDEX}, failpoints.REPLICA_INDEX_REMOVED),
        ({Stage.REPOSITORY_DATA, Stage.REPOSITORY_KEYS}, failpoints.REPLICA_PRUNED),
    ):
        vaults.replica.delete_all(sorted(key for key in gone if stage_of(key) in stages))
        failpoints.reach(reached)
    return len(gone)


def _listing(vault: Vault, category: Category) -> dict[str, int]:
    """Return what a repository consists of there, locks left out: key -> size."""

    def counts(stored: StoredObject) -> bool:
        return stage_of(stored.key) is not None

    listed = filter(counts, vault.list(keys.repository_prefix(category)))
    return {stored.key: stored.size for stored in listed}
