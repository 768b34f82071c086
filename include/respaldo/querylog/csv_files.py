"""Write CSV as PostgreSQL's COPY reads it: every value quoted, null an unquoted nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

from include.respaldo.querylog.log_files import literal


def write_csv(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> Path:
    """Write the rows of a query, without a header; return the path."""
    db.execute(f"""
        COPY ({query}) TO {literal(str(path))}
        (FORMAT csv, HEADER false, DELIMITER ',', QUOTE '"', ESCAPE '"', NULLSTR '', FORCE_QUOTE *)
    """)
    return path


def csv_line(values: Iterable[str | None]) -> str:
    """Return the same for one row, which ends its line."""
    quoted = ("" if v is None else '"' + v.replace('"', '""') + '"' for v in values)
    return ",".join(quoted) + "\n"
