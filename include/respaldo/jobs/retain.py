"""Remove from both vaults what the policy no longer keeps.

In each region, the primary first: manifests, then what they sealed; a chain's trim, then its
segments; a chain's own object last; then, of trees, what the repositories held for manifests that
are gone. So whatever a crash leaves is either whole or not listed, and the next run ends it. While
the primary does not answer nothing is removed anywhere: the replica is then the only copy, and what
went there would be copied to it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

from include.respaldo import failpoints
from include.respaldo.errors import RespaldoError, SomeFailed, SourceError, VaultUnreachable
from include.respaldo.jobs.acknowledge import TREES
from include.respaldo.jobs.clean_up import clean_up
from include.respaldo.jobs.decide_retention import decide
from include.respaldo.jobs.discover_trees import spelled
from include.respaldo.jobs.read_catalog import archived_sources, newest_coverage
from include.respaldo.jobs.retention_report import RetentionReport, Tended
from include.respaldo.jobs.tend_repository import tend_repository
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source
from include.respaldo.model.moments import moment_key
from include.respaldo.model.retention import LogVerdict, RetentionPlan, superfluous_coverage
from include.respaldo.ports import Vault

if TYPE_CHECKING:
    from datetime import datetime

    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.model.segment import Covered
    from include.respaldo.vault.mirror import MirroredVault

T = TypeVar("T")

log = logging.getLogger(__name__)

CATEGORIES = (
    Category.TENANT_DATABASES,
    Category.SYSTEM_DATABASE,
    Category.SERVER_GLOBALS,
    *TREES,
)
#: A reader may have listed the trim before the last one and not read it yet
_TRIMS_KEPT = 2


def retain(
    deployment: Deployment, only: Sequence[str] = (), *, dry_run: bool = False
) -> RetentionReport:
    """Remove what the policy no longer keeps, or (`dry_run`) say what would go and why.

    :param only: names (``database`` or ``server/database``); none means everything.
    :raises SourceError: one of `only` has no backup.
    :raises SomeFailed: names the sources of which nothing was removed, with the reason; the others
        are done.
    :raises VaultUnreachable: the primary does not answer.
    """
    regions = Regions(deployment.vaults)
    sources = _sources(deployment, only)
    now = deployment.clock.now()
    coverage: dict[str, dict[str, Covered]] = {}
    plans: list[RetentionPlan] = []
    failures: dict[str, BaseException] = {}
    for number, source in enumerate(sources, 1):
        try:
            if source.server not in coverage:
                coverage[source.server] = newest_coverage(deployment, source.server)
            plan = plan_source(deployment, source, now, regions, coverage[source.server])
            if not dry_run:
                _carry_out(deployment, plan, regions)
            plans.append(plan)
        except RespaldoError as error:
            if isinstance(error, VaultUnreachable):
                raise
            log.warning("nothing of %s is removed: %s", source, error.message)
            failures[_name(source)] = error
        deployment.progress.advance(number, len(sources), "sources")
    repositories = tuple(
        _tend(deployment, category, plans, regions, failures, dry_run=dry_run)
        for category in TREES
        if any(source.category is category for source in sources)
    )
    records = 0
    if not only:
        servers = {s.name for s in deployment.config.servers} | {s.server for s in sources}
        for server in sorted(servers):
            records += _remove_coverage(server, now, regions, dry_run=dry_run)
    notes = list(regions.notes)
    if not dry_run and (left_over := clean_up(deployment).text):
        notes.append(left_over)
    held_back = {name: str(error) for name, error in failures.items()}
    report = RetentionReport(
        dry_run, tuple(plans), records, held_back, tuple(notes), tuple(filter(None, repositories))
    )
    if failures and not dry_run:
        deployment.progress.step(report.text)
        raise SomeFailed("be looked through, so that nothing of theirs was removed", failures)
    return report


def _tend(
    deployment: Deployment,
    category: Category,
    plans: Sequence[RetentionPlan],
    regions: Regions,
    failures: dict[str, BaseException],
    *,
    dry_run: bool,
) -> Tended | None:
    removed = {
        backup.tree.snapshot
        for plan in plans
        if plan.source.category is category
        for backup in plan.removed
        if isinstance(backup, Manifest) and backup.tree is not None
    }
    try:
        return tend_repository(
            deployment, category, removed, with_replica=regions.both, dry_run=dry_run
        )
    except RespaldoError as error:
        log.warning("the repository of %s is left as it is: %s", category.value, error.message)
        failures[f"the repository of {category.value}"] = error
        return None


def plan_source(
    deployment: Deployment,
    source: Source,
    now: datetime,
    regions: Regions,
    coverage: dict[str, Covered],
) -> RetentionPlan:
    """Return what is kept and what goes of one source; changes nothing.

    :raises SourceError: what exists of it is not known for sure, or its newest backup is not whole
        in one of the regions: then nothing may go.
    """
    plan = decide(deployment, source, now, coverage)
    if plan.removes_anything:
        _look_whether_kept_are_whole(plan, regions)
    return plan


class Regions:
    """The vaults that answer, the primary first; one that is lost is left for the next time.

    :ivar notes: sentences for people about those that do not.
    :raises VaultUnreachable: the primary does not answer.
    """

    def __init__(self, vaults: MirroredVault) -> None:
        self.notes: list[str] = []
        self._primary = vaults.primary
        self._answering = [vaults.primary, vaults.replica]
        self._snapshots: dict[tuple[str, Category], dict[str, int]] = {}
        self.each(lambda vault: next(vault.list("backups/"), None))

    @property
    def both(self) -> bool:
        """Whether the replica has answered until now."""
        return len(self._answering) == 2

    def snapshots(self, vault: Vault, category: Category) -> dict[str, int]:
        """Return the repository's snapshots as that vault listed them first: key -> size."""
        place = vault.region, category
        if place not in self._snapshots:
            prefix = keys.repository_prefix(category) + "snapshots/"
            self._snapshots[place] = {o.key: o.size for o in vault.list(prefix)}
        return self._snapshots[place]

    def each(self, act: Callable[[Vault], T]) -> dict[str, T]:
        """Return what `act` returns in each region, by the region's name."""
        results: dict[str, T] = {}
        for vault in tuple(self._answering):
            try:
                results[vault.region] = act(vault)
            except VaultUnreachable as error:
                if vault is self._primary:
                    raise
                self._answering.remove(vault)
                self.notes.append(
                    f"the {vault.region} vault does not answer: what goes there goes the next "
                    f"time ({error.message})"
                )
        return results


def _sources(deployment: Deployment, only: Sequence[str]) -> tuple[Source, ...]:
    found = archived_sources(deployment.vaults, CATEGORIES)
    if not only:
        return found
    wanted = set(only)
    chosen = tuple(
        s
        for s in found
        if s.category is not Category.SERVER_GLOBALS and wanted & {s.name, str(s), _name(s)}
    )
    unknown = wanted.difference(*({s.name, str(s), _name(s)} for s in chosen))
    if unknown:
        raise SourceError(
            f"no backup of: {', '.join(sorted(unknown))}",
            hint="`catalog` lists what the vaults hold",
        )
    return chosen


def _name(source: Source) -> str:
    """Return what messages call a source: trees of several categories may be called the same."""
    return spelled(source) if source.category.is_tree else str(source)


def _look_whether_kept_are_whole(plan: RetentionPlan, regions: Regions) -> None:
    """:raises SourceError: the newest is not whole in one region, or another one in none."""
    prefix = keys.backups_prefix(plan.source)
    is_tree = plan.source.category.is_tree

    def listed_in(vault: Vault) -> dict[str, int]:
        snapshots = regions.snapshots(vault, plan.source.category) if is_tree else {}
        return {o.key: o.size for o in vault.list(prefix)} | snapshots

    listings = regions.each(listed_in)
    for number, verdict in enumerate(plan.kept):
        manifest = verdict.backup
        assert isinstance(manifest, Manifest)
        lacking = [region for region, listed in listings.items() if not _is_whole(manifest, listed)]
        if lacking and (number == 0 or len(lacking) == len(listings)):
            what = "backup" if is_tree else "full backup"
            which = f"newest {what}" if number == 0 else what
            raise SourceError(
                f"its {which} {manifest.backup_id} is not whole in the {lacking[0]} vault",
                hint="the next backup, or the geo-redundancy check, copies what is missing there; "
                "until then nothing goes",
            )


def _is_whole(manifest: Manifest, listed: dict[str, int]) -> bool:
    prefix = keys.backup_prefix(manifest.source, manifest.backup_id)
    if manifest.tree is not None:
        repository = keys.repository_prefix(manifest.source.category)
        if f"{repository}snapshots/{manifest.tree.snapshot}" not in listed:
            return False
    return prefix + keys.MANIFEST in listed and all(
        listed.get(prefix + file.name) == file.size for file in manifest.files
    )


def _carry_out(deployment: Deployment, plan: RetentionPlan, regions: Regions) -> None:
    """Remove in each region what the plan says; it can be done again."""

    def remove(vault: Vault) -> None:
        _remove_backups(vault, plan)
        for chain in plan.logs:
            if chain.goes:
                _remove_log(vault, plan.source, chain)
        failpoints.reach(failpoints.RETAINED_IN_PRIMARY)

    if plan.removes_anything:
        deployment.progress.step(
            f"{plan.source}: removing {len(plan.removed)} backups, {plan.segments} segments"
        )
        regions.each(remove)


def _remove_backups(vault: Vault, plan: RetentionPlan) -> None:
    prefixes = [keys.backup_prefix(plan.source, b.backup_id) for b in plan.removed]
    sealed = [
        stored.key
        for prefix in prefixes
        for stored in vault.list(prefix)
        if stored.key != prefix + keys.MANIFEST
    ]
    vault.delete_all(prefix + keys.MANIFEST for prefix in prefixes)
    failpoints.reach(failpoints.BACKUPS_UNSEALED)
    vault.delete_all(sealed)
    failpoints.reach(failpoints.BACKUPS_REMOVED)


def _remove_log(vault: Vault, source: Source, verdict: LogVerdict) -> None:
    chain_id = verdict.chain.begin.chain_id
    if verdict.trim is not None and not verdict.whole:
        data = verdict.trim.to_bytes()
        key = keys.trimmed_key(source, chain_id, verdict.trim.start)
        vault.put(key, data, sha256=sha256(data).hexdigest())
        failpoints.reach(failpoints.LOG_TRIMMED)
    vault.delete_all(keys.segment_key(source, chain_id, s) for s in verdict.removed)
    failpoints.reach(failpoints.SEGMENTS_REMOVED)
    begin = keys.chain_key(source, chain_id)
    if verdict.whole:
        prefix = keys.chain_prefix(source, chain_id)
        vault.delete_all([o.key for o in vault.list(prefix) if o.key != begin])
        failpoints.reach(failpoints.CHAIN_EMPTIED)
        vault.delete(begin)
    else:
        vault.delete_all(_outdated_trims(vault, source, chain_id))


def _outdated_trims(vault: Vault, source: Source, chain_id: str) -> list[str]:
    trims = [o.key for o in vault.list(keys.trimmed_prefix(source, chain_id))]
    return trims[:-_TRIMS_KEPT]


def _remove_coverage(server: str, now: datetime, regions: Regions, *, dry_run: bool) -> int:
    """Remove the records that nobody reads any more; return how many go in a region, at most."""
    prefix = keys.coverage_prefix(server)

    def remove(vault: Vault) -> int:
        recorded = [
            at for o in vault.list(prefix) if (at := keys.parse_coverage_key(o.key)) is not None
        ]
        outdated = superfluous_coverage(recorded, now)
        if not dry_run:
            vault.delete_all(keys.coverage_key(server, moment_key(at)) for at in outdated)
        return len(outdated)

    return max(regions.each(remove).values(), default=0)
