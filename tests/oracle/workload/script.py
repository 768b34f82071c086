"""What sessions executed, kept in a file, and executed again in the order in which it ended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from embedded.postgres import PostgresServer
from tests.oracle.workload.sessions import Executed

#: what waits longer than this waits for a session that comes later in the script
_LIMITS = "set lock_timeout to '100ms'; set statement_timeout to '10s'; set xmloption to content"


@dataclass(frozen=True)
class Step:
    """One client's string, in one of the sessions."""

    session: int
    text: str
    #: it failed when it was recorded
    failed: bool = False


def write_script(path: Path, executed: Iterable[Executed]) -> None:
    lines = [
        json.dumps([e.ended.isoformat(), e.part, e.session, e.text, e.error]) for e in executed
    ]
    path.write_text("\n".join(lines) + "\n")


def read_script(path: Path, until: datetime | None = None) -> tuple[list[Step], list[Step]]:
    """Return the steps before Respaldo came, and those after, up to a moment."""
    before: list[Step] = []
    after: list[Step] = []
    for line in path.read_text().splitlines():
        ended, part, session, text, error = json.loads(line)
        if until is None or datetime.fromisoformat(ended) <= until:
            (before if part == "before" else after).append(Step(session, text, bool(error)))
    return before, after


def play(server: PostgresServer, database: str, steps: Iterable[Step]) -> None:
    """Execute the steps, whatever fails; roll back what is left open at the end."""
    sessions: dict[int, psycopg.Connection[Any]] = {}
    try:
        for step in steps:
            if step.session not in sessions:
                sessions[step.session] = server.connect(
                    database, prepare_threshold=None, client_encoding="utf8"
                )
                sessions[step.session].execute(_LIMITS)
            try:
                cursor = sessions[step.session].execute(step.text)  # type: ignore[arg-type]
                while cursor.nextset():
                    pass
            except psycopg.Error:
                continue
    finally:
        for session in sessions.values():
            session.close()
    for (gid,) in server.execute(
        "select gid from pg_prepared_xacts where database = current_database()", database
    ):
        server.execute(sql.SQL("rollback prepared {}").format(sql.Literal(gid)), database)
