"""What the demo prints: numbered steps, plain words, times that people read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from include.respaldo.model.units import duration_text

INDENT = "   "
ZONE = ZoneInfo("Europe/Madrid")


class Stopped(Exception):
    """The demo cannot go on.

    :param log: a file whose last lines say why.
    :param advice: what to do.
    """

    def __init__(self, message: str, *, log: Path | str | None = None, advice: str = "") -> None:
        super().__init__(message)
        self.log = log
        self.advice = advice or "look at the log, then play it again: make demo-clean demo"


class Screen:
    """Standard output, with the number of the step and the time since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._number = 0

    @property
    def elapsed(self) -> str:
        """The time since the beginning."""
        return duration_text(time.monotonic() - self._began)

    def title(self, *lines: str) -> None:
        """Print what this is about."""
        self._print("", *lines)

    def step(self, text: str, subtitle: str) -> None:
        """Begin a step, with the same in Spanish below it."""
        self._number += 1
        since = f"[{self.elapsed}]" if self._number > 1 else ""
        head = f"{self._number:>2} {text}"
        self._print("", f"{head:<78} {since}".rstrip(), f"{INDENT}{subtitle}")

    def say(self, *lines: str) -> None:
        """Print lines of the step."""
        self._print(*(INDENT + line if line else "" for line in lines))

    def quote(self, text: str, *, limit: int | None = None, width: int = 150) -> None:
        """Print what something else has said: a program, a note, a log."""
        lines = text.strip("\n").splitlines()
        shown = lines if limit is None else lines[:limit]
        for line in shown:
            self._print(f"{INDENT}| {line if len(line) <= width else line[: width - 1] + '…'}")
        if len(lines) > len(shown):
            self._print(f"{INDENT}| … {len(lines) - len(shown)} more lines")

    def stopped(self, error: Stopped) -> None:
        """Print why the demo cannot go on, the end of the log, and what to do."""
        sys.stdout.flush()
        lines = ["", f"STOPPED in step {self._number}: {error}"]
        if isinstance(error.log, Path):
            lines += [
                f"the end of {error.log}:",
                *(f"{INDENT}| {x[:200]}" for x in tail(error.log)),
            ]
        elif error.log:
            lines += [f"{INDENT}| {x[:200]}" for x in error.log.splitlines()[-30:]]
        lines.append(f"what to do: {error.advice}")
        print("\n".join(lines), file=sys.stderr, flush=True)

    def _print(self, *lines: str) -> None:
        print("\n".join(lines), flush=True)


def wait_for(
    condition: Callable[[], bool], within: float, otherwise: Callable[[], Stopped]
) -> float:
    """Return after how many seconds the condition held.

    :raises Stopped: it did not within so many seconds.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within:
            raise otherwise()
        time.sleep(0.3)
    return time.monotonic() - began


def tail(file: Path, lines: int = 25) -> list[str]:
    """Return the last lines of a file; none where there is no file."""
    try:
        return file.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def clock(at: datetime) -> str:
    """Return a moment as the people of the story read it: ``11:29:58``."""
    return at.astimezone(ZONE).strftime("%H:%M:%S")


def table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return two columns as lines."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {value}" for name, value in rows]
