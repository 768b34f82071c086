"""Find files of a tree by a part of their path, in all the backups that are kept."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from include.respaldo.errors import RestoreRefused, VaultError
from include.respaldo.filetree.columns import column
from include.respaldo.filetree.file_list import read_batches
from include.respaldo.jobs.discover_trees import sealed_before, spelled
from include.respaldo.jobs.stored_trees import fetch_list
from include.respaldo.model.backup import Manifest, Source
from include.respaldo.model.file_tree import Problem, shown
from include.respaldo.model.tree_restore_plan import local

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: paths that are named
LIMIT = 1000
_GONE = frozenset({Problem.UNREADABLE.value, Problem.VANISHED.value})


@dataclass(frozen=True)
class FoundPath:
    """A path, and the backups that hold it, the oldest first."""

    path: str
    backups: tuple[str, ...]


@dataclass(frozen=True)
class FoundFiles:
    """Where a text was found."""

    source: Source
    searched: str
    #: at most `LIMIT`
    paths: tuple[FoundPath, ...]
    #: backup id -> when, for people; the oldest first
    days: dict[str, str]
    is_cut: bool
    #: what could not be looked through
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """For people."""
        count = len(self.days)
        looked = f"{count} backup{'' if count == 1 else 's'} of {spelled(self.source)}"
        if not self.paths:
            lines = [f"nothing holds {shown(self.searched)!r} in the {looked}"]
        else:
            lines = [f"{shown(self.searched)!r} in the {looked}:"]
        for found in self.paths:
            lines.append(f"  {found.path}")
            first, last = self.days[found.backups[0]], self.days[found.backups[-1]]
            if len(found.backups) == count:
                when = "in all of them"
            elif len(found.backups) == 1:
                when = first
            else:
                when = f"{len(found.backups)} times from {first} to {last}"
            lines.append(f"      {when}")
        if self.is_cut:
            lines.append(f"  … only the first {LIMIT:,} are named: search for more of the name")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        return {
            "source": spelled(self.source),
            "searched": shown(self.searched),
            "backups": [{"backup_id": id, "at": at} for id, at in self.days.items()],
            "paths": [asdict(found) for found in self.paths],
            "is_cut": self.is_cut,
            "notes": list(self.notes),
        }


def find(deployment: Deployment, source: Source, text: str) -> FoundFiles:
    """Return every path that holds the text, whatever the case, and the backups it is in.

    :raises RestoreRefused: there is no backup of it, or nothing is searched for.
    :raises VaultUnreachable: neither region answers.
    """
    if not text.strip("/"):
        raise RestoreRefused("expected a part of a name to look for", hint="such as invoice.pdf")
    manifests = [m for m in sealed_before(deployment, source) if m.tree is not None][::-1]
    if not manifests:
        raise RestoreRefused(
            f"no backup of {spelled(source)} is in the vaults", hint="`catalog` shows what there is"
        )
    found: dict[str, list[str]] = {}
    notes: list[str] = []
    same: dict[str, list[str]] = {}
    is_cut = False
    for manifest in manifests:
        digest = manifest.files[0].sha256 if manifest.files else ""
        try:
            if digest not in same:
                deployment.progress.step(f"looking through {manifest.backup_id}")
                same = {digest: _matches(deployment, manifest, text.strip("/"))}
        except VaultError as error:
            notes.append(f"{manifest.backup_id} was not looked through: {error.message}")
            continue
        for path in same[digest]:
            if path in found or len(found) < LIMIT:
                found.setdefault(path, []).append(manifest.backup_id)
            else:
                is_cut = True
    zone = deployment.config.time_zone
    return FoundFiles(
        source,
        text,
        tuple(FoundPath(path, tuple(found[path])) for path in sorted(found)),
        {m.backup_id: local(m.started_at, zone) for m in manifests},
        is_cut,
        (*notes, *deployment.vaults.notes),
    )


def _matches(deployment: Deployment, manifest: Manifest, text: str) -> list[str]:
    """Return the paths of one backup that hold the text, as people are shown them."""
    wanted = text.casefold()
    found: list[str] = []
    with TemporaryDirectory(prefix="list-", dir=deployment.scratch()) as folder:
        listed = fetch_list(deployment, manifest, Path(folder) / "files.parquet")
        for batch in read_batches(listed, columns=["path", "problem"]):
            paths = column(batch, "path").to_pylist()
            problems = column(batch, "problem").to_pylist()
            for raw, problem in zip(paths, problems, strict=True):
                path = os.fsdecode(raw)
                if problem not in _GONE and (
                    wanted in path.casefold() or wanted in (path := shown(path)).casefold()
                ):
                    found.append(shown(os.fsdecode(raw)))
    return found
