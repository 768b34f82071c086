"""Bring a version of an application back beside the running one, which goes on running.

What takes its place is another, explicit step: `switch_application`.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from include.respaldo.errors import RestoreRefused
from include.respaldo.jobs import restore_files
from include.respaldo.jobs.application_folders import application_called
from include.respaldo.jobs.discover_trees import configured_trees, sealed_before, spelled
from include.respaldo.jobs.read_catalog import archived_sources
from include.respaldo.jobs.restore_sites import site_of
from include.respaldo.jobs.stored_trees import choose_backup, tree_in
from include.respaldo.model.application_names import fits, restored_names
from include.respaldo.model.backup import Category, Manifest, Source
from include.respaldo.model.file_tree import shown
from include.respaldo.model.tree_restore_plan import (
    Destination,
    TreeRestored,
    TreeRestorePlan,
    TreeRestoreRequest,
    local,
)

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.jobs.restore_places import Site

#: how many versions a message names
_NAMED = 10
_LOST = "nothing runs there: the switch has to be told that the running one is lost"


@dataclass(frozen=True)
class ApplicationRequest:
    """Which version of an application is wanted."""

    application: Source
    #: as it was announced, or the number in it; "": any
    version: str = ""
    #: the last backup begun before this is taken; None: the newest
    before: datetime | None = None
    #: which backup; "": `version` and `before` decide
    backup_id: str = ""
    reason: str = ""


def find_application(deployment: Deployment, name: str) -> Source:
    """Return the application that a person means: configured, or in a vault.

    :raises RestoreRefused: none, or more than one, is called so.
    """
    category = Category.APPLICATIONS
    configured = configured_trees(deployment.config, category)
    archived = archived_sources(deployment.vaults, (category,))
    return application_called(name, sorted({*configured, *archived}))


def plan(deployment: Deployment, request: ApplicationRequest) -> TreeRestorePlan:
    """Return which backup would be restored, and what it would be called; changes nothing.

    :raises RestoreRefused: it cannot be had; names the versions and days that can.
    :raises VaultUnreachable: neither region answers.
    """
    source = request.application
    manifest = _choose(deployment, request)
    version = tree_in(manifest).version
    with site_of(deployment, source, Destination()) as site:
        name = _free_name(deployment, site, manifest, version)
        is_lost = not site.taken([site.root])
    planned = restore_files.plan(
        deployment,
        TreeRestoreRequest(
            source,
            backup_id=manifest.backup_id,
            destination=Destination(name=name),
            reason=request.reason,
        ),
    )
    return replace(planned, marks=(*planned.marks, _LOST)) if is_lost else planned


def restore(deployment: Deployment, plan: TreeRestorePlan) -> TreeRestored:
    """Bring it beside the running one, every file compared; see `restore_files.restore`."""
    return restore_files.restore(deployment, plan)


def text_of(planned: TreeRestorePlan, restored: TreeRestored | None = None) -> str:
    """Return the plan, or the report where there is one, for people; ends with how to switch."""
    application, name = str(planned.request.source), planned.request.destination.name
    lost = ["--lost"] if _LOST in planned.marks else []
    command = shlex.join(["switch-application", *lost, application, name])
    box = ", *the running one is lost*" if lost else ""
    return "\n".join([
        (restored or planned).text,
        "",
        f"**It does not run {'yet' if restored else 'by that'}.** To let it take the place of the "
        "running one, which then stays beside it:",
        f"- trigger `switch_application`: application `{shown(application)}`, version "
        f"`{shown(name)}`{box}",
        f"- or `python -m include.respaldo {shown(command)}` (first with `--dry-run`)",
    ])


def _choose(deployment: Deployment, request: ApplicationRequest) -> Manifest:
    """:raises RestoreRefused: no backup is of that version and day; names those there are."""
    source, wanted = request.application, request.version.strip()
    if request.backup_id or not wanted:
        manifest = choose_backup(deployment, source, request.before, request.backup_id)
        found = tree_in(manifest).version
        if wanted and not (found == wanted or fits(wanted, found)):
            raise RestoreRefused(
                f"backup {manifest.backup_id} of {spelled(source)} is of version "
                f"{found or 'unknown'}, not {wanted}",
                hint="name the version or the backup, not both",
            )
        return manifest
    known = [m for m in sealed_before(deployment, source) if m.tree is not None]
    if not known:
        choose_backup(deployment, source, None)  # says what there is
    of_day = [m for m in known if request.before is None or m.started_at < request.before]
    matches = [m for m in of_day if tree_in(m).version == wanted]
    matches = matches or [m for m in of_day if fits(wanted, tree_in(m).version)]
    announced = list(dict.fromkeys(tree_in(m).version for m in matches))
    if len(announced) > 1:
        raise RestoreRefused(
            f"more than one version of {spelled(source)} fits {wanted!r}",
            hint=f"say which: {'; '.join(announced[:_NAMED])}",
        )
    if not matches:
        zone = deployment.config.time_zone
        until = f" begun before {local(request.before, zone)}" if request.before else ""
        raise RestoreRefused(
            f"no backup of {spelled(source)}{until} is of version {wanted!r}",
            hint=f"there are: {_versions(known, zone)}",
        )
    return matches[0]


def _versions(known: Sequence[Manifest], zone: str) -> str:
    """Return the versions and their days, the newest first: ``1.5.0 (2026-11-20 to …)``."""
    days: dict[str, list[str]] = {}
    for manifest in known:
        day = local(manifest.started_at, zone).partition(" ")[0]
        days.setdefault(tree_in(manifest).version or "without a version", []).append(day)
    told = [
        f"{version} ({on[-1]} to {on[0]})" if on[0] != on[-1] else f"{version} ({on[0]})"
        for version, on in days.items()
    ]
    more = f"; and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return "; ".join(told[:_NAMED]) + more


def _free_name(deployment: Deployment, site: Site, manifest: Manifest, version: str) -> str:
    above, base = posixpath.split(site.root)
    names: Iterator[str] = restored_names(
        base, version, manifest.started_at, deployment.config.time_zone
    )
    return next(name for name in names if not site.taken([posixpath.join(above, name)]))
