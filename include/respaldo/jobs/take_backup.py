"""Take backups: which sources, in which batches, and what is sealed in the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from include.respaldo.errors import RespaldoError, SomeFailed, SourceError
from include.respaldo.jobs.backup_report import alarms, report
from include.respaldo.jobs.backup_steps import (
    STEPS,
    StepReport,
    checksum,
    copy,
    dump,
    upload,
)
from include.respaldo.jobs.discover import discover, discover_server
from include.respaldo.jobs.discover_trees import discover_trees
from include.respaldo.model.backup import Category, Source, backup_id
from include.respaldo.model.batches import Batch, pack

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

__all__ = [
    "StepReport",
    "alarms",
    "backup_of",
    "checksum",
    "copy",
    "dump",
    "plan_batches",
    "report",
    "take_backup",
    "unanswered",
    "upload",
]


def plan_batches(
    deployment: Deployment, category: Category, run_id: str, only: Sequence[str] = ()
) -> tuple[Batch, ...]:
    """Discover the sources of a category and pack them into batches.

    Trees are packed by the size of their last backup. Each server's globals (roles) come along. A
    server that does not answer only has no batch here: `unanswered` names it.

    :param run_id: the backup id; the same for every attempt of a run.
    :param only: names (``database`` or ``server/database``) to back up; none means all.
    :raises SourceError: one of `only` is not there.
    :raises SomeFailed: no server answered.
    :raises ConfigurationError: no tree of the category is configured.
    """
    if category.is_tree:
        trees = discover_trees(deployment, category, only)
        return _packed(deployment, run_id, [(tree.source, tree.size) for tree in trees])
    found = discover(deployment, frozenset({category}))
    for server, error in found.problems.items():
        deployment.progress.step(f"server {server}: {error}")
    databases = list(found.databases)
    if only:
        wanted = set(only)
        databases = [d for d in databases if wanted & {d.source.name, str(d.source)}]
        unknown = wanted - {d.source.name for d in databases} - {str(d.source) for d in databases}
        if unknown:
            raise SourceError(
                f"not found: {', '.join(sorted(unknown))}",
                hint="`discover` lists the databases that the configuration's rules mean",
            )
    if not databases and found.problems:
        raise SomeFailed("answer", found.problems)
    sizes = [(d.source, d.size) for d in databases]
    if category is Category.TENANT_DATABASES and not only:
        servers = sorted({d.source.server for d in databases})
        sizes += [(Source(Category.SERVER_GLOBALS, server, "globals"), 0) for server in servers]
    return _packed(deployment, run_id, sizes)


def _packed(
    deployment: Deployment, run_id: str, sizes: Iterable[tuple[Source, int]]
) -> tuple[Batch, ...]:
    limits = deployment.config.batches
    return pack(sizes, run_id, batch_size=limits.size, batch_sources=limits.sources)


def unanswered(
    deployment: Deployment, category: Category, batches: Iterable[Batch]
) -> dict[str, BaseException]:
    """Return the servers that have no batch because they do not answer, each with its error."""
    if category.is_tree:
        return {}  # what is configured is planned, whether it answers or not
    planned = {source.server for batch in batches for source in batch.sources}
    system = deployment.config.system_database
    problems: dict[str, BaseException] = {}
    for server in deployment.config.servers:
        concerned = category is Category.TENANT_DATABASES or (
            system is not None and system.server == server.name
        )
        if not concerned or server.name in planned:
            continue
        try:
            discover_server(deployment, server, frozenset({category}))
        except RespaldoError as error:
            problems[server.name] = error
    return problems


def take_backup(deployment: Deployment, batches: Sequence[Batch]) -> str:
    """Carry out all four steps for these batches, one batch after the other, and report.

    :raises SomeFailed: names every source that is not sealed in both regions, with its error.
    """
    failures: dict[str, BaseException] = {}
    for batch in batches:
        for step in STEPS:
            try:
                deployment.progress.step(f"{batch.label}: {step(deployment, batch).text}")
            except SomeFailed as error:
                failures |= {name: e for name, e in error.failures.items() if name not in failures}
    if failures:
        raise SomeFailed("be backed up", failures)
    return report(deployment, batches)


def backup_of(deployment: Deployment, source: Source) -> Batch:
    """Return a batch of this one source, begun now."""
    return Batch(0, backup_id(deployment.clock.now()), (source,), 0)
