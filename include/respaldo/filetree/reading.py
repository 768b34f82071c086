"""Many entries read side by side: by a few threads, and by processes once it is worth it.

Reading a small file is mostly Python's own work, which threads cannot share; so each thread hands
what it reads to a process of its own, once there is much to read.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from include.respaldo.filetree.hashing import attributes_digest, hash_file
from include.respaldo.filetree.walk import Row, row_of
from include.respaldo.model.file_tree import Kind, Problem

WORKERS = min(4, os.cpu_count() or 1)
_PORTION = 128
#: from so many files on, processes are started; that takes as long as a thousand files
_MANY = 5000
_PROJECT = Path(__file__).resolve().parents[3]
_CHILD = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from include.respaldo.filetree.reading import serve; serve()"
)


class Read(NamedTuple):
    """What reading an entry adds to a look at it."""

    sha256: str = ""
    target: bytes = b""
    xattrs: str = ""
    incompressible: bool = False
    problem: Problem | None = None
    #: what it was when it had been read, where that differs from the look at it before
    now: Row | None = None


def read_entry(root: bytes, row: Row) -> Read:
    """Read one entry; what goes wrong is in the result, never raised."""
    if row.unreadable:
        return Read(problem=Problem.UNREADABLE)
    path = root + b"/" + row.path if row.path else root or b"/"
    try:
        if row.kind is Kind.FILE:
            found = hash_file(path)
            now = None if found.status is None else row_of(row.path, found.status)
            return Read(
                sha256=found.sha256,
                xattrs=found.xattrs,
                incompressible=found.incompressible,
                problem=found.problem,
                now=None if now == row else now,
            )
        target = os.readlink(path) if row.kind is Kind.LINK else b""  # noqa: PTH115 (bytes)
        return Read(target=target, xattrs=attributes_digest(path))
    except FileNotFoundError:
        return Read(problem=Problem.VANISHED)
    except OSError:
        return Read(problem=Problem.UNREADABLE)


class Readers:
    """Read entries below a root; leaving the block ends the threads and processes.

    :param root: as the system has it, without a slash at its end.
    """

    def __init__(self, root: bytes, workers: int = WORKERS) -> None:
        self._root = root
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, "read")
        self._own = threading.local()
        self._children: list[subprocess.Popen[bytes]] = []
        self._files = 0

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for child in self._children:
            with suppress(BrokenPipeError):  # what it was not asked any more
                child.stdin.close()  # type: ignore[union-attr]
            child.kill()
            child.wait()
            child.stdout.close()  # type: ignore[union-attr]

    def begin(self, rows: list[Row]) -> list[Future[list[Read]]]:
        """Begin to read; `results` waits for it."""
        self._files += sum(row.kind is Kind.FILE for row in rows)
        by_process = self._files >= _MANY and self._workers > 1
        return [
            self._pool.submit(self._portion, rows[i : i + _PORTION], by_process)
            for i in range(0, len(rows), _PORTION)
        ]

    def one(self, row: Row) -> Read:
        """Read an entry, here and now."""
        return read_entry(self._root, row)

    def _portion(self, rows: list[Row], by_process: bool) -> list[Read]:
        if not by_process:
            return [read_entry(self._root, row) for row in rows]
        child = getattr(self._own, "child", None)
        if child is None:
            child = self._own.child = _start(self._root)
            self._children.append(child)
        try:
            pickle.dump([tuple(row) for row in rows], cast("IO[bytes]", child.stdin))
            cast("IO[bytes]", child.stdin).flush()
            return [Read(*found) for found in _load(child.stdout)]
        except (OSError, EOFError, pickle.UnpicklingError):  # it was killed: done without it
            return [read_entry(self._root, row) for row in rows]


def results(begun: Iterable[Future[list[Read]]]) -> Iterator[Read]:
    """Yield what was read, in the order of the rows."""
    for portion in begun:
        yield from portion.result()


def serve() -> None:
    """Read what the other process asks for, until it closes the pipe."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    root = _load(requests)
    while True:
        try:
            rows = _load(requests)
        except EOFError:
            return
        found = [tuple(read_entry(root, Row(*row))) for row in rows]
        pickle.dump(found, answers)
        answers.flush()


def _load(pipe: IO[bytes] | None) -> Any:
    assert pipe is not None
    return pickle.load(pipe)  # noqa: S301 (written by this program)


def _start(root: bytes) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", _CHILD, str(_PROJECT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    pickle.dump(root, cast("IO[bytes]", child.stdin))
    return child
