"""Backups of trees that the vaults hold: chosen by their day, their lists, and what opens them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from include.respaldo.errors import (
    ConfigurationError,
    CorruptObject,
    KeyNotFound,
    RestoreRefused,
    VaultError,
    VaultUnreachable,
)
from include.respaldo.filetree.restic import Repository
from include.respaldo.jobs.acknowledge import TREES
from include.respaldo.jobs.discover_trees import configured_trees, sealed_before, spelled
from include.respaldo.jobs.read_catalog import archived_sources
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source, parse_backup_id
from include.respaldo.model.file_tree import StoredTree
from include.respaldo.model.tree_restore_plan import local

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment, Region

T = TypeVar("T")

#: how many backups a message names
_NAMED = 10


@dataclass(frozen=True)
class Read(Generic[T]):
    """What was read of a repository, and of whose."""

    value: T
    region: Region
    #: why not of the primary's; "": it was
    note: str = ""


def end_of_day(deployment: Deployment, day: str | None) -> datetime | None:
    """Return the moment up to which backups count: the end of a local day; None: all count.

    :raises RestoreRefused: it is no day.
    """
    if not day:
        return None
    try:
        following = date.fromisoformat(day) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise RestoreRefused(f"{day!r} is no day", hint="write it like 2026-11-22") from None
    return datetime.combine(following, datetime.min.time(), deployment.config.zone)


def tree_called(deployment: Deployment, name: str) -> Source:
    """Return the tree that a person means; no server is asked.

    :param name: ``name``, ``server/name`` or ``category/server/name``; configured, or in a vault.
    :raises RestoreRefused: nothing, or more than one, is called so.
    """
    known = {*configured_trees(deployment.config), *archived_sources(deployment.vaults, TREES)}
    matches = sorted(s for s in known if name in {s.name, s.server, str(s), spelled(s)})
    exact = [s for s in matches if name == spelled(s)] or [s for s in matches if name == s.name]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if matches:
        raise RestoreRefused(
            f"more than one thing is called {name!r}",
            hint=f"say which: {', '.join(map(spelled, matches))}",
        )
    raise RestoreRefused(
        f"no application, files or server configuration is called {name!r}",
        hint=f"there are: {', '.join(map(spelled, sorted(known)[:20])) or 'none'}",
    )


def choose_backup(
    deployment: Deployment, source: Source, before: datetime | None, backup_id: str = ""
) -> Manifest:
    """Return a backup of a tree: that of an id, or the last one begun before a moment.

    :param before: None: the newest.
    :raises RestoreRefused: there is none; names those there are.
    :raises VaultUnreachable: neither region answers.
    """
    if backup_id:
        return _by_id(deployment, source, backup_id)
    later: list[Manifest] = []
    for manifest in sealed_before(deployment, source):
        if before is None or manifest.started_at < before:
            return manifest
        later.append(manifest)
    zone = deployment.config.time_zone
    if before is None or not later:
        raise RestoreRefused(
            f"no backup of {spelled(source)} is in the vaults", hint="`catalog` shows what there is"
        )
    raise RestoreRefused(
        f"no backup of {spelled(source)} was begun before {local(before, zone)}",
        hint=f"the first one is of {local(later[-1].started_at, zone)} ({later[-1].backup_id}); "
        "`window` shows them all",
    )


def _by_id(deployment: Deployment, source: Source, backup_id: str) -> Manifest:
    try:
        if parse_backup_id(backup_id) is not None:
            key = keys.manifest_key(source, backup_id)
            return deployment.vaults.read_verified(key, Manifest.from_bytes)
    except KeyNotFound:
        pass
    zone = deployment.config.time_zone
    known = [
        f"{m.backup_id} ({local(m.started_at, zone)})" for m in sealed_before(deployment, source)
    ]
    raise RestoreRefused(
        f"{spelled(source)} has no backup {backup_id!r}",
        hint=f"there are: {', '.join(known[:_NAMED])}"
        if known
        else "`catalog` shows what there is",
    )


def tree_in(manifest: Manifest) -> StoredTree:
    """Return what a backup says of its tree.

    :raises CorruptObject: nothing.
    """
    if manifest.tree is None:
        raise CorruptObject(f"backup {manifest.backup_id} has no tree of files")
    return manifest.tree


def fetch_list(deployment: Deployment, manifest: Manifest, to: Path) -> Path:
    """Bring the list of a backup's files, from either region.

    :raises CorruptObject: it has none, or it is damaged in both.
    """
    stored = next((f for f in manifest.files if f.name == keys.FILE_LIST), None)
    if stored is None:
        raise CorruptObject(f"backup {manifest.backup_id} has no list of its files")
    key = keys.backup_prefix(manifest.source, manifest.backup_id) + keys.FILE_LIST
    deployment.vaults.download(key, to, sha256=stored.sha256)
    return to


def in_either_region(
    deployment: Deployment, category: Category, act: Callable[[Repository], T]
) -> Read[T]:
    """Do it with the primary's repository; with the replica's where that one fails.

    :raises VaultUnreachable: neither answers; or what the replica's has to say.
    """
    lost = deployment.vaults.primary_lost
    try:
        if lost is not None:
            raise lost
        return Read(act(deployment.repository(category, read_only=True)), "primary")
    except (VaultUnreachable, VaultError, ConfigurationError) as error:
        if isinstance(error, ConfigurationError) and deployment.config.repository is None:
            raise
        why = error.message.splitlines()[0]
        deployment.progress.step(f"the primary region is passed over: {why}")
        try:
            found = act(deployment.repository(category, "replica"))
        except VaultUnreachable as second:
            raise VaultUnreachable(
                f"neither region can be used: {why}; {second.message.splitlines()[0]}",
                hint="see which of them can be reached from here; trying again can help",
            ) from second
        return Read(found, "replica", f"the replica region was used: {why}")


def days(manifests: Sequence[Manifest], time_zone: str) -> str:
    """Return when backups were begun, for people; the first ones where there are many."""
    told = ", ".join(local(m.started_at, time_zone) for m in manifests[:_NAMED])
    more = len(manifests) - _NAMED
    return f"{told} and {more} more" if more > 0 else told
