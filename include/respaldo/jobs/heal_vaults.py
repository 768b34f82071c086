"""Give a region what it lacks, or has damaged, from the other one.

Data before what speaks of it, so that a region never lists as whole what is not (`Stage`): after an
object that could not be healed, what needs it is left for the next time.

A vault is write-once, so a damaged object is replaced in the one safe way: the other region's copy
is read to its end and has the promised digest; the damaged one is deleted; the copy is made, and
checked once more as it is made. Stopped in between the object is missing, and the next check copies
it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from include.respaldo import failpoints
from include.respaldo.errors import (
    CorruptObject,
    KeyNotFound,
    RespaldoError,
    SourceError,
    VaultUnreachable,
)
from include.respaldo.jobs.compare_vaults import digest_of
from include.respaldo.jobs.survey_vaults import Fault, Survey
from include.respaldo.model.redundancy import Stage, group_of, is_sealed, stage_of
from include.respaldo.model.sealed import unseal
from include.respaldo.ports import Vault

if TYPE_CHECKING:
    from include.respaldo.ports import Progress
    from include.respaldo.vault.mirror import MirroredVault

log = logging.getLogger(__name__)

#: each may hold a few parts of a big object in memory
_AT_ONCE = 4
#: what is whole or nothing; of a query log what is there counts, and a gap is seen
_UNITS = ("backups/", "restic/")


@dataclass
class Healing:
    """What came of it."""

    healed: list[Fault] = field(default_factory=list)
    #: retention has removed them meanwhile
    gone: list[Fault] = field(default_factory=list)
    failed: dict[Fault, RespaldoError] = field(default_factory=dict)


def heal_vaults(vaults: MirroredVault, found: Survey, progress: Progress) -> Healing:
    """Heal what can be healed; it can be done again, and stopped at any time."""
    healer = _Healer(vaults, progress, found.hopeless)
    return healer.heal(sorted(found.faults, key=lambda f: (f.stage, f.key)))


class _Healer:
    def __init__(self, vaults: MirroredVault, progress: Progress, hopeless: Iterable[str]) -> None:
        self._vaults = vaults
        self._progress = progress
        self._done = Healing()
        self._down: VaultUnreachable | None = None
        #: (region, prefix) -> the first stage of which something could not be healed there
        self._broken: dict[tuple[str, str], Stage] = {}
        for key in hopeless:
            for vault in (vaults.primary, vaults.replica):
                self._breaks(vault.region, key)

    def heal(self, faults: list[Fault]) -> Healing:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="heal") as pool:
            for _, stage in groupby(faults, key=lambda fault: fault.stage):
                some = list(stage)
                errors = list(pool.map(self._try, some))
                for fault, error in zip(some, errors, strict=True):
                    self._record(fault, error)
                self._progress.advance(faults.index(some[-1]) + 1, len(faults), "objects")
        return self._done

    def _record(self, fault: Fault, error: RespaldoError | None) -> None:
        if error is None:
            self._done.healed.append(fault)
        elif isinstance(error, KeyNotFound):
            self._done.gone.append(fault)
        else:
            log.warning("%s in the %s vault: %s", fault.key, fault.region, error.message)
            self._done.failed[fault] = error
        if error is not None:
            self._breaks(fault.region, fault.key)

    def _breaks(self, region: str, key: str) -> None:
        stage = stage_of(key)
        if key.startswith(_UNITS) and stage is not None:
            place = region, group_of(key)
            self._broken[place] = min(stage, self._broken.get(place, stage))

    def _waits(self, fault: Fault) -> str:
        """Return the prefix of what must be whole there before, and is not; or ""."""
        for prefix in filter(None, (group_of(fault.key), fault.needs)):
            broken = self._broken.get((fault.region, prefix), fault.stage)
            if fault.missing and broken < fault.stage:
                return prefix
        return ""

    def _try(self, fault: Fault) -> RespaldoError | None:
        if self._down is not None:
            return self._down
        try:
            self._heal(fault)
        except VaultUnreachable as error:
            self._down = error
            return error
        except RespaldoError as error:
            return error
        return None

    def _heal(self, fault: Fault) -> None:
        vaults = self._vaults
        lags = vaults.primary if fault.region == vaults.primary.region else vaults.replica
        whole = vaults.replica if lags is vaults.primary else vaults.primary
        prefix = self._waits(fault)
        if prefix and whole.find(fault.key) is not None:
            raise SourceError(
                f"what it needs could not be healed in the {fault.region} vault: {prefix}",
                hint="it follows once that is healed",
            )
        sha256 = fault.sha256
        if not fault.missing or not sha256:
            sha256 = _verified_digest(whole, fault)
        if not fault.missing:
            lags.delete(fault.key)
            failpoints.reach(failpoints.DAMAGED_REMOVED)
        lags.copy_from(whole, fault.key, sha256=sha256)
        failpoints.reach(failpoints.OBJECT_HEALED)


def _verified_digest(whole: Vault, fault: Fault) -> str:
    """Return the digest of the whole copy, read to its end and proven.

    restic's ``config`` proves nothing of itself and is only ever copied to where it is missing:
    what is read must be what the store has recorded.

    :raises CorruptObject: it is not what was promised.
    """
    what = f"{fault.key!r} in the {whole.region} vault ({whole.uri})"
    if fault.sha256:
        found = digest_of(whole, fault.key)
        if found != fault.sha256:
            raise CorruptObject(
                f"{what}: expected SHA-256 {fault.sha256}, found {found}",
                hint="neither region has it whole: use another backup",
            )
        return found
    data = whole.read(fault.key)
    if is_sealed(fault.key):
        try:
            unseal(data)
        except ValueError as error:
            raise CorruptObject(
                f"{what} is damaged: {error}", hint="neither region has it whole"
            ) from error
    else:
        recorded = whole.recorded(fault.key).md5
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if recorded and recorded != found:
            raise CorruptObject(f"{what}: the store's record is {recorded}, its bytes {found}")
    return hashlib.sha256(data).hexdigest()
