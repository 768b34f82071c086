"""What the command line shows: progress for people on a terminal, JSON for scripts."""

from __future__ import annotations

import json
import sys
from typing import Any

from include.respaldo.model.units import size_text


class TerminalProgress:
    """Progress on standard error: one line that is rewritten on a terminal, steps elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._live = sys.stderr.isatty()
        self._quiet = quiet
        self._open = False

    def step(self, message: str) -> None:
        """Print what is being done."""
        if not self._quiet:
            self._end_line()
            print(message, file=sys.stderr)

    def advance(self, done: int, total: int | None, unit: str) -> None:
        """Rewrite the line that says how far it is; nothing where nobody watches."""
        if self._quiet or not self._live:
            return
        shown = size_text(done) if unit == "bytes" else f"{done:,} {unit}"
        if total:
            whole = size_text(total) if unit == "bytes" else f"{total:,}"
            shown += f" of {whole} ({done * 100 // total} %)"
        print(f"\r\033[K  {shown}", end="", file=sys.stderr, flush=True)
        self._open = True

    def _end_line(self) -> None:
        if self._open:
            print("\r\033[K", end="", file=sys.stderr)
            self._open = False


def show(text: str, data: Any, *, as_json: bool) -> None:
    """Print the result: the text, or the data as JSON."""
    if as_json:
        print(json.dumps(data, indent=2, ensure_ascii=False, default=str))
    else:
        print(text)
