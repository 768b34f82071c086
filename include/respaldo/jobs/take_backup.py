"""Take full backups: which databases, in which batches, and what is sealed in the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from include.respaldo.errors import RespaldoError, SomeFailed, SourceError, VaultUnreachable
from include.respaldo.jobs.backup_steps import (
    STEPS,
    StepReport,
    checksum,
    copy,
    dump,
    is_sealed,
    upload,
)
from include.respaldo.jobs.discover import discover, discover_server
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source, backup_id
from include.respaldo.model.batches import Batch, pack
from include.respaldo.model.units import duration_text, size_text
from include.respaldo.ports import Vault

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

__all__ = [
    "StepReport",
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
    """Discover the databases of a category and pack them into batches.

    Each server's globals (roles) come along. A server that does not answer only has no batch here:
    `unanswered` names it.

    :param run_id: the backup id; the same for every attempt of a run.
    :param only: names (``database`` or ``server/database``) to back up; none means all.
    :raises SourceError: one of `only` is not there.
    :raises SomeFailed: no server answered.
    """
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
    limits = deployment.config.batches
    return pack(sizes, run_id, batch_size=limits.size, batch_sources=limits.sources)


def report(deployment: Deployment, batches: Iterable[Batch]) -> str:
    """Return what is sealed, in Markdown, for people.

    :raises SomeFailed: names every source that is not sealed in both regions.
    """
    lines: list[str] = []
    failures: dict[str, BaseException] = {}
    total = 0
    for batch in batches:
        for source in batch.sources:
            missing = [
                why
                for vault in (deployment.vaults.primary, deployment.vaults.replica)
                if (why := _why_not_sealed(vault, source, batch)) is not None
            ]
            if missing:
                failures[str(source)] = SourceError(f"not sealed in: {', '.join(missing)}")
                continue
            try:
                data = deployment.vaults.read_verified(
                    keys.manifest_key(source, batch.backup_id), Manifest.from_bytes
                )
            except RespaldoError as error:
                failures[str(source)] = error
                continue
            total += data.stored_size
            took = duration_text(sum(data.durations.values()))
            lines.append(f"| {source} | {size_text(data.stored_size)} | {took} |")
    head = [
        f"**{len(lines)} backed up into both regions, {size_text(total)}**",
        "",
        "| source | size | time |",
        "|---|---|---|",
    ]
    text = "\n".join(head + lines)
    if failures:
        deployment.progress.step(text)
        raise SomeFailed("be sealed in both regions", failures)
    return text


def unanswered(
    deployment: Deployment, category: Category, batches: Iterable[Batch]
) -> dict[str, BaseException]:
    """Return the servers that have no batch because they do not answer, each with its error."""
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


def _why_not_sealed(vault: Vault, source: Source, batch: Batch) -> str | None:
    """Return the region's name, with what is wrong with it; None: it is sealed there."""
    try:
        return None if is_sealed(vault, source, batch) else vault.region
    except VaultUnreachable:
        return f"{vault.region} (does not answer)"
