"""A restic repository: snapshots of trees, encrypted and without doubles."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from include.respaldo.errors import Busy, ConfigurationError, CorruptObject, KeyNotFound, ToolFailed
from include.respaldo.filetree.location import RepositoryLocation
from include.respaldo.filetree.patterns import Patterns, escaped_for_restic
from include.respaldo.filetree.restic_run import PATIENCE, ResticRun, is_at_least, restic
from include.respaldo.filetree.restoring import mend_links, restore
from include.respaldo.filetree.targets import targets
from include.respaldo.model.file_tree import Entry
from include.respaldo.model.moments import parse_iso
from include.respaldo.ports import Progress

_ID = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Snapshot:
    """What a backup left in the repository."""

    id: str
    #: regular files, and folders, those above the root among them
    files: int
    folders: int
    #: of the files: those that were not read, for they are as in the snapshot before
    unchanged: int
    #: content of all files, in bytes
    size: int
    #: bytes that the repository grew by; before compression where restic is older than 0.16
    stored: int
    #: entries that restic could not read
    unread: int


@dataclass(frozen=True)
class SnapshotInfo:
    """A snapshot as the repository lists it."""

    id: str
    at: datetime
    host: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]


class Repository:
    """The repository at a location.

    :param cache: folder for restic's cache; speeds up, may be lost.
    :param read_only: writes nothing, not even a lock: for reading in a region that only follows.
    :param patience: seconds without an answer of the service after which a run is given up.
    """

    def __init__(
        self,
        location: RepositoryLocation,
        cache: Path,
        *,
        read_only: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        self.location = location
        self.cache = cache
        self._global = ["--no-lock"] if read_only else []
        self._patience = patience

    @property
    def version(self) -> str:
        """Version of the installed restic."""
        return restic()[1]

    # -- life ---------------------------------------------------------------------------------

    def ensure(self, *, is_empty: Callable[[], bool] | None = None) -> None:
        """Make the repository where there is none.

        :param is_empty: whether its places hold nothing; a repository that has lost its ``config``
            must not be made anew over its data.
        :raises CorruptObject: they hold other objects, but there is no ``config``.
        """
        try:
            self._run("cat", "config")
        except KeyNotFound:
            if is_empty is not None and not is_empty():
                raise CorruptObject(
                    f"{self.location.uri} has no `config`, but objects of it are left",
                    hint="run the geo-redundancy check: it brings back what this region has lost",
                ) from None
            try:
                self._run("init", "--repository-version", "2")
            except ToolFailed:
                self._run("cat", "config")  # somebody else was quicker

    def unlock(self) -> None:
        """Remove the locks of processes that have ended; those that work keep theirs."""
        self._run("unlock")

    def check(self, *, read_data: str = "") -> None:
        """Prove that the repository is whole in structure.

        :param read_data: how much of the content is read, too: ``5%``, ``1/7``, or ``all``.
        :raises CorruptObject: it is damaged; says how.
        """
        reading = []
        if read_data:
            reading = ["--read-data"] if read_data == "all" else [f"--read-data-subset={read_data}"]
        try:
            self._locked("check", *reading)
        except ToolFailed as e:
            raise CorruptObject(
                e.message,
                hint="run the geo-redundancy check: it brings damaged and missing objects back "
                "from the other region",
            ) from None

    def forget(self, ids: Sequence[str]) -> None:
        """Remove snapshots; what they alone held stays until `prune`."""
        known = {snapshot.id for snapshot in self.snapshots()}
        gone = [i for i in map(_checked, ids) if i in known]  # a crash may repeat it
        for begin in range(0, len(gone), 500):
            self._locked("forget", *gone[begin : begin + 500])

    def prune(self) -> None:
        """Remove what no snapshot holds."""
        self._locked("prune")

    # -- snapshots ----------------------------------------------------------------------------

    def backup(
        self,
        root: Path,
        *,
        patterns: Patterns,
        host: str,
        tags: Sequence[str],
        at: datetime,
        one_file_system: bool,
        progress: Progress,
        parent: str = "",
        size: int | None = None,
    ) -> Snapshot:
        """Store a tree as a new snapshot; in it the tree has its absolute path.

        What cannot be read is left out and counted.

        :param parent: the snapshot it is compared with; "": the last of the same host and path.
        :param size: bytes that the tree holds, as it was listed: restic 0.15 and newer need not
            look for them; None: not known.
        """
        if wrong := [tag for tag in tags if "," in tag or not tag]:
            raise ConfigurationError(f"a tag holds no comma and is not empty, found {wrong[0]!r}")
        progress.step("storing")
        arguments = ["backup", "--json", "--host", host]
        arguments += [f"--tag={tag}" for tag in tags]
        arguments += ["--time", f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"]
        arguments += ["--one-file-system"] if one_file_system else []
        arguments += ["--no-scan"] if size is not None and is_at_least(0, 15) else []
        arguments += [f"--exclude={text}" for text in patterns.restic_excludes(root)]
        watch = _Watch(progress, size)
        with tempfile.NamedTemporaryFile(prefix="respaldo-targets-") as names:
            if patterns.include:
                for target in targets(root, patterns, one_file_system=one_file_system):
                    names.write(target + b"\0")
                names.flush()
            if names.tell():
                arguments.append(f"--files-from-raw={names.name}")
            else:
                # where nothing fits, only the root itself
                nothing = f"--exclude={escaped_for_restic(str(root)).rstrip('/')}/*"
                arguments += [nothing] if patterns.include else []
                arguments += ["--", str(root)]
            if parent:
                arguments.insert(1, f"--parent={_checked(parent)}")
            try:
                run = self._locked(*arguments, on_message=watch.message)
            except KeyNotFound:
                if not parent:
                    raise
                arguments.pop(1)  # it was forgotten: everything is read again
                run = self._locked(*arguments, on_message=watch.message)
        found = watch.summary
        if found is None:
            raise ToolFailed("restic backup ended without a summary")
        return Snapshot(
            id=self._full_id(found["snapshot_id"]),
            files=found["total_files_processed"],
            folders=found["dirs_new"] + found["dirs_changed"] + found["dirs_unmodified"],
            unchanged=found["files_unmodified"],
            size=found["total_bytes_processed"],
            stored=watch.stored,
            unread=run.errors,
        )

    def snapshots(self, *, tags: Sequence[str] = ()) -> list[SnapshotInfo]:
        """Return the snapshots that have all these tags, the oldest first."""
        found: list[dict[str, Any]] = []
        arguments = [f"--tag={','.join(tags)}"] if tags else []
        self._run("snapshots", "--json", *arguments, on_message=found.append)
        infos = [
            SnapshotInfo(
                id=d["id"],
                at=_time(d["time"]),
                host=d["hostname"],
                tags=tuple(d.get("tags") or ()),
                paths=tuple(d["paths"]),
            )
            for d in found
        ]
        return sorted(infos, key=lambda s: (s.at, s.id))

    def find(self, tags: Sequence[str]) -> list[str]:
        """Return the ids of the snapshots that have all these tags, the oldest first."""
        return [snapshot.id for snapshot in self.snapshots(tags=tags)]

    # -- content ------------------------------------------------------------------------------

    def list_to(self, snapshot: str, to: IO[bytes], *, as_json: bool = True) -> None:
        """Write a snapshot's entries to a file, a line of JSON each, or a path each."""
        arguments = ["--json"] if as_json else ["--quiet"]
        self._run("ls", *arguments, _checked(snapshot), to=to)

    def dump(self, snapshot: str, path: str, to: Path) -> None:
        """Write one file of a snapshot; `path` is absolute within it.

        :raises KeyNotFound: the snapshot, or the file in it, is not there.
        """
        try:
            with to.open("wb") as file:
                self._run("dump", _checked(snapshot), path, to=file)
        except BaseException:
            to.unlink(missing_ok=True)
            raise

    def restore(
        self,
        snapshot: str,
        root: str,
        paths: Sequence[str],
        to: Path,
        progress: Progress,
        *,
        entries: Iterable[Entry] = (),
    ) -> None:
        """Bring a tree, or some of its paths, back below `to`, with all that they were.

        What the snapshot has at ``root/a/b`` is at ``to/a/b`` then. `to` must not exist, or be an
        empty folder; it becomes the root itself where everything is restored.

        :param paths: relative to the root, folders with all below; none means everything.
        :param entries: the backup's list: what a link says is taken from there where restic has
            lost it (before 0.16 it kept text only).
        """
        restore(self._run, _checked(snapshot), root, paths, to, progress)
        mend_links(entries, to)

    # -- inside -------------------------------------------------------------------------------

    def _run(
        self,
        *arguments: str,
        on_message: Callable[[dict[str, Any]], None] | None = None,
        to: IO[bytes] | None = None,
    ) -> ResticRun:
        self.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        run = ResticRun(
            self.location,
            self.cache,
            [*self._global, *arguments],
            on_message=on_message,
            to=to,
            patience=self._patience,
        )
        run.finish()
        return run

    def _locked(
        self, *arguments: str, on_message: Callable[[dict[str, Any]], None] | None = None
    ) -> ResticRun:
        """Run what needs a lock; once more where only locks of the dead were in the way."""
        try:
            return self._run(*arguments, on_message=on_message)
        except Busy:
            self.unlock()
            return self._run(*arguments, on_message=on_message)

    def _full_id(self, short: str) -> str:
        """Return a snapshot's whole id; restic has just put it into its cache."""
        found = {p.name for p in self.cache.glob(f"*/snapshots/{short[:2]}/{short}*")}
        if len(found) == 1:
            return found.pop()
        ids: list[str] = []
        self._run("snapshots", "--json", short, on_message=lambda d: ids.append(d["id"]))
        if len(ids) != 1:
            raise ToolFailed(f"expected one snapshot {short}, found {len(ids)}")
        return ids[0]


class _Watch:
    """What a backup says on its way."""

    def __init__(self, progress: Progress, size: int | None) -> None:
        self._progress = progress
        self._size = size
        self.summary: dict[str, Any] | None = None
        self.stored = 0

    def message(self, d: dict[str, Any]) -> None:
        kind = d.get("message_type")
        if kind == "status" and "bytes_done" in d:
            self._progress.advance(d["bytes_done"], self._size or d.get("total_bytes"), "bytes")
        elif kind == "summary":
            self.summary = d
            self.stored = d.get("data_added_packed", d["data_added"])


def _checked(snapshot: str) -> str:
    if _ID.fullmatch(snapshot) is None:
        raise KeyNotFound(f"{snapshot!r} is no id of a snapshot", hint="read the catalog again")
    return snapshot


def _time(text: str) -> datetime:
    """Return the time that restic wrote with nanoseconds."""
    return parse_iso(re.sub(r"(\.\d{6})\d+", r"\1", text))
