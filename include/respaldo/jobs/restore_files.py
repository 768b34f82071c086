"""Bring files of a backup back: beside the original, or to a folder of this machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from include.respaldo import failpoints
from include.respaldo.config.trees import HostSource
from include.respaldo.errors import (
    Busy,
    ConfigurationError,
    CorruptObject,
    KeyNotFound,
    RestoreRefused,
)
from include.respaldo.filetree.file_list import read_list
from include.respaldo.filetree.restic import Repository
from include.respaldo.filetree.selection import Selection, suggestions
from include.respaldo.filetree.verification import differences
from include.respaldo.jobs.discover_trees import configured_tree, sealed_before, spelled
from include.respaldo.jobs.restore_finals import finals, free_suffix, items
from include.respaldo.jobs.restore_places import Landed, Site, Step, existing, taken_since
from include.respaldo.jobs.restore_sites import site_of
from include.respaldo.jobs.stored_trees import (
    choose_backup,
    days,
    fetch_list,
    in_either_region,
    tree_in,
)
from include.respaldo.model.backup import Manifest
from include.respaldo.model.file_tree import Entry, Problem, shown
from include.respaldo.model.tree_restore_plan import (
    NAMED,
    Contents,
    TreeRestored,
    TreeRestorePlan,
    TreeRestoreRequest,
    chosen,
)
from include.respaldo.model.units import size_text

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: how many other days are looked through for a path that is not there
_DAYS = 60
#: what is left free of a disk
_MARGIN = 50_000_000


def plan(deployment: Deployment, request: TreeRestoreRequest) -> TreeRestorePlan:
    """Return what would be restored, from where, where to; changes nothing.

    :raises RestoreRefused: it cannot be had, or has no room; the hint is the next step.
    :raises VaultUnreachable: neither region answers.
    """
    source = request.source
    manifest = choose_backup(deployment, source, request.before, request.backup_id)
    tree = tree_in(manifest)
    request = chosen(request, manifest.backup_id)
    zone = deployment.config.time_zone
    with _list(deployment, manifest) as listed:
        selection = _select(deployment, manifest, request, listed)
        found = in_either_region(
            deployment, source.category, lambda r: _look(r, manifest, tree.snapshot)
        )
        with site_of(deployment, source, request.destination) as site:
            suffix = free_suffix(site, request, selection, manifest, zone)
            wanted = finals(site, request, selection, suffix)
            free = site.free()
            _examine_room(deployment, site, selection.contents, free)
            place = site.text
    marks = [f"SUSPICIOUS: {'; '.join(tree.suspicions)}"] if tree.suspicions else []
    if tree.is_partial:
        unread = tree.problem_counts[Problem.UNREADABLE]
        marks.append(f"partial: this backup could not read {unread} entries of its source")
    marks += [found.note] if found.note else []
    return TreeRestorePlan(
        request=replace(request, paths=tuple(map(shown, request.paths))),
        as_of=manifest.started_at,
        time_zone=zone,
        version=tree.version,
        region=found.region,
        contents=selection.contents,
        suffix=suffix,
        place=shown(place),
        items=items(selection, wanted),
        count=max(1, len(selection.items)),
        free=free,
        marks=tuple(marks),
    )


def restore(deployment: Deployment, plan: TreeRestorePlan) -> TreeRestored:
    """Bring it under a temporary name, compare every file with the list, give it its final name.

    Nothing stands under a final name before all of it was compared. The same plan again goes on:
    what was restored already is compared, and stays.

    :raises RestoreRefused: something else took a name since, or there is no room any more.
    :raises CorruptObject: no region has it as the list says.
    :raises RestoreFailed: it did not arrive as it is.
    :raises Busy: the same restore is under way.
    """
    begun = time.monotonic()
    request = plan.request
    manifest = choose_backup(deployment, request.source, None, request.backup_id)
    with (
        _alone(deployment, plan),
        _list(deployment, manifest) as listed,
        site_of(deployment, request.source, request.destination) as site,
    ):
        selection = _select(deployment, manifest, request, listed)
        wanted = finals(site, request, selection, plan.suffix)
        waiting = _waiting(site, selection, listed, wanted)
        if not waiting:
            before = ("it was restored before; every file was compared again",)
            return TreeRestored(plan, plan.region, _since(begun), before)
        _examine_room(deployment, site, selection.contents, site.free())
        staging = site.staging(f".respaldo-restoring-{plan.digest}")
        try:
            tree = staging / "tree"
            read = in_either_region(
                deployment,
                request.source.category,
                lambda r: _bring(deployment, r, manifest, selection, tree),
            )
            failpoints.reach(failpoints.TREE_BROUGHT)
            told = site.publish(
                Landed(
                    tree,
                    [Step(path, tree / path, final) for path, final in waiting],
                    selection.entries(),
                    selection.folders_above(),
                )
            )
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    notes = [read.note, *deployment.vaults.notes, *told]
    return TreeRestored(
        plan,
        read.region,
        _since(begun),
        tuple(dict.fromkeys(n for n in notes if n and n not in plan.marks)),
    )


# -- what ---------------------------------------------------------------------------------------


@contextmanager
def _list(deployment: Deployment, manifest: Manifest) -> Iterator[Path]:
    with TemporaryDirectory(prefix="list-", dir=deployment.scratch()) as folder:
        yield fetch_list(deployment, manifest, Path(folder) / "files.parquet")


def _select(
    deployment: Deployment, manifest: Manifest, request: TreeRestoreRequest, listed: Path
) -> Selection:
    """:raises RestoreRefused: something of it is not in the backup; says where it is."""
    roots = roots_of(deployment, manifest)
    selection = Selection(listed, request.paths, roots)
    if selection.unknown:
        raise _unknown(deployment, manifest, selection.unknown[0], roots, listed)
    whole = selection.contents == Contents(missing=selection.contents.missing)
    if whole and selection.contents.missing:
        raise RestoreRefused(
            "nothing of it is in this backup: it could not be read on that day",
            hint="choose another day; `find-files` shows the days in which it exists",
        )
    return selection


def roots_of(deployment: Deployment, manifest: Manifest) -> list[str]:
    """Return what people may call the root of a source: paths that begin so are understood."""
    found = [tree_in(manifest).root]
    try:
        config = configured_tree(deployment.config, manifest.source)
    except ConfigurationError:
        return found
    if not isinstance(config, HostSource):
        found += [str(place) for place in (config.path, config.bucket) if place is not None]
    return found


def _unknown(
    deployment: Deployment, manifest: Manifest, text: str, roots: Sequence[str], listed: Path
) -> RestoreRefused:
    zone = deployment.config.time_zone
    near = suggestions(listed, text)
    elsewhere: list[Manifest] = []
    for other in list(sealed_before(deployment, manifest.source))[:_DAYS]:
        if other.backup_id != manifest.backup_id:
            with _list(deployment, other) as there:
                if not Selection(there, [text], roots).unknown:
                    elsewhere.append(other)
    steps = [f"it is in the backups of {days(elsewhere, zone)}"] if elsewhere else []
    steps += [f"did you mean {', '.join(near)}?"] if near else []
    return RestoreRefused(
        f"{shown(text)!r} is not in the backup {manifest.backup_id} of {spelled(manifest.source)}",
        hint="; ".join(steps) or "`find-files` looks for a part of its name in all days",
    )


def _look(repository: Repository, manifest: Manifest, snapshot: str) -> None:
    if snapshot not in repository.find([f"backup={manifest.backup_id}"]):
        raise KeyNotFound(
            f"the repository at {repository.location.uri} does not list {snapshot[:8]}",
            hint="run the geo-redundancy check; choose another day meanwhile",
        )


def _bring(
    deployment: Deployment,
    repository: Repository,
    manifest: Manifest,
    selection: Selection,
    tree: Path,
) -> None:
    """Restore to a temporary place, and compare with the list.

    :raises CorruptObject: it is not what the list says.
    """
    stored = tree_in(manifest)
    shutil.rmtree(tree, ignore_errors=True)
    repository.restore(
        stored.snapshot,
        stored.root,
        [item.path for item in selection.items],
        tree,
        deployment.progress,
        entries=selection.entries(),
    )
    deployment.progress.step("comparing every file with the list of the backup")
    found = differences(selection.entries(), tree, owners=os.geteuid() == 0, limit=NAMED)
    if found:
        raise CorruptObject(
            f"backup {manifest.backup_id} is not what its list says: {'; '.join(found[:5])}",
            hint="run the geo-redundancy check; choose another day meanwhile",
        )


# -- where to -----------------------------------------------------------------------------------


def _waiting(
    site: Site, selection: Selection, listed: Path, wanted: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return what has not got its final name yet.

    :raises RestoreRefused: something else has it.
    """
    taken = set(site.taken([final for _, final in wanted]))
    for path, final in wanted:
        if final in taken and not site.may_be(final, _rebased(selection, listed, path)):
            raise taken_since([final])
    return [(path, final) for path, final in wanted if final not in taken or site.goes_on]


def _rebased(selection: Selection, listed: Path, path: str) -> Iterator[Entry]:
    """Yield the entries of one thing, relative to itself."""
    if not path:
        yield from selection.entries()
        return
    for entry in read_list(listed, below=path):
        yield replace(entry, path=entry.path.removeprefix(path).removeprefix("/"))


def _examine_room(
    deployment: Deployment,
    site: Site,
    contents: Contents,
    free: int | None,
) -> None:
    """:raises RestoreRefused: a disk is too small."""
    rooms = [(site.text, free)]
    if not site.is_local:  # it lands here before it travels
        scratch = deployment.scratch()
        rooms.append((f"this machine, {scratch}", shutil.disk_usage(existing(scratch)).free))
    for where, room in rooms:
        if room is not None and room < contents.size + _MARGIN:
            raise RestoreRefused(
                f"not enough space at {shown(where)}: {size_text(contents.size)} to restore, "
                f"{size_text(room)} free",
                hint="make room there, or choose a folder of a larger disk, or fewer files",
            )


@contextmanager
def _alone(deployment: Deployment, plan: TreeRestorePlan) -> Iterator[None]:
    """Let one process at a time carry out a plan."""
    place = deployment.landing_zone.path("restores", f"{plan.digest}.lock")
    descriptor = os.open(place, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"the same restore of {plan.request.source} is under way",
                hint="wait until it has ended",
            ) from None
        yield
    finally:
        os.close(descriptor)


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)
