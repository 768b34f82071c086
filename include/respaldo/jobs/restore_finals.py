"""The final names of what is restored: of its day, beside the originals, and free."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from include.respaldo.errors import RestoreRefused
from include.respaldo.filetree.selection import Selection
from include.respaldo.jobs.restore_places import Site
from include.respaldo.model.backup import Manifest
from include.respaldo.model.file_tree import Kind, shown
from include.respaldo.model.restored_names import restored_name, suffixes
from include.respaldo.model.tree_restore_plan import (
    NAMED,
    Place,
    RestoredItem,
    TreeRestoreRequest,
)


def finals(
    site: Site, request: TreeRestoreRequest, selection: Selection, suffix: str
) -> list[tuple[str, str]]:
    """Return what gets which final name; "" is all that is wanted, as one tree."""
    above, _, base = site.root.rpartition("/")
    destination, items = request.destination, selection.items
    if destination.place is Place.FOLDER and len(items) == 1:
        path, kind = items[0].path, items[0].kind
        own = restored_name(posixpath.basename(path), suffix, is_file=kind is Kind.FILE)
        return [(path, f"{above}/{own}")]
    if destination.place is Place.FOLDER or selection.is_everything:
        if above == "s3:/":  # a whole bucket has nothing beside it
            above, base = site.root, ""
        return [("", f"{above}/{destination.name or restored_name(base, suffix, is_file=False)}")]
    root = site.root.rstrip("/")
    return [
        (
            item.path,
            posixpath.join(
                root,
                posixpath.dirname(item.path),
                restored_name(
                    posixpath.basename(item.path), suffix, is_file=item.kind is Kind.FILE
                ),
            ),
        )
        for item in items
    ]


def free_suffix(
    site: Site,
    request: TreeRestoreRequest,
    selection: Selection,
    manifest: Manifest,
    zone: str,
) -> str:
    """Return the first suffix with which every name is free.

    A download needs none, nor does a whole tree where there is none any more: the host is new.
    """
    if request.destination.place is Place.FOLDER:
        own_name = len(selection.items) == 1
    else:
        own_name = selection.is_everything
    tried = [""] if own_name else []
    for suffix in [*tried, *_first(suffixes(manifest.started_at, zone), 50)]:
        names = [final for _, final in finals(site, request, selection, suffix)]
        taken = site.taken(names)
        if not taken:
            return suffix
        if request.destination.name:
            break
    raise RestoreRefused(
        f"there is something at {shown(taken[0])} already", hint="choose another name or folder"
    )


def _first(names: Iterator[str], count: int) -> list[str]:
    return [name for name, _ in zip(names, range(count), strict=False)]


def items(selection: Selection, wanted: Sequence[tuple[str, str]]) -> tuple[RestoredItem, ...]:
    if wanted and wanted[0][0] == "" and not selection.is_everything:
        top = wanted[0][1]
        wanted = [(item.path, f"{top}/{item.path}") for item in selection.items[:NAMED]]
    return tuple(RestoredItem(shown(path), shown(final)) for path, final in wanted[:NAMED])
