"""A second look at a tree, once its snapshot is made: is what was stored what was listed?"""

from __future__ import annotations

import os
from pathlib import Path

from include.respaldo.filetree.columns import pc
from include.respaldo.filetree.digests import DigestCache
from include.respaldo.filetree.restic import Snapshot
from include.respaldo.filetree.walk import row_of
from include.respaldo.model.file_tree import Kind

_SAME = ("kind", "size", "mode", "uid", "gid", "mtime_ns", "ctime_ns", "inode")


def is_as_listed(root: Path, listed: DigestCache, snapshot: Snapshot) -> bool:
    """Return whether a snapshot surely holds what was listed; False: it has to be asked.

    Costs what changed since the day before, not what there is. All that was looked at anew is
    looked at once more: what is the same before and after the snapshot was the same in between. Of
    the files that were not, restic says that it found none changed: it compares the same values
    (size, times, inode) with the snapshot before, and counts. Files that came or went change
    the counts, too, and the times of their folders.
    """
    top = os.fsencode(root).rstrip(b"/")
    files = as_before = 0
    for batch in listed.batches():
        is_reused = batch.column("reused")
        if pc.sum(pc.is_valid(batch.column("problem"))).as_py():
            return False
        files += pc.sum(pc.equal(batch.column("kind"), Kind.FILE.value)).as_py() or 0
        as_before += pc.sum(pc.or_(is_reused, batch.column("again"))).as_py() or 0
        anew = batch.filter(pc.invert(is_reused))
        columns = [anew.column(name).to_pylist() for name in ("path", *_SAME)]
        for path, *before in zip(*columns, strict=True):
            try:
                row = row_of(b"", os.lstat(top + b"/" + path if path else top or b"/"))
            except OSError:
                return False
            if list(row[1:9]) != before:
                return False
    return snapshot.unread == 0 and snapshot.files == files and snapshot.unchanged == as_before
