"""Remove what interrupted backups left behind: never anything that is, or can become, a backup."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from include.respaldo.errors import RespaldoError
from include.respaldo.jobs.deployment import RESTIC_CACHE
from include.respaldo.model import keys
from include.respaldo.model.backup import parse_backup_id
from include.respaldo.ports import Vault

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)

#: younger leftovers may belong to a run that is still being retried
_LEFT_ALONE = timedelta(days=2)
#: folders of the scratch folder that hold one folder for each piece of work
_SCRATCH_PARTS = ("footers", "browse")


@dataclass(frozen=True)
class CleanedUp:
    """What was removed."""

    uploads: int
    objects: int
    landings: int
    #: folders of work that was interrupted, on this machine
    scratch: int = 0

    @property
    def text(self) -> str:
        """One line for people; empty where there was nothing."""
        if not (self.uploads or self.objects or self.landings or self.scratch):
            return ""
        return (
            f"cleaned up: {self.uploads} interrupted uploads, {self.objects} objects of backups "
            f"that were never sealed, {self.landings} forgotten landings, {self.scratch} folders "
            "of interrupted work"
        )


def clean_up(deployment: Deployment) -> CleanedUp:
    """Remove uploads, unsealed backups and landings that were begun two days ago or earlier.

    A region that does not answer is left for the next time.
    """
    before = deployment.clock.now() - _LEFT_ALONE
    uploads = objects = 0
    regions = (deployment.vaults.primary, deployment.vaults.replica)
    for vault in regions:
        try:
            uploads += vault.abort_incomplete(_LEFT_ALONE)
        except RespaldoError as error:
            log.warning("not cleaned up in %s: %s", vault.uri, error.message)
    try:
        objects = _remove_unsealed(regions, before)
    except RespaldoError as error:
        log.warning("unsealed backups are left: %s", error.message)
    landings = _remove_landings(deployment, before)
    return CleanedUp(uploads, objects, landings, _remove_scratch(deployment, before))


def _remove_unsealed(regions: tuple[Vault, Vault], before: datetime) -> int:
    """Remove objects of backups whose manifest is in neither region.

    Both regions are listed first: one that is sealed in the other can still be copied.
    """
    listings = [[o.key for o in vault.list("backups/")] for vault in regions]
    sealed = {
        parsed[:2]
        for listing in listings
        for key in listing
        if (parsed := keys.parse_backup_key(key)) is not None and parsed[2] == keys.MANIFEST
    }
    removed = 0
    for vault, listing in zip(regions, listings, strict=True):
        for key in listing:
            parsed = keys.parse_backup_key(key)
            if parsed is None or parsed[:2] in sealed:
                continue
            begun = parse_backup_id(parsed[1])
            if begun is not None and begun < before:
                vault.delete(key)
                removed += 1
    return removed


def _remove_landings(deployment: Deployment, before: datetime) -> int:
    removed = 0
    for folder in deployment.landing_zone.root.glob("*/*"):
        begun = parse_backup_id(folder.name)
        if begun is not None and begun < before and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _remove_scratch(deployment: Deployment, before: datetime) -> int:
    """Remove what was killed while it worked on this machine: it could not clear up itself."""
    removed = 0
    for folder in (deployment.scratch(), *map(deployment.scratch, _SCRATCH_PARTS)):
        for path in folder.iterdir():
            if (
                path.name not in (*_SCRATCH_PARTS, RESTIC_CACHE)
                and path.stat().st_mtime < before.timestamp()
            ):
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
    return removed
