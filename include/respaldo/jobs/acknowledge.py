"""Say that a person has looked at a suspicious backup: retention goes on from then on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from include.respaldo.errors import (
    ConfigurationError,
    KeyNotFound,
    SourceError,
    VaultError,
    VaultUnreachable,
)
from include.respaldo.jobs.read_catalog import archived_sources
from include.respaldo.model import keys
from include.respaldo.model.acknowledgement import (
    Acknowledgement,
    is_suspicious,
    unacknowledged,
)
from include.respaldo.model.backup import Category, Manifest, Source, parse_backup_id

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.vault.mirror import MirroredVault

log = logging.getLogger(__name__)

TREES = tuple(category for category in Category if category.is_tree)


@dataclass(frozen=True)
class Acknowledged:
    """What came of it."""

    source: Source
    acknowledgement: Acknowledgement
    #: somebody did it before
    already: bool = False
    #: for people; "" where there is nothing to say
    note: str = ""

    @property
    def text(self) -> str:
        """For people."""
        found = self.acknowledgement
        said = f" ({found.note})" if found.note else ""
        when = f"{found.at:%Y-%m-%d %H:%M} UTC by {found.by}{said}"
        lines = [
            f"{self.source} {found.backup_id}: already acknowledged {when}"
            if self.already
            else f"{self.source} {found.backup_id}: acknowledged {when}; retention goes on"
        ]
        return "\n".join(lines + [f"note: {self.note}"] * bool(self.note))


def acknowledge(
    deployment: Deployment, source: Source, backup_id: str, *, by: str, note: str = ""
) -> Acknowledged:
    """Write in both vaults who has looked at a suspicious backup; what was written before stays.

    A replica that does not answer gets it by the geo-redundancy check.

    :raises SourceError: there is no such backup, or nothing is suspicious about it.
    :raises ConfigurationError: nobody is named.
    :raises VaultUnreachable: the primary does not answer.
    """
    if not by.strip():
        raise ConfigurationError("nobody is named", hint="say who has looked at it: --by NAME")
    manifest = _find(deployment, source, backup_id)
    if not is_suspicious(manifest):
        raise SourceError(
            f"nothing is suspicious about the backup {backup_id} of {source}",
            hint="`catalog` marks those that are",
        )
    vaults, key = deployment.vaults, keys.acknowledged_key(source, backup_id)
    already = _read(vaults, key)
    made = already or Acknowledgement(backup_id, by.strip(), deployment.clock.now(), note.strip())
    data = made.to_bytes()
    digest = sha256(data).hexdigest()
    vaults.primary.put(key, data, sha256=digest)
    told = ""
    try:
        vaults.replica.put(key, data, sha256=digest)
    except (VaultUnreachable, VaultError) as error:
        told = f"the replica vault gets it by the geo-redundancy check: {error.message}"
    return Acknowledged(source, made, already is not None, told)


def suspicious_backups(
    deployment: Deployment, sources: Iterable[Source] | None = None
) -> tuple[Manifest, ...]:
    """Return the suspicious backups that nobody has acknowledged, oldest first.

    :param sources: None: all trees that have a backup.
    """
    found: list[Manifest] = []
    for source in archived_sources(deployment.vaults, TREES) if sources is None else sources:
        backups: list[Manifest] = []
        for stored in deployment.vaults.list_either(keys.backups_prefix(source)):
            if stored.key.endswith("/" + keys.MANIFEST):
                try:
                    backups.append(deployment.vaults.read_verified(stored.key, Manifest.from_bytes))
                except VaultError as error:
                    log.warning("%s cannot be read: %s", stored.key, error.message)
        found += held_by(deployment, source, backups)
    return tuple(sorted(found, key=lambda b: b.backup_id))


def held_by(
    deployment: Deployment, source: Source, backups: Iterable[Manifest]
) -> tuple[Manifest, ...]:
    """Return those of a source's backups that are suspicious and not acknowledged.

    An acknowledgement that cannot be read counts as none.

    :raises VaultUnreachable: neither region answers.
    """
    suspects = [b for b in backups if is_suspicious(b)]
    looked_at = {
        b.backup_id
        for b in suspects
        if _read(deployment.vaults, keys.acknowledged_key(source, b.backup_id)) is not None
    }
    return unacknowledged(suspects, looked_at)


def tree_source(vaults: MirroredVault, name: str) -> Source:
    """Return the tree that has backups and that a person means by its name.

    :param name: ``name``, ``server/name`` or ``category/server/name``.
    :raises SourceError: nothing, or more than one, is called so.
    """
    known = archived_sources(vaults, TREES)
    matches = [s for s in known if name in {s.name, str(s), f"{s.category.value}/{s}"}]
    if len(matches) == 1:
        return matches[0]
    spelled = ", ".join(f"{s.category.value}/{s}" for s in (matches or known)[:20])
    if matches:
        raise SourceError(f"more than one source is called {name!r}", hint=f"say which: {spelled}")
    raise SourceError(
        f"no application, files or server configuration {name!r} is in the vaults",
        hint=f"known: {spelled or 'none'}",
    )


def _find(deployment: Deployment, source: Source, backup_id: str) -> Manifest:
    missing = SourceError(
        f"{source} has no backup {backup_id!r}", hint="`catalog` lists those that there are"
    )
    if parse_backup_id(backup_id) is None:
        raise missing
    try:
        return deployment.vaults.read_verified(
            keys.manifest_key(source, backup_id), Manifest.from_bytes
        )
    except KeyNotFound:
        raise missing from None


def _read(vaults: MirroredVault, key: str) -> Acknowledgement | None:
    """Return what one of the regions that answer holds whole.

    :raises VaultUnreachable: neither answers.
    """
    lost: list[VaultUnreachable] = []
    for vault in (vaults.primary, vaults.replica):
        try:
            return Acknowledgement.from_bytes(vault.read(key))
        except KeyNotFound:
            continue
        except VaultUnreachable as error:
            lost.append(error)
        except (ValueError, VaultError) as error:
            log.warning("%s cannot be used in the %s vault: %s", key, vault.region, error)
    if len(lost) == 2:
        raise lost[0]
    return None
