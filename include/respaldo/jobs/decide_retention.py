"""What the policy keeps of a source, and what goes: decided from what both vaults hold."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from include.respaldo.errors import SourceError
from include.respaldo.jobs.acknowledge import held_by
from include.respaldo.jobs.read_catalog import read_catalog
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.retention import Policy, RetentionPlan, plan_retention

if TYPE_CHECKING:
    from datetime import datetime

    from include.respaldo.config import Config
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.model.segment import Covered


def decide(
    deployment: Deployment, source: Source, now: datetime, coverage: dict[str, Covered]
) -> RetentionPlan:
    """Return what is kept and what goes of one source; changes nothing.

    :raises SourceError: what exists of it is not known for sure.
    :raises VaultUnreachable: neither region answers.
    """
    catalog = read_catalog(deployment, source, coverage)
    if catalog.notes:
        raise SourceError(
            f"not all that exists of it could be read: {'; '.join(catalog.notes)}",
            hint="see what damaged it; once that is healed or removed by hand, the rest can go",
        )
    suspicious = held_by(deployment, source, catalog.backups)
    return plan_retention(
        source,
        catalog.backups,
        policy_of(deployment.config, source.category),
        now,
        deployment.config.zone,
        chains=catalog.chains,
        unacknowledged=[b.backup_id for b in suspicious],
    )


def policy_of(config: Config, category: Category) -> Policy:
    """Return what the configuration says of a category.

    Applications: the latest few, whatever their age. Files and server configuration: those of the
    calendar. Databases: those of the calendar, and what the recovery window needs.
    """
    kept = config.retention
    if category is Category.APPLICATIONS:
        return Policy(0, 0, 0, latest=kept.applications)
    window = None if category.is_tree else timedelta(days=kept.query_log_days)
    return Policy(kept.daily, kept.weekly, kept.monthly, window=window)
