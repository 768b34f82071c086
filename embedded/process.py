"""One background process, known by its pid and the moment it was started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_reapable: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Process:
    """A process that this or another Python started; its start tells it from a reused pid."""

    pid: int
    started: int

    @classmethod
    def spawn(
        cls, argv: Sequence[str], *, log: Path, env: Mapping[str, str], detached: bool
    ) -> Process:
        """Start a program whose output goes to `log`.

        :param detached: it outlives this Python and its terminal.
        """
        with log.open("ab") as out:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=log.parent,
                start_new_session=detached,
            )
        _reapable[child.pid] = child
        return cls(child.pid, _start_of(child.pid) or 0)

    @classmethod
    def load(cls, file: Path) -> Process | None:
        """Return what `save` wrote, or None."""
        try:
            record: dict[str, Any] = json.loads(file.read_text())
            return cls(int(record["pid"]), int(record["started"]))
        except (OSError, ValueError, KeyError):
            return None

    def save(self, file: Path) -> None:
        """Record pid and start, so that another Python can stop it."""
        file.write_text(json.dumps(asdict(self)))

    @property
    def running(self) -> bool:
        return _start_of(self.pid) == self.started

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 10) -> None:
        """Signal it and return once it is gone; it is killed when it takes longer."""
        if self.running:
            os.kill(self.pid, how)
            if not self._gone(within):
                os.kill(self.pid, signal.SIGKILL)
                self._gone(within)
        child = _reapable.pop(self.pid, None)
        if child is not None:
            child.wait()

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)

    def session(self) -> list[Process]:
        """Return the other processes of its session: what a detached process has forked."""
        found = []
        for folder in Path("/proc").iterdir():
            pid = int(folder.name) if folder.name.isdigit() else self.pid
            started = _start_of(pid)
            if pid != self.pid and started is not None and _session_of(pid) == self.pid:
                found.append(Process(pid, started))
        return found

    def descendants(self) -> list[Process]:
        """Return what it has started, and what that has started, and so on."""
        found: list[Process] = []
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except OSError:
                continue
            for child in map(int, children):
                started = _start_of(child)
                if started is not None:
                    found.append(Process(child, started))
                    waiting.append(child)
        return found

    def _gone(self, within: float) -> bool:
        return wait_until(lambda: not self.running, within)


def wait_until(condition: Callable[[], bool], within: float) -> bool:
    """Poll until the condition holds; return whether it did within so many seconds."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _start_of(pid: int) -> int | None:
    """Return when the process was started, in clock ticks since boot; None where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
