"""What the commands say of applications, files and server configuration."""

from __future__ import annotations

from include.respaldo.cli.screen import show
from include.respaldo.errors import ConfigurationError
from include.respaldo.jobs.acknowledge import TREES, held_by
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.discover_trees import (
    DiscoveredTree,
    configured_trees,
    discover_trees,
    spelled,
)
from include.respaldo.jobs.plan_restore import moment_text
from include.respaldo.model.backup import Manifest
from include.respaldo.model.catalog import DatabaseCatalog
from include.respaldo.model.file_tree import Problem
from include.respaldo.model.moments import iso
from include.respaldo.model.units import size_text


def discovered(deployment: Deployment) -> list[DiscoveredTree]:
    """Return the trees that the configuration names, of all categories."""
    return [
        tree
        for category in TREES
        if configured_trees(deployment.config, category)
        for tree in discover_trees(deployment, category)
    ]


def show_catalog(deployment: Deployment, catalog: DatabaseCatalog, *, as_json: bool) -> int:
    """Show the backups of a tree: what each holds, and how it differs from the one before."""
    zone = deployment.config.time_zone
    suspicious = {b.backup_id for b in held_by(deployment, catalog.source, catalog.backups)}
    notes = [*catalog.notes, *deployment.vaults.notes]
    lines = [f"{spelled(catalog.source)}: {len(catalog.backups)} backups"]
    data = []
    for backup in catalog.backups:
        tree = backup.tree
        if tree is None:
            continue
        since = tree.changes.text if tree.changes.since else "the first one"
        version = f"  version {tree.version}" if tree.version else ""
        lines.append(
            f"  {backup.backup_id}  {moment_text(backup.started_at, zone)}{version}  "
            f"{tree.files:,} files, {size_text(tree.size)}, {size_text(tree.stored)} new  ({since})"
        )
        lines += [f"      {mark}" for mark in marks(backup, held=backup.backup_id in suspicious)]
        data.append({
            "backup_id": backup.backup_id,
            "at": iso(backup.started_at),
            "held": backup.backup_id in suspicious,
            **tree.to_json(),
        })
    lines += [f"  note: {note}" for note in notes]
    found = {
        "source": str(catalog.source),
        "category": catalog.source.category.value,
        "backups": data,
        "notes": notes,
    }
    show("\n".join(lines), found, as_json=as_json)
    return 0


def show_window(deployment: Deployment, catalog: DatabaseCatalog, *, as_json: bool) -> int:
    """Show the days that a tree can be restored to: a point for each backup."""
    zone = deployment.config.time_zone
    backups = [b for b in catalog.backups if b.tree is not None]
    notes = [*catalog.notes, *deployment.vaults.notes]
    lines = [f"{spelled(catalog.source)} can be restored as it was at:"]
    if not backups:
        lines = [f"{spelled(catalog.source)} cannot be restored: no backup is in the vaults"]
    for backup in backups:
        said = "; ".join(marks(backup, held=False))
        lines.append(
            f"  {moment_text(backup.started_at, zone)}  ({backup.backup_id})"
            + (f"  {said}" if said else "")
        )
    lines += [f"  note: {note}" for note in notes]
    data = {
        "source": str(catalog.source),
        "category": catalog.source.category.value,
        "points": [
            {
                "backup_id": b.backup_id,
                "at": iso(b.started_at),
                "version": b.tree.version,
                "partial": b.tree.is_partial,
                "suspicious": bool(b.tree.suspicions),
            }
            for b in backups
            if b.tree is not None
        ],
        "notes": notes,
    }
    show("\n".join(lines), data, as_json=as_json)
    return 0


def marks(backup: Manifest, *, held: bool) -> list[str]:
    """Return what a person must know of a backup before using it.

    :param held: it is suspicious, and nobody has acknowledged it.
    """
    tree = backup.tree
    if tree is None:
        raise ConfigurationError(f"{backup.source} is no tree")
    found = []
    if tree.suspicions:
        step = f": `acknowledge {spelled(backup.source)} {backup.backup_id} --by NAME`"
        found.append(f"SUSPICIOUS: {'; '.join(tree.suspicions)}{step if held else ''}")
    unread = tree.problem_counts.get(Problem.UNREADABLE, 0)
    if unread:
        found.append(f"partial: {unread} entries could not be read")
    return found
