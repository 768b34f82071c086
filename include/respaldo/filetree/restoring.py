"""A tree, or some of it, brought back from a snapshot to a folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from include.respaldo.errors import KeyNotFound, RestoreRefused
from include.respaldo.filetree.patterns import escaped_for_restic
from include.respaldo.filetree.restic_run import is_at_least
from include.respaldo.model.file_tree import Entry, Kind, shown
from include.respaldo.ports import Progress

#: what one run is told on its command line, in bytes
_ARGUMENTS = 200_000
#: smaller files are not worth looking for holes in
_SPARSE = 1024 * 1024


def restore(
    run: Callable[..., Any],
    snapshot: str,
    root: str,
    paths: Sequence[str],
    to: Path,
    progress: Progress,
) -> None:
    """Bring ``root/<path>`` of a snapshot to ``to/<path>``; see `Repository.restore`.

    :raises RestoreRefused: `to` holds something.
    :raises KeyNotFound: the snapshot does not hold a path.
    """
    progress.step("restoring")
    to.mkdir(parents=True, exist_ok=True)
    if any(to.iterdir()):
        raise RestoreRefused(f"{to} is not empty", hint="name a folder that does not exist yet")
    # restic makes the absolute path below its target: restored there, then moved up, by name only
    staging = Path(tempfile.mkdtemp(prefix=".respaldo-", dir=to))
    sparse = ["--sparse"] if is_at_least(0, 15) else []
    try:
        for includes in _portions(root, paths):
            run("restore", snapshot, *sparse, "--target", str(staging), *includes)
        if not sparse:
            _dig_holes(staging)
        source = staging / root.strip("/")
        missing = [p for p in paths if not os.path.lexists(source / p)]
        if missing or not source.is_dir():
            raise KeyNotFound(
                f"snapshot {snapshot[:8]} does not hold {shown(missing[0] if missing else root)}",
                hint="see the backup's list of files",
            )
        status = source.stat()
        with os.scandir(source) as entries:
            for entry in list(entries):
                Path(entry.path).rename(to / entry.name)
        if not paths:
            _like(source, to)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if not paths:
        os.utime(to, ns=(status.st_atime_ns, status.st_mtime_ns))


def _portions(root: str, paths: Sequence[str]) -> Iterator[list[str]]:
    if not paths:
        yield []
        return
    portion: list[str] = []
    for path in paths:
        portion.append("--include=" + escaped_for_restic(f"{root.rstrip('/')}/{path}"))
        if sum(map(len, portion)) > _ARGUMENTS:
            yield portion
            portion = []
    if portion:
        yield portion


def _dig_holes(folder: Path) -> None:
    """Give back the blocks of zeros that restic before 0.15 writes where a file had holes."""
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path, name)
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size < _SPARSE:
                continue
            # where a file system knows no holes, it stays as it is
            subprocess.run(
                ["fallocate", "--dig-holes", "--", file], capture_output=True, check=False
            )
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _like(source: Path, to: Path) -> None:
    """Give a folder the owner, mode, attributes and ACLs of another."""
    status = source.stat()
    if os.geteuid() == 0:
        os.chown(to, status.st_uid, status.st_gid)
    shutil.copystat(source, to)


def mend_links(entries: Iterable[Entry], root: Path) -> None:
    """Make the links anew whose target holds bytes that are no UTF-8; the others are left."""
    for entry in entries:
        if entry.kind is not Kind.LINK or entry.target.isascii() or _is_text(entry.target):
            continue
        link = root / entry.path
        if not link.is_symlink() or os.readlink(link) == entry.target:  # noqa: PTH115 (no path)
            continue
        above = link.parent.stat()
        status = link.lstat()
        link.unlink()
        link.symlink_to(entry.target)
        if os.geteuid() == 0:
            os.chown(link, status.st_uid, status.st_gid, follow_symlinks=False)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(link, ns=times, follow_symlinks=False)
        os.utime(link.parent, ns=(above.st_atime_ns, above.st_mtime_ns))


def _is_text(text: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in text)
