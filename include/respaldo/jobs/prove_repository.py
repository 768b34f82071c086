"""Prove that a repository is whole, before a manifest makes a backup of what was put into it.

A new snapshot stands on old packs: restic takes a file that it knows for stored without a look at
its pack. So each time the primary's repository is listed and held against the listing of which
restic's own check last said that it is whole: what has neither gone nor changed (size, ETag) is as
whole as it was then. That costs one request for a thousand objects. An object that changed is read
and held against the digest in its name; where objects are gone, as after a prune, restic checks the
whole structure again (it reads all packs of trees: about a second for 50,000 entries).
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from include.respaldo.errors import CorruptObject
from include.respaldo.model import keys
from include.respaldo.model.redundancy import promised_digest, stage_of

if TYPE_CHECKING:
    from pathlib import Path

    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.model.backup import Category
    from include.respaldo.ports import Vault

#: key -> size and ETag
Listing = dict[str, str]

_BLOCK = 1 << 20
_HEAL = (
    "run the geo-redundancy check: it brings damaged and missing objects back from the other region"
)


def prove_repository(deployment: Deployment, category: Category) -> None:
    """Prove that the primary's repository is whole in structure.

    :raises CorruptObject: it is not; names what is damaged.
    :raises Busy: it is being pruned just now, and cannot be judged.
    """
    primary = deployment.vaults.primary
    found = _listing(primary, category)
    proven = _read(_record(deployment, category))
    for key in sorted(proven.keys() & found.keys()):
        if proven[key] != found[key]:
            _prove_object(primary, key)
    if not proven or proven.keys() - found.keys():
        _check(deployment, category)
    record_proven(deployment, category, found)


def record_proven(deployment: Deployment, category: Category, found: Listing | None = None) -> None:
    """Remember what the primary's repository consists of: restic's check has found it whole.

    :param found: the listing from before that check; None: it is listed now.
    """
    if found is None:
        found = _listing(deployment.vaults.primary, category)
    record = _record(deployment, category)
    draft = record.with_suffix(f".{os.getpid()}")  # others may record theirs at the same time
    draft.write_text("".join(f"{key} {mark}\n" for key, mark in sorted(found.items())), "utf-8")
    draft.replace(record)


def _check(deployment: Deployment, category: Category) -> None:
    """Let restic check the structure, beside others that write; in doubt, alone."""
    deployment.progress.step(f"checking the repository of {category.value.replace('_', ' ')}")
    try:
        deployment.repository(category, read_only=True).check()
    except CorruptObject:
        # what was pruned meanwhile looks missing: only a check with a lock can tell
        deployment.repository(category).check()


def _prove_object(vault: Vault, key: str) -> None:
    promised = promised_digest(key)
    if not promised:
        return  # config: without it, or with another one, restic has stored nothing
    digest = hashlib.sha256()
    with vault.open(key) as source:
        while block := source.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != promised:
        raise CorruptObject(f"{key!r} in the {vault.region} vault has changed", hint=_HEAL)


def _listing(vault: Vault, category: Category) -> Listing:
    return {
        stored.key: f"{stored.size} {stored.etag}"
        for stored in vault.list(keys.repository_prefix(category))
        if stage_of(stored.key) is not None
    }


def repository_folder(deployment: Deployment, category: Category) -> Path:
    """Return where all workers keep what they know of a repository; made if missing."""
    folder = deployment.landing_zone.path("mirrors", category.value)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _record(deployment: Deployment, category: Category) -> Path:
    return repository_folder(deployment, category) / "repository.proven"


def _read(record: Path) -> Listing:
    """Return what was recorded; nothing where that is lost: then restic checks again."""
    try:
        lines = record.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    return {key: mark for key, _, mark in (line.partition(" ") for line in lines)}
