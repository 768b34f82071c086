"""The SQL of this package: one complete statement a file, named after its use."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import LiteralString

_FOLDER = Path(__file__).parent / "sql"


@cache
def query(name: str) -> LiteralString:
    """Return the statement of ``sql/<name>.sql``, as written."""
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
