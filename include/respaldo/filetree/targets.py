"""What restic is told to take where only some of a tree is: it knows no include patterns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.walk import walk
from include.respaldo.model.file_tree import Kind


def targets(root: Path, patterns: Patterns, *, one_file_system: bool) -> Iterator[bytes]:
    """Yield the absolute paths that together are what the patterns take, as few as possible.

    A folder that fits stands for all below it; what is excluded of that stays a pattern.
    """
    top = os.fsencode(root)
    whole: set[bytes] = set()
    for piece in walk(root, patterns, one_file_system=one_file_system):
        for row in piece:
            if not row.path or any(folder in whole for folder in _above(row.path)):
                continue
            if row.kind is Kind.FOLDER:
                if not patterns.fits(os.fsdecode(row.path)):
                    continue
                whole.add(row.path)
            yield top + b"/" + row.path


def _above(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path
