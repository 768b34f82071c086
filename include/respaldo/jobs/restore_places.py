"""Where restored files go: a place, and this machine as one; each under a name that is free."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from include.respaldo import failpoints
from include.respaldo.errors import ConfigurationError, RestoreFailed, RestoreRefused
from include.respaldo.filetree.verification import differences
from include.respaldo.model.file_tree import Entry, shown

_NAMED = 5
#: what link(2) says on a file system that has none (FAT, some network shares)
_WITHOUT_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True)
class Step:
    """One thing that gets its final name."""

    #: what the list calls it; "": all that is wanted, as one tree
    path: str
    #: where it is in the restored tree
    staged: Path
    final: str


@dataclass(frozen=True)
class Landed:
    """A restored tree that was compared with its list, before anything has its final name."""

    #: on this machine
    tree: Path
    steps: Sequence[Step]
    #: what it holds, as the list has it
    entries: Iterator[Entry]
    #: the folders that lead to what is wanted, as the list has them
    above: Mapping[str, Entry]


class Site(Protocol):
    """A place that final names are names of.

    :ivar root: what the source's root is called there; final names begin with its folder.
    :ivar owners: files can be given away there.
    :ivar is_local: what is restored lands there at once.
    :ivar goes_on: what has its final name may be there in part.
    """

    root: str
    owners: bool
    is_local: bool
    goes_on: bool

    @property
    def text(self) -> str:
        """For people."""

    def taken(self, names: Sequence[str]) -> list[str]:
        """Return which of these names stand for something."""

    def free(self) -> int | None:
        """Return the bytes that are free; None: nobody counts them."""

    def staging(self, name: str) -> Path:
        """Return where the tree is restored on this machine; made empty."""

    def may_be(self, final: str, entries: Iterator[Entry], /) -> bool:
        """Return whether what has this name is what the list says ("" is its root), or part of it.

        Then an earlier attempt has put it there.
        """

    def publish(self, landed: Landed) -> tuple[str, ...]:
        """Give everything its final name; return what people should know.

        :raises RestoreFailed: something did not arrive as it is; nothing of that has its name.
        """


class LocalSite:
    """A folder of this machine."""

    is_local = True
    goes_on = False

    def __init__(self, root: str, *, within: Path | None = None) -> None:
        self.root = root
        self.owners = os.geteuid() == 0
        self._within = within

    @property
    def text(self) -> str:
        return f"this machine, {self._within or self.root}"

    def taken(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if os.path.lexists(name)]

    def free(self) -> int | None:
        return shutil.disk_usage(existing(Path(self.root))).free

    def staging(self, name: str) -> Path:
        """Beside the root where that is of the same file system: backups do not see it there."""
        if self._within is not None:
            self._within.mkdir(parents=True, exist_ok=True)
        at = existing(self._within or Path(self.root))
        above = at.parent
        if self._within is None and _can_rename(at, above):
            at = above
        if not os.access(at, os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"{at} cannot be written",
                hint="let the account that this runs as write it, or restore to another folder",
            )
        folder = at / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def may_be(self, final: str, entries: Iterator[Entry], /) -> bool:
        return not differences(entries, Path(final), owners=self.owners, limit=1)

    def publish(self, landed: Landed) -> tuple[str, ...]:
        for step in landed.steps:
            final = Path(step.final)
            self._lead_to(final, landed.above)
            try:
                _name(step.staged, final)
            except FileExistsError:
                raise taken_since([step.final]) from None
            except OSError as error:
                if error.errno == errno.EXDEV:
                    raise other_file_system(step.final) from None
                raise RestoreFailed(
                    f"{shown(step.final)} could not be made: {error.strerror}",
                    hint="nothing is half-made; see the place, and run the restore again",
                ) from error
            failpoints.reach(failpoints.TREE_NAMED)
        return () if self.owners else ("owners could not be kept: it takes root",)

    def _lead_to(self, final: Path, above: Mapping[str, Entry]) -> None:
        """Make the folders that are lost, as they were."""
        root = Path(self.root)
        missing = [folder for folder in final.parents if not folder.exists()]
        for folder in reversed(missing):
            entry = above.get(str(folder.relative_to(root))) if root in folder.parents else None
            entry = above.get("") if folder == root else entry
            folder.mkdir(mode=0o700 if entry else 0o755)
            if entry is not None:
                if self.owners:
                    os.chown(folder, entry.uid, entry.gid)
                folder.chmod(entry.mode)


def existing(path: Path) -> Path:
    """Return the path, or the lowest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _name(staged: Path, final: Path) -> None:
    """Give a file or a folder its final name, unless something has it.

    A folder never takes the place of one that holds anything (rename(2)), but a file would take
    that of another: it is linked, which fails then. A file system without links has only our look.

    :raises FileExistsError: something has that name.
    :raises OSError: whatever else the file system says.
    """
    if os.path.lexists(final):
        raise FileExistsError(final)
    if staged.is_dir() and not staged.is_symlink():
        try:
            staged.rename(final)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise FileExistsError(final) from error
            raise
        return
    try:
        os.link(staged, final, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        staged.rename(final)
    else:
        staged.unlink()


def _can_rename(at: Path, above: Path) -> bool:
    return os.access(above, os.W_OK | os.X_OK) and above.stat().st_dev == at.stat().st_dev


def other_file_system(name: str) -> RestoreFailed:
    return RestoreFailed(
        f"{shown(name)} could not be made: another file system is mounted on the way to it",
        hint="nothing is half-made; restore to a folder, and move it from there",
    )


def taken_since(names: Sequence[str]) -> RestoreRefused:
    return RestoreRefused(
        f"there is something else at {', '.join(map(shown, names[:_NAMED]))} by now",
        hint="plan the restore again: it takes another name",
    )
