"""Show what changed in a database, transaction by transaction, from its query log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from include.respaldo.jobs.read_catalog import fetch_segment, read_catalog
from include.respaldo.model.backup import Source
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import iso
from include.respaldo.querylog.browse import TransactionSummary, changes_of, transactions
from include.respaldo.querylog.ddl.messages import parse_messages
from include.respaldo.querylog.segment import DDL_PREFIX

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: the kind of what is no row
_MESSAGE = "message"


@dataclass(frozen=True)
class LogEntry:
    """One transaction as it is shown."""

    lsn: Lsn
    at: datetime
    xid: int
    #: (schema, table, kind, how many)
    counts: tuple[tuple[str, str, str, int], ...]
    #: one JSON object a changed row, where asked for
    rows: tuple[str, ...] = ()
    #: what it did to the schema: ``ALTER TABLE public.orders``
    schema_changes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What it changed: ``orders: 1 delete; order_lines: 3 delete``."""
        counts = (
            f"{table if schema == 'public' else f'{schema}.{table}'}: {n} {kind}"
            for schema, table, kind, n in self.counts
        )
        return "; ".join((*self.schema_changes, *counts))

    def to_json(self) -> dict[str, Any]:
        return {
            "lsn": str(self.lsn),
            "at": iso(self.at),
            "xid": self.xid,
            "changes": [
                {"schema": s, "table": t, "kind": k, "rows": n} for s, t, k, n in self.counts
            ],
            "schema_changes": list(self.schema_changes),
            "rows": [json.loads(row) for row in self.rows],
        }


def show_log(
    deployment: Deployment,
    source: Source,
    start: datetime,
    end: datetime,
    table: str | None = None,
    *,
    rows: bool = False,
) -> Iterator[LogEntry]:
    """Yield the transactions committed from `start` to `end`, in log order.

    :param table: only this table, as ``name`` (in schema public) or ``schema.name``.
    """
    wanted = None if table is None else _table(table)
    catalog = read_catalog(deployment, source)
    with TemporaryDirectory(dir=deployment.scratch("browse")) as folder:
        path = Path(folder) / "segment.parquet"
        for chain in catalog.chains:
            shown = chain.begin.start
            for segment in chain.path:
                if segment.last_commit_at < start or segment.first_commit_at > end:
                    continue
                fetch_segment(deployment.vaults, source, chain.begin.chain_id, segment, path)
                for found in transactions([path], start, end, wanted):
                    if found.commit.lsn < shown:
                        continue  # segments may overlap after a crash
                    details: tuple[str, ...] = ()
                    if rows:
                        details = tuple(
                            json.dumps(
                                {
                                    "kind": change.kind,
                                    "table": f"{change.schema}.{change.table}",
                                    "old": change.old,
                                    "new": change.new,
                                },
                                ensure_ascii=False,
                            )
                            for change in changes_of([path], found.commit.lsn)
                            if change.kind != _MESSAGE
                            and wanted in {None, (change.schema, change.table)}
                        )
                    yield LogEntry(
                        found.commit.lsn,
                        found.commit.at,
                        found.commit.xid,
                        tuple(
                            (s, t, k, n)
                            for (s, t, k), n in sorted(found.changes.items())
                            if k != _MESSAGE
                        ),
                        details,
                        _schema_changes(path, found),
                    )
                shown = max(shown, segment.end)


def _schema_changes(segment: Path, found: TransactionSummary) -> tuple[str, ...]:
    """Return the commands that changed the schema; each once, in their order."""
    if not any(kind == _MESSAGE for _, _, kind in found.changes):
        return ()
    contents = [
        change.content
        for change in changes_of([segment], found.commit.lsn)
        if change.prefix == DDL_PREFIX and change.content is not None
    ]
    return tuple(dict.fromkeys(command.what for command in parse_messages(contents, None)))


def _table(text: str) -> tuple[str, str]:
    schema, dot, name = text.partition(".")
    return (schema, name) if dot else ("public", text)
