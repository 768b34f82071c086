"""Compare the two regions object by object, and heal the one that lags, in either direction."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from include.respaldo.errors import Busy, RespaldoError, VaultUnreachable
from include.respaldo.jobs.heal_vaults import Healing, heal_vaults
from include.respaldo.jobs.redundancy_report import RedundancyReport
from include.respaldo.jobs.survey_vaults import survey_vaults
from include.respaldo.jobs.tend_repository import repository_is_whole
from include.respaldo.model.backup import Category

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment


def check_redundancy(deployment: Deployment, *, dry_run: bool = False) -> RedundancyReport:
    """Compare both vaults by listings and the stores' checksums, and heal what differs.

    What retention removes just now, and what is younger than `redundancy.settle`, is no fault.
    Can be repeated, and stopped at any time.

    :param dry_run: only say what would be healed.
    :raises VaultUnreachable: a region does not answer: then nothing can be compared.
    """
    begun = time.monotonic()
    settled = deployment.clock.now() - deployment.config.redundancy.settle
    notes: list[str] = []

    def primary_is_whole(category: Category) -> bool:
        try:
            return repository_is_whole(deployment, category)
        except VaultUnreachable:
            raise
        except RespaldoError as error:
            notes.append(f"the repository of {category.value} was not checked: {error.message}")
            # held by a backup or by retention: it is looked at again the next time
            return isinstance(error, Busy)

    deployment.progress.step("comparing the two vaults")
    found = survey_vaults(deployment, settled, primary_is_whole)
    done = Healing()
    if not dry_run and found.faults:
        deployment.progress.step(f"healing {len(found.faults):,} objects")
        done = heal_vaults(deployment.vaults, found, deployment.progress)
        found.going += len(done.gone)
    return RedundancyReport(
        dry_run,
        found,
        time.monotonic() - begun,
        tuple(done.healed),
        done.failed,
        tuple(notes),
    )
