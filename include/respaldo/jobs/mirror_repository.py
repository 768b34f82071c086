"""Make the replica's repository hold what the primary's does, object by object.

Only copies, never removes (docs/decisions/0007). The primary is listed from the snapshots down to
the data, and copied from the data up to the snapshots: whatever a listed snapshot needs was there
when the data was listed, and is copied before it. So what the replica lists as a snapshot is whole
at every moment.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING

from include.respaldo import failpoints
from include.respaldo.errors import Busy, KeyNotFound, SourceError
from include.respaldo.model import keys
from include.respaldo.model.backup import Category
from include.respaldo.model.redundancy import Stage, promised_digest, stage_of

if TYPE_CHECKING:
    from include.respaldo.ports import Progress, StoredObject, Vault
    from include.respaldo.vault.mirror import MirroredVault

#: each may hold a few parts of a big object in memory
_AT_ONCE = 4
#: a stage and where its objects lie, below the repository's prefix, in the order of copying
_PLACES = (
    (Stage.REPOSITORY_DATA, ("data/",)),
    (Stage.REPOSITORY_KEYS, ("keys/", "config")),
    (Stage.REPOSITORY_INDEX, ("index/",)),
    (Stage.SNAPSHOT, ("snapshots/",)),
)
_CONFIG = "config"


def mirror_repository(vaults: MirroredVault, category: Category, progress: Progress) -> int:
    """Copy to the replica what it lacks of the primary's repository; return the bytes copied.

    :raises Busy: the primary's was being pruned meanwhile; trying again can help.
    :raises SourceError: the replica holds another repository.
    :raises CorruptObject: an object of the primary is damaged; no snapshot is copied then.
    :raises VaultUnreachable: one of the regions does not answer.
    """
    primary, replica = vaults.primary, vaults.replica
    prefix = keys.repository_prefix(category)
    there = {o.key for o in replica.list(prefix)}
    if prefix + _CONFIG in there:
        _refuse_another(primary, replica, prefix + _CONFIG)
    listed: dict[Stage, list[StoredObject]] = {}
    for stage, places in reversed(_PLACES):
        listed[stage] = [
            found
            for place in places
            for found in primary.list(prefix + place)
            if stage_of(found.key) is stage
        ]
    missing = [[o for o in listed[stage] if o.key not in there] for stage, _ in _PLACES]
    total = sum(o.size for objects in missing for o in objects)
    done = 0
    progress.step(f"copying the repository of {category.value.replace('_', ' ')}")
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mirror") as pool:
        try:
            for objects in missing:
                for size in pool.map(lambda o: _copy(primary, replica, o), objects):
                    done += size
                    progress.advance(done, total, "bytes")
        except KeyNotFound as error:
            raise Busy(
                f"the repository was being pruned while it was copied: {error.message}",
                hint="it is copied again later",
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    failpoints.reach(failpoints.REPOSITORY_COPIED)
    return done


def holds_snapshot(vault: Vault, category: Category, snapshot: str) -> bool:
    """Return whether the repository there lists a snapshot; it is whole then."""
    return vault.find(f"{keys.repository_prefix(category)}snapshots/{snapshot}") is not None


def _refuse_another(primary: Vault, replica: Vault, config: str) -> None:
    """Refuse to mix two repositories: nothing tells an object of one from one of the other."""
    if primary.find(config) is not None and primary.read(config) != replica.read(config):
        raise SourceError(
            f"the replica vault ({replica.uri}) holds another repository, or a damaged one: "
            f"{config!r} differs",
            hint="each installation needs a prefix of its own in each vault. If the primary's was "
            "made anew on purpose, move the replica's restic/ elsewhere; if one is damaged, copy "
            "this object from the other region",
        )


def _copy(primary: Vault, replica: Vault, found: StoredObject) -> int:
    promised = promised_digest(found.key)
    if promised:
        replica.copy_from(primary, found.key, sha256=promised)
    else:
        data = primary.read(found.key)
        replica.put(found.key, data, sha256=sha256(data).hexdigest())
    return found.size
