"""What the benchmarks print: Markdown, so that it can be kept as it is."""

from __future__ import annotations

import time
from collections.abc import Sequence

_BEGUN = time.monotonic()


def title(text: str) -> None:
    """Begin a benchmark."""
    print(f"\n## {text}\n", flush=True)


def note(text: str) -> None:
    """Say what is going on, or what a figure means."""
    print(f"[{time.monotonic() - _BEGUN:4.0f} s] {text}", flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":"
            for column, width in enumerate(widths)]  # fmt: skip
    print("\n".join(["", line(head), line(rule), *map(line, texts), ""]), flush=True)


def seconds(value: float) -> str:
    """Return seconds, in words."""
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def megabytes(value: float) -> str:
    """Return bytes, in words."""
    return f"{value / 1e6:,.1f} MB" if value < 1e9 else f"{value / 1e9:,.2f} GB"


def verdict(*, aim: str, met: bool, found: str) -> None:
    """Say whether an aim is met."""
    print(f"**aim {aim}: {'met' if met else 'NOT met'}** ({found})\n", flush=True)
