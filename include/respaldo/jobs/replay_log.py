"""Apply a query log to the database into which its full backup was loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo.errors import RestoreRefused
from include.respaldo.jobs.expected_rows import ExpectedRows, Table
from include.respaldo.jobs.fetch_restore import fetch_segments, fetch_sequences
from include.respaldo.jobs.plan_restore import PlannedRoute, RestorePlan
from include.respaldo.model.backup import Manifest
from include.respaldo.model.replay import Replayed, SchemaReplay
from include.respaldo.postgres.apply import apply_replay
from include.respaldo.postgres.apply_schema import SchemaReplayer, roles_of
from include.respaldo.postgres.connect import Session, connect
from include.respaldo.postgres.overlapping import Committed
from include.respaldo.postgres.renamed_schemas import RenamedSchemas
from include.respaldo.postgres.sequences import set_sequences
from include.respaldo.postgres.standins import own_database, place_standins, remove_standins
from include.respaldo.querylog.ddl.by_message import commands_by_message
from include.respaldo.querylog.reduction import reduce_log

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment


@dataclass(frozen=True)
class LogApplied:
    """What was replayed, and what `verify` has to find."""

    replayed: Replayed
    expected: dict[Table, int]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """For people."""
        changes, transactions = self.replayed.changes, self.replayed.transactions
        return f"{changes:,} changes of {transactions:,} transactions"


def replay_log(
    deployment: Deployment,
    planned: RestorePlan,
    route: PlannedRoute,
    manifest: Manifest,
    scratch: Path,
    filled_views: Iterable[tuple[str, str]],
) -> LogApplied:
    """Apply rows and schema changes in the order of the log, up to the target.

    :param filled_views: (schema, name) of the materialized views that held data in the full backup.

    Committed on the way, at each schema change: what a failure leaves is no state of the original.

    :raises LogDiverged: log and full backup do not fit together.
    :raises RestoreRefused: a schema change needs a role that the server does not have, and the
        request wants none to be missing.
    """
    assert manifest.anchor is not None
    deployment.progress.step(f"fetching {len(route.segments)} segments of the query log")
    segments = fetch_segments(deployment, planned, route, scratch)
    states, earlier = fetch_sequences(deployment, planned, route, scratch)
    replayed, items = reduce_log(
        segments,
        snapshot=manifest.anchor.snapshot,
        target=planned.request.target,
        scratch=scratch,
        memory_limit=f"{deployment.config.restore.memory // 1_048_576}MB",
        commands=commands_by_message,
    )
    deployment.progress.step(
        f"replaying {replayed.changes:,} changes of {replayed.transactions:,} transactions"
    )
    connection = deployment.connection_of(planned.request.to_server)
    with (
        connect(connection, planned.temporary_name) as conn,
        connect(connection, planned.temporary_name) as beside,
        connect(connection, planned.temporary_name) as looking,
    ):
        schema = SchemaReplayer(
            conn,
            source=str(planned.request.source),
            compare=_major(manifest.server_version) == conn.info.server_version // 10_000,
            filled_views=filled_views,
            exact_rights=planned.request.to_server == planned.request.source.server,
            progress=deployment.progress,
        )
        roles = _Roles(conn, planned, manifest)

        def change(item: SchemaReplay) -> None:
            roles.have(roles_of([item.command]))
            committed = (
                Committed(item.lsn, item.xid, item.at, item.is_overlapped)
                if item.at is not None
                else None
            )
            schema.require_other_types(item.command, item.overtaken)
            schema.run(item.command, committed)

        expected = ExpectedRows(looking)
        apply_replay(
            conn,
            expected.following(RenamedSchemas(looking).following(items)),
            deployment.progress,
            change=change,
            beside=beside,
        )
        notes = list(schema.finish())
        with conn.transaction():
            sequences = set_sequences(conn, states, earlier, schema.restarted)
        notes += sequences.notes
        notes += roles.give_back()
        return LogApplied(replayed, expected.tables(), tuple(notes))


def _major(server_version: str) -> int:
    """Return 15 of ``15.20 (Debian …)``."""
    return int(server_version.partition(".")[0])


class _Roles:
    """The stand-ins for roles that schema changes name and the server does not have."""

    def __init__(self, conn: Session, planned: RestorePlan, manifest: Manifest) -> None:
        self._conn = conn
        self._planned = planned
        self._owner = manifest.database.owner if manifest.database else None
        self._known: frozenset[str] = frozenset()

    def have(self, names: frozenset[str]) -> None:
        """Place those that are missing."""
        unknown = names - self._known
        if not unknown:
            return
        if not self._known and self._owner is not None:
            unknown |= {self._owner}
        missing = place_standins(self._conn, sorted(unknown))
        if missing and self._planned.request.with_all_roles:
            raise RestoreRefused(
                f"schema changes need roles that server {self._planned.request.to_server} does "
                f"not have: {', '.join(missing)}",
                hint="create them, or allow the restore to go on without them",
            )
        if self._owner in missing:
            own_database(self._conn, self._owner)
        self._known |= names

    def give_back(self) -> list[str]:
        """Remove them all; return whom they stood in for, in words."""
        return [
            f"role {role!r} is not on this server: what it owned belongs to "
            f"{self._conn.info.user!r}, what was granted to it is left out"
            for role in remove_standins(self._conn)
        ]
