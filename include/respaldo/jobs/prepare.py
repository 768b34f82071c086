"""Prepare databases for archiving, or say what preparing would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.respaldo.errors import RespaldoError, SomeFailed
from include.respaldo.jobs.discover import discover
from include.respaldo.jobs.read_catalog import DATABASES
from include.respaldo.model.backup import Source
from include.respaldo.postgres import capture
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.preparation import examine

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment


@dataclass(frozen=True)
class PreparationResult:
    """What preparing one database changed, or would change."""

    source: Source
    text: str
    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def examine_databases(
    deployment: Deployment, sources: Sequence[Source]
) -> tuple[PreparationResult, ...]:
    """Return what preparing these databases (none: all) would change; changes nothing."""
    results: list[PreparationResult] = []
    for source in sources or _all(deployment):
        try:
            with connect(deployment.connection_of(source.server), source.name) as conn:
                found = examine(conn)
        except RespaldoError as error:
            results.append(PreparationResult(source, "not examined", problems=(str(error),)))
            continue
        changes = tuple(step.what for step in found.steps if not step.done)
        text = f"{len(changes)} changes to make" if changes else "prepared already"
        problems = tuple(f"{p.what}; next step: {p.hint}" for p in found.problems)
        results.append(PreparationResult(source, text, changes, problems))
    return tuple(results)


def prepare_databases(
    deployment: Deployment, sources: Sequence[Source]
) -> tuple[PreparationResult, ...]:
    """Prepare these databases (none: all), each by itself; the query log begins with `archive`."""
    settings = deployment.config.query_log
    results: list[PreparationResult] = []
    for source in sources or _all(deployment):
        try:
            with connect(deployment.connection_of(source.server), source.name) as conn:
                found = examine(conn)
                changes = tuple(step.what for step in found.steps if not step.done)
                capture.prepare(
                    conn,
                    lock_timeout=settings.lock_timeout.total_seconds(),
                    slot_timeout=settings.slot_timeout.total_seconds(),
                    progress=deployment.progress,
                )
        except RespaldoError as error:
            results.append(PreparationResult(source, "not prepared", problems=(str(error),)))
            continue
        text = f"prepared, {len(changes)} changes made" if changes else "was prepared already"
        results.append(PreparationResult(source, text, changes))
    return tuple(results)


def unprepare_databases(deployment: Deployment, sources: Sequence[Source]) -> None:
    """Remove all that preparing installed; the next archiving begins a new chain.

    :raises SomeFailed: names those where something is left.
    """
    failures: dict[str, BaseException] = {}
    for source in sources:
        try:
            with connect(deployment.connection_of(source.server), source.name) as conn:
                capture.unprepare(conn)
        except RespaldoError as error:
            failures[str(source)] = error
    if failures:
        raise SomeFailed("be cleared", failures)


def _all(deployment: Deployment) -> tuple[Source, ...]:
    found = discover(deployment, frozenset(DATABASES))
    if found.problems and not found.databases:
        raise SomeFailed("answer", found.problems)
    return found.sources
