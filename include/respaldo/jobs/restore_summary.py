"""What a restore reached, for people and scripts."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from include.respaldo.connections import Connection
from include.respaldo.jobs.plan_restore import RestoreRequest, moment_text, target_text
from include.respaldo.model.moments import parse_iso
from include.respaldo.model.units import duration_text, size_text


@dataclass(frozen=True)
class RestoreSummary:
    """What was reached, for people and scripts."""

    request: RestoreRequest
    time_zone: str
    #: step -> seconds
    durations: dict[str, float]
    #: transactions and row changes replayed on top of the full backup
    transactions: int
    changes: int
    backup_id: str
    #: bytes of the new database
    size: int
    #: last transaction applied: {"lsn", "at", "xid"}, or None: the full backup was enough
    last: dict[str, Any] | None
    connect: str
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        request = self.request
        reached = "the state of the full backup: nothing was committed between it and the target"
        if self.last is not None:
            at = moment_text(parse_iso(self.last["at"]), self.time_zone)
            reached = (
                f"transaction {self.last['xid']}, committed {at} at position {self.last['lsn']}"
            )
        lines = [
            f"**{request.source} was restored to {target_text(request.target, self.time_zone)}**",
            "",
            f"- new database: `{request.new_name}` on server {request.to_server}, "
            f"{size_text(self.size)}; the live database was not touched",
            f"- last transaction in it: {reached}",
            f"- full backup {self.backup_id} plus {self.changes:,} changes of "
            f"{self.transactions:,} transactions",
            f"- took {duration_text(sum(self.durations.values()))} ("
            + ", ".join(f"{step} {duration_text(s)}" for step, s in self.durations.items())
            + ")",
            f"- connect: `{self.connect}`",
        ]
        if request.reason:
            lines.append(f"- reason: {request.reason}")
        return "\n".join(lines + [f"- note: {note}" for note in self.notes])

    def to_json(self) -> dict[str, Any]:
        return {
            "source": str(self.request.source),
            "target": str(self.request.target),
            "database": self.request.new_name,
            "server": self.request.to_server,
            "durations": self.durations,
            "transactions": self.transactions,
            "changes": self.changes,
            "backup_id": self.backup_id,
            "size": self.size,
            "last": self.last,
            "connect": self.connect,
            "notes": list(self.notes),
        }


def how_to_connect(connection: Connection, database: str) -> str:
    """Return a command line that enters the database; the password is asked for."""
    host, port = connection.host or "localhost", connection.port or 5432
    return f"psql -h {shlex.quote(host)} -p {port} -d {shlex.quote(database)}"
