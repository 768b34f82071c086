"""Write CSV as PostgreSQL's COPY reads it: every value quoted, null an unquoted nothing."""

from __future__ import annotations

from pathlib import Path

import duckdb

from include.respaldo.querylog.log_files import literal


def row_columns(row: str, columns: int) -> str:
    """Return the SQL that spreads a list of values over columns, each after a comma."""
    return "".join(f", {row}[{i}] AS c{row}{i}" for i in range(1, columns + 1))


def write_csv(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> Path:
    """Write the rows of a query, without a header; return the path."""
    db.execute(f"""
        COPY ({query}) TO {literal(str(path))}
        (FORMAT csv, HEADER false, DELIMITER ',', QUOTE '"', ESCAPE '"', NULLSTR '', FORCE_QUOTE *)
    """)
    return path
