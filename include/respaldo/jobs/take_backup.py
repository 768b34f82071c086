"""Take full backups: dump, checksum, upload, copy, each for a batch of databases.

A step does for every source of its batch what the step before it has left in the landing zone, and
ends by naming those that failed: one broken tenant stops nobody else, and a retry does only what
is missing. What passes between steps lies in the landing zone, below
``<category>/<backup id>/<server>/<source>/``:

    <dump file>      what the dump step wrote
    draft.json       the manifest to be, once the dump has landed
    verified.json    the same, once the landed bytes were read back and understood
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo import __version__, failpoints
from include.respaldo.errors import RespaldoError, SomeFailed, SourceError
from include.respaldo.jobs.discover import discover
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source, backup_id
from include.respaldo.model.batches import Batch, pack
from include.respaldo.model.units import duration_text, size_text
from include.respaldo.ports import Vault
from include.respaldo.postgres.dump import dump_database, dump_globals, verify_dump

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

DRAFT, VERIFIED = "draft.json", "verified.json"
DUMP, GLOBALS = "dump.pgc.zst", "globals.sql.zst"


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


def plan_batches(
    deployment: Deployment, category: Category, run_id: str, only: Sequence[str] = ()
) -> tuple[Batch, ...]:
    """Discover the databases of a category and pack them into batches.

    Each server's globals (roles) go into a batch of their own. Servers that do not answer are
    named by `report`; here they only have no batch.

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


def dump(deployment: Deployment, batch: Batch) -> StepReport:
    """Dump each database of the batch into the landing zone.

    :raises SomeFailed: names those that failed; the others have landed.
    """

    def dump_one(source: Source) -> int | None:
        folder = landing_folder(deployment, source, batch.backup_id)
        if (folder / DRAFT).exists() or _sealed(deployment.vaults.primary, source, batch):
            return None
        started_at = deployment.clock.now()
        connection = deployment.connection_of(source.server)
        if source.category is Category.SERVER_GLOBALS:
            made = dump_globals(connection, folder / GLOBALS)
        else:
            made = dump_database(connection, source.name, folder / DUMP)
        failpoints.reach(failpoints.DUMP_LANDED)
        draft = Manifest(
            source=source,
            backup_id=batch.backup_id,
            started_at=started_at,
            files=(made.file,),
            server_version=made.server_version,
            tools={**made.tools, "respaldo": __version__},
            durations={"dump": made.duration},
            anchor=made.anchor,
            database=made.properties,
        )
        _write(folder / DRAFT, draft)
        return made.file.size

    return _each(deployment, "dump", batch, dump_one)


def checksum(deployment: Deployment, batch: Batch) -> StepReport:
    """Read each landed dump back: its digest, and that it can be understood.

    A dump that is damaged is removed, so that dumping again makes it anew.

    :raises SomeFailed: names those that are damaged.
    """

    def check_one(source: Source) -> int | None:
        folder = landing_folder(deployment, source, batch.backup_id)
        draft = _read(folder / DRAFT)
        if draft is None or (folder / VERIFIED).exists():
            return None
        begun = time.monotonic()
        try:
            for file in draft.files:
                verify_dump(folder / file.name, file)
        except RespaldoError:
            deployment.landing_zone.remove_tree(folder)
            raise
        durations = {**draft.durations, "checksum": round(time.monotonic() - begun, 3)}
        _write(folder / VERIFIED, replace(draft, durations=durations))
        return draft.stored_size

    return _each(deployment, "checksum", batch, check_one)


def upload(deployment: Deployment, batch: Batch) -> StepReport:
    """Store each verified dump in the primary vault, its manifest last: that seals it.

    :raises SomeFailed: names those that could not be stored.
    """
    vault = deployment.vaults.primary

    def upload_one(source: Source) -> int | None:
        folder = landing_folder(deployment, source, batch.backup_id)
        manifest = _read(folder / VERIFIED)
        if manifest is None or _sealed(vault, source, batch):
            return None
        begun = time.monotonic()
        prefix = keys.backup_prefix(source, batch.backup_id)
        for file in manifest.files:
            vault.put(prefix + file.name, folder / file.name, sha256=file.sha256)
        failpoints.reach(failpoints.DUMP_UPLOADED)
        durations = {**manifest.durations, "upload": round(time.monotonic() - begun, 3)}
        data = replace(manifest, durations=durations).to_bytes()
        vault.put(prefix + keys.MANIFEST, data, sha256=sha256(data).hexdigest())
        failpoints.reach(failpoints.BACKUP_SEALED_IN_PRIMARY)
        return manifest.stored_size

    return _each(deployment, "upload", batch, upload_one)


def copy(deployment: Deployment, batch: Batch) -> StepReport:
    """Copy each sealed backup to the replica vault, its manifest last; then clear its landing.

    :raises SomeFailed: names those that could not be copied; they stay sealed in the primary.
    """
    primary, replica = deployment.vaults.primary, deployment.vaults.replica

    def copy_one(source: Source) -> int | None:
        folder = landing_folder(deployment, source, batch.backup_id)
        manifest_key = keys.manifest_key(source, batch.backup_id)
        if not _sealed(primary, source, batch):
            return None
        size: int | None = None
        if not _sealed(replica, source, batch):
            data = primary.read(manifest_key)
            try:
                manifest = Manifest.from_bytes(data)
            except ValueError as e:
                raise SourceError(f"the manifest in the primary vault is damaged: {e}") from e
            prefix = keys.backup_prefix(source, batch.backup_id)
            for file in manifest.files:
                replica.copy_from(primary, prefix + file.name, sha256=file.sha256)
            replica.put(manifest_key, data, sha256=sha256(data).hexdigest())
            size = manifest.stored_size
        deployment.landing_zone.remove_tree(folder)
        return size

    return _each(deployment, "copy", batch, copy_one)


STEPS: tuple[Callable[[Deployment, Batch], StepReport], ...] = (dump, checksum, upload, copy)


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
                vault.region
                for vault in (deployment.vaults.primary, deployment.vaults.replica)
                if not _sealed(vault, source, batch)
            ]
            if missing:
                failures[str(source)] = SourceError(f"not sealed in: {', '.join(missing)}")
                continue
            data = deployment.vaults.read_verified(
                keys.manifest_key(source, batch.backup_id), Manifest.from_bytes
            )
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


def landing_folder(deployment: Deployment, source: Source, run_id: str) -> Path:
    """Return where a source's dump lands, made if missing."""
    folder = deployment.landing_zone.path(
        source.category.value,
        run_id,
        keys.encode_name(source.server),
        keys.encode_name(source.name),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


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
        except (RespaldoError, OSError) as error:
            failures[str(source)] = error
            deployment.progress.step(f"{step} of {source} failed: {error}")
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


def _sealed(vault: Vault, source: Source, batch: Batch) -> bool:
    return vault.find(keys.manifest_key(source, batch.backup_id)) is not None


def _write(path: Path, manifest: Manifest) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(manifest.to_bytes())
    partial.replace(path)


def _read(path: Path) -> Manifest | None:
    return Manifest.from_bytes(path.read_bytes()) if path.exists() else None
