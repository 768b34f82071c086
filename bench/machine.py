"""The machine that measures, and the processor time that its processes take."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def description() -> str:
    """Return one line: processors, memory, kernel, date, and how busy it is already."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}, "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load before {os.getloadavg()[0]:.1f}"
    )


def processor_time(pid: int) -> float:
    """Return the seconds that a process has used, without its children; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def command(pid: int) -> str:
    """Return how a process calls itself; nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


class ProcessorTimes:
    """Add up what groups of processes use, of which some come and go, while the block runs.

    :param groups: name -> the pids that belong to it now; asked again and again.
    """

    def __init__(self, groups: dict[str, Callable[[], Iterable[int]]], every: float = 0.2) -> None:
        self._groups, self._every = groups, every
        self._first: dict[tuple[str, int], float] = {}
        self._last: dict[tuple[str, int], float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessorTimes:
        self._look(first=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        self._ended.set()
        self._thread.join()

    def seconds(self, group: str) -> float:
        """Return what a group has used within the block."""
        return sum(used - self._first[key] for key, used in self._last.items() if key[0] == group)

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            self._look()

    def _look(self, *, first: bool = False) -> None:
        for group, pids in self._groups.items():
            for pid in pids():
                if used := processor_time(pid):
                    # one that came later has used nothing before
                    self._first.setdefault((group, pid), used if first else 0.0)
                    self._last[group, pid] = used
