"""Find where a transaction committed, so that a restore can stop right before or after it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from include.respaldo.errors import RestoreRefused
from include.respaldo.jobs.read_catalog import fetch_segment, read_catalog
from include.respaldo.model.backup import Source
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import Commit
from include.respaldo.model.target import TargetLsn
from include.respaldo.querylog.browse import commit_at, commit_of

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: transaction ids in the log have 32 bits
_EPOCH = 1 << 32


def target_at(
    deployment: Deployment, source: Source, transaction: str, *, included: bool
) -> TargetLsn:
    """Return the target right after a transaction, or right before it.

    :param transaction: its id (32 or 64 bits), or its commit's position (``16/B374D848``).
    :param included: after it.
    :raises RestoreRefused: it is not in the query log; the hint names the next step.
    """
    commit = find_transaction(deployment, source, transaction)
    return TargetLsn(commit.lsn) if included else TargetLsn.before(commit.lsn)


def find_transaction(deployment: Deployment, source: Source, transaction: str) -> Commit:
    """Return the newest commit of that id or position.

    :raises RestoreRefused: it is not in the query log, or is neither an id nor a position.
    """
    is_position = "/" in transaction
    try:
        wanted = Lsn.parse(transaction) if is_position else int(transaction)
    except ValueError:
        raise _refused(source, f"{transaction!r} is neither an id nor a position") from None
    catalog = read_catalog(deployment, source)
    with TemporaryDirectory(dir=deployment.scratch("browse")) as folder:
        path = Path(folder) / "segment.parquet"
        for chain in reversed(catalog.chains):
            widen = chain.begin.snapshot.widen
            xid = wanted if wanted >= _EPOCH else widen(wanted % _EPOCH)
            for segment in chain.path:
                if is_position:
                    if not segment.start <= wanted < segment.end:
                        continue
                elif segment.max_xid < xid:
                    continue
                fetch_segment(deployment.vaults, source, chain.begin.chain_id, segment, path)
                found = commit_at(path, Lsn(wanted)) if is_position else commit_of(path, xid)
                if found is not None and (is_position or widen(found.xid) == xid):
                    return found
    raise _refused(source, f"transaction {transaction} is not in the query log")


def _refused(source: Source, why: str) -> RestoreRefused:
    return RestoreRefused(
        f"{source}: {why}",
        hint="`log` shows transactions with their ids and positions",
    )
