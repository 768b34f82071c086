"""The four steps of a backup: dump, checksum, upload, copy, each for a batch of sources.

A step does for every source of its batch what the step before it has left in the landing zone, and
ends by naming those that failed: one broken source stops nobody else, and a retry does only what
is missing. What a step does for a database is in `database_steps`, for a tree in `tree_steps`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from include.respaldo.errors import RespaldoError, SomeFailed, VaultError
from include.respaldo.jobs import database_steps, tree_steps
from include.respaldo.jobs.landed_backup import is_sealed, landing_folder, sealed_runs
from include.respaldo.model.backup import Source
from include.respaldo.model.batches import Batch
from include.respaldo.model.units import duration_text, size_text

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)


class SourceSteps(Protocol):
    """The steps for one source: each returns the bytes it wrote, None where nothing was to do."""

    def dump(self, deployment: Deployment, source: Source, run_id: str) -> int | None: ...

    def checksum(self, deployment: Deployment, source: Source, run_id: str) -> int | None: ...

    def upload(self, deployment: Deployment, source: Source, run_id: str) -> int | None: ...

    def copy(self, deployment: Deployment, source: Source, run_id: str) -> int:
        """Copy a sealed backup to the replica vault."""


@dataclass(frozen=True)
class StepReport:
    """What one step did for a batch."""

    step: str
    done: tuple[str, ...] = ()
    #: already done by an earlier attempt
    skipped: tuple[str, ...] = ()
    #: bytes written by the step
    size: int = 0
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """One line for people."""
        skipped = f", {len(self.skipped)} already done" if self.skipped else ""
        return (
            f"{self.step}: {len(self.done)} done{skipped}, "
            f"{size_text(self.size)} in {duration_text(self.seconds)}"
        )


def dump(deployment: Deployment, batch: Batch) -> StepReport:
    """Bring each source of the batch to where it can be read: into the landing zone.

    :raises SomeFailed: names those that failed; the others have landed.
    """

    def dump_one(source: Source) -> int | None:
        return steps_of(source).dump(deployment, source, batch.backup_id)

    return _each(deployment, "dump", batch, dump_one)


def checksum(deployment: Deployment, batch: Batch) -> StepReport:
    """Read what has landed: its digests, and that it can be understood.

    :raises SomeFailed: names those that are damaged, or went away.
    """

    def check_one(source: Source) -> int | None:
        return steps_of(source).checksum(deployment, source, batch.backup_id)

    return _each(deployment, "checksum", batch, check_one)


def upload(deployment: Deployment, batch: Batch) -> StepReport:
    """Store each verified source in the primary vault, its manifest last: that seals it.

    :raises SomeFailed: names those that could not be stored.
    """

    def upload_one(source: Source) -> int | None:
        return steps_of(source).upload(deployment, source, batch.backup_id)

    return _each(deployment, "upload", batch, upload_one)


def copy(deployment: Deployment, batch: Batch) -> StepReport:
    """Copy each sealed backup to the replica vault, its manifest last; then clear its landing.

    Takes along what an earlier outage of the replica has left behind of the same sources.

    :raises SomeFailed: names those that could not be copied; they stay sealed in the primary.
    """
    primary, replica = deployment.vaults.primary, deployment.vaults.replica

    def copy_one(source: Source) -> int | None:
        run_id = batch.backup_id
        if not is_sealed(primary, source, run_id):
            return None
        steps = steps_of(source)
        size: int | None = None
        if not is_sealed(replica, source, run_id):
            size = steps.copy(deployment, source, run_id)
        deployment.landing_zone.remove_tree(landing_folder(deployment, source, run_id))
        for earlier in sorted(sealed_runs(primary, source) - sealed_runs(replica, source)):
            try:
                size = (size or 0) + steps.copy(deployment, source, earlier)
            except VaultError as error:
                log.warning("%s: backup %s is not copied: %s", source, earlier, error.message)
        return size

    return _each(deployment, "copy", batch, copy_one)


STEPS: tuple[Callable[[Deployment, Batch], StepReport], ...] = (dump, checksum, upload, copy)


def steps_of(source: Source) -> SourceSteps:
    """Return what the steps do for a source of its kind."""
    return tree_steps if source.category.is_tree else database_steps


def _each(
    deployment: Deployment, step: str, batch: Batch, act: Callable[[Source], int | None]
) -> StepReport:
    begun = time.monotonic()
    done: list[str] = []
    skipped: list[str] = []
    failures: dict[str, BaseException] = {}
    size = 0
    for number, source in enumerate(batch.sources, 1):
        try:
            written = act(source)
        except Exception as error:
            # whatever it is, it is this source's alone: the others go on
            known = isinstance(error, RespaldoError | OSError)
            level = logging.WARNING if known else logging.ERROR
            log.log(level, "%s of %s failed: %s", step, source, error, exc_info=not known)
            failures[str(source)] = error
            continue
        if written is None:
            skipped.append(str(source))
        else:
            done.append(str(source))
            size += written
        deployment.progress.advance(number, len(batch.sources), "sources")
    if failures:
        raise SomeFailed(step, failures)
    return StepReport(step, tuple(done), tuple(skipped), size, time.monotonic() - begun)
