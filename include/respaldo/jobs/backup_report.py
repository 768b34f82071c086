"""Say what a run of backups has sealed, for people: Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.respaldo.errors import RespaldoError, SomeFailed, SourceError, VaultUnreachable
from include.respaldo.jobs.acknowledge import held_by
from include.respaldo.jobs.discover_trees import spelled
from include.respaldo.jobs.landed_backup import is_sealed
from include.respaldo.model import keys
from include.respaldo.model.backup import Manifest, Source
from include.respaldo.model.batches import Batch
from include.respaldo.model.file_tree import Problem, StoredTree
from include.respaldo.model.units import duration_text, size_text
from include.respaldo.ports import Vault

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: entries of a partial backup that a report names
_NAMED = 5
_DATABASES = ("| source | size | time |", "|---|---|---|")
_TREES = (
    "| source | files | size | since the backup before | new in the vault | time |",
    "|---|---|---|---|---|---|",
)


def report(deployment: Deployment, batches: Iterable[Batch]) -> str:
    """Return what is sealed; what is suspicious about it comes first.

    :raises SomeFailed: names every source that is not sealed in both regions.
    """
    sealed, failures = _sealed(deployment, batches)
    text = _text(deployment, sealed)
    if failures:
        deployment.progress.step(text)
        raise SomeFailed("be sealed in both regions", failures)
    return text


@dataclass(frozen=True)
class Alarm:
    """What somebody has to look at."""

    source: Source
    backup_id: str
    suspicions: tuple[str, ...]

    @property
    def text(self) -> str:
        """For people, with the next step."""
        return (
            f"SUSPICIOUS {self.source}: {'; '.join(self.suspicions)}. The backup is kept and "
            "nothing older of it is removed until somebody has looked: "
            f"`acknowledge {spelled(self.source)} {self.backup_id} --by NAME`"
        )


def alarms(deployment: Deployment, batches: Iterable[Batch]) -> tuple[Alarm, ...]:
    """Return what is suspicious about the backups of a run, and nobody has acknowledged."""
    sealed, _ = _sealed(deployment, (b for b in batches if b.sources[0].category.is_tree))
    return _alarms(deployment, sealed)


def _alarms(deployment: Deployment, sealed: Iterable[Manifest]) -> tuple[Alarm, ...]:
    return tuple(
        Alarm(m.source, m.backup_id, m.tree.suspicions)
        for manifest in sealed
        if manifest.tree is not None and manifest.tree.suspicions
        for m in held_by(deployment, manifest.source, [manifest])
        if m.tree is not None
    )


def _sealed(
    deployment: Deployment, batches: Iterable[Batch]
) -> tuple[list[Manifest], dict[str, BaseException]]:
    """Return the backups that both regions have, and why the others are not among them."""
    vaults = deployment.vaults
    found: list[Manifest] = []
    failures: dict[str, BaseException] = {}
    for batch in batches:
        for source in batch.sources:
            regions = (
                _why_not_sealed(vault, source, batch.backup_id)
                for vault in (vaults.primary, vaults.replica)
            )
            missing = list(filter(None, regions))
            if missing:
                failures[str(source)] = SourceError(f"not sealed in: {', '.join(missing)}")
                continue
            try:
                key = keys.manifest_key(source, batch.backup_id)
                found.append(vaults.read_verified(key, Manifest.from_bytes))
            except RespaldoError as error:
                failures[str(source)] = error
    return found, failures


def _text(deployment: Deployment, sealed: list[Manifest]) -> str:
    total = sum(m.stored_size + (m.tree.stored if m.tree else 0) for m in sealed)
    head = [f"**{len(sealed)} backed up into both regions, {size_text(total)}**", ""]
    for alarm in _alarms(deployment, sealed):
        head += [f"**{alarm.text}**", ""]
    for manifest in sealed:
        if manifest.tree is not None:
            head += _partial(manifest.source, manifest.tree)
    trees = any(m.tree for m in sealed)
    rows = (_row(deployment, manifest) for manifest in sealed)
    return "\n".join([*head, *(_TREES if trees else _DATABASES), *rows])


def _row(deployment: Deployment, manifest: Manifest) -> str:
    took = duration_text(sum(manifest.durations.values()))
    tree = manifest.tree
    if tree is None:
        return f"| {manifest.source} | {size_text(manifest.stored_size)} | {took} |"
    since = tree.changes.text if tree.changes.since else "the first one"
    if tree.version:
        since = f"{_version(deployment, manifest.source, tree)}; {since}"
    return (
        f"| {manifest.source} | {tree.files:,} | {size_text(tree.size)} | {since} "
        f"| {size_text(tree.stored)} | {took} |"
    )


def _version(deployment: Deployment, source: Source, tree: StoredTree) -> str:
    """Return the version, and which it was where that is another one."""
    before = ""
    if tree.changes.since:
        key = keys.manifest_key(source, tree.changes.since)
        with suppress(RespaldoError):
            found = deployment.vaults.read_verified(key, Manifest.from_bytes).tree
            before = found.version if found else ""
    changed = f" (was {before})" if before and before != tree.version else ""
    return f"version {tree.version}{changed}"


def _partial(source: Source, tree: StoredTree) -> list[str]:
    unread = tree.problem_counts.get(Problem.UNREADABLE, 0)
    general = [f"{source}: {what}" for path, what in tree.problems if not path]
    if not unread:
        return [*general, ""] if general else []
    named = [path for path, _ in tree.problems if path][:_NAMED]
    more = f" and {unread - len(named)} more" if unread > len(named) else ""
    return [
        f"**{source} is partial**: {unread} entries could not be read: {', '.join(named)}{more}",
        *general,
        "",
    ]


def _why_not_sealed(vault: Vault, source: Source, run_id: str) -> str | None:
    """Return the region's name, with what is wrong with it; None: it is sealed there."""
    try:
        return None if is_sealed(vault, source, run_id) else vault.region
    except VaultUnreachable:
        return f"{vault.region} (does not answer)"
