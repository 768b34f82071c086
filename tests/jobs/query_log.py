"""What a site's vaults hold of a tenant's query log, counted change by change."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from include.respaldo.jobs.read_catalog import fetch_segment
from tests.jobs.site import Site

#: kind, table, new row
_Change = tuple[str, str, tuple[str | None, ...]]


def archived_inserts(site: Site, tenant: str) -> dict[str, Counter[int]]:
    """Return how often the log holds each inserted number: of ``orders`` and of ``visits``.

    Each commit counts once; where segments overlap, they must hold the same of it.
    """
    commits: dict[tuple[str, int], list[_Change]] = {}
    deployment = site.deployment()
    for chain in site.catalog(tenant).chains:
        chain_id = chain.begin.chain_id
        for segment in chain.segments:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "segment"
                fetch_segment(deployment.vaults, site.source(tenant), chain_id, segment, path)
                found = _changes(path)
            for lsn, changes in found.items():
                assert segment.start <= lsn < segment.end
                assert commits.setdefault((chain_id, lsn), changes) == changes
    counted = {"orders": Counter[int](), "visits": Counter[int]()}
    for changes in commits.values():
        for kind, table, row in changes:
            assert kind == "insert"
            counted[table][int(row[0 if table == "orders" else 1] or 0)] += 1
    return counted


def _changes(path: Path) -> dict[int, list[_Change]]:
    found: dict[int, list[_Change]] = {}
    for row in pq.read_table(path).sort_by("seq").to_pylist():
        found.setdefault(row["commit_lsn"], []).append((
            row["kind"],
            row["table"],
            tuple(row["new"] or ()),
        ))
    return found
