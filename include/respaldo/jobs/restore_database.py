"""Restore a database beside the live one, exactly as it was at the target, or not at all.

`restore` loads the full backup into a database of a temporary name, `replay` applies the query log
in one transaction, `verify` compares counts, sets what makes it usable and gives it its final
name: until then nothing stands under that name. `discard` removes the temporary database. What one
step tells the next is kept in the temporary database's comment, so any worker can go on.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from include.respaldo.errors import Busy, LogDiverged, RestoreFailed, RestoreRefused, VaultError
from include.respaldo.jobs.plan_restore import (
    PlannedRoute,
    RestorePlan,
    RestoreRequest,
    moment_text,
    plan,
    target_text,
)
from include.respaldo.jobs.read_catalog import fetch_segment
from include.respaldo.model import keys
from include.respaldo.model.backup import Manifest
from include.respaldo.model.moments import iso, parse_iso
from include.respaldo.model.segment import Segment
from include.respaldo.model.units import duration_text, size_text
from include.respaldo.postgres.apply import apply_replay
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.counts import count_rows
from include.respaldo.postgres.load import (
    create_database,
    database_comment,
    database_exists,
    drop_database,
    load_dump,
    rename_database,
    restore_identities,
    set_comment,
    set_properties,
)
from include.respaldo.postgres.locks import try_lock
from include.respaldo.postgres.sequences import set_sequences
from include.respaldo.querylog.reduction import reduce_log
from include.respaldo.querylog.segment import read_footer

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: fetches from a vault at the same time
_FETCHERS = 4


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


def restore_database(deployment: Deployment, request: RestoreRequest) -> RestoreSummary:
    """Plan, restore, replay, verify: all in one; discards what a failure leaves behind.

    :raises RestoreRefused: it cannot be done exactly; nothing was begun.
    :raises RestoreFailed: it was begun and stopped; nothing stands under the new name.
    """
    planned = plan(deployment, request)
    deployment.progress.step(planned.text)
    try:
        restore(deployment, planned)
        replay(deployment, planned)
        return verify(deployment, planned)
    except BaseException:
        discard(deployment, planned)
        raise


def restore(deployment: Deployment, planned: RestorePlan) -> str:
    """Load the full backup into the temporary database; return which backup, in words.

    A full backup that is damaged in both regions is passed over for the next older one, whose log
    leads to the same target.

    :raises RestoreRefused: the new name is taken.
    :raises RestoreFailed: no full backup of the plan could be loaded.
    """
    request = planned.request
    connection = deployment.connection_of(request.to_server)
    begun = time.monotonic()
    with _exclusively(deployment, planned) as admin, _scratch(deployment, "restore") as scratch:
        if database_exists(admin, request.new_name):
            raise RestoreRefused(
                f"server {request.to_server} has a database {request.new_name!r} already",
                hint="choose another name, or drop that database first",
            )
        drop_database(admin, planned.temporary_name)
        notes = list(planned.notes)
        for route in planned.routes:
            try:
                manifest = _fetch_backup(deployment, planned, route, scratch)
            except VaultError as error:
                notes.append(f"full backup {route.backup_id} was passed over: {error.message}")
                continue
            break
        else:
            raise RestoreFailed(
                "no full backup that leads to the target can be read: " + "; ".join(notes),
                hint="`catalog` shows what each region holds",
            )
        assert manifest.database is not None
        deployment.progress.step(f"loading the full backup {manifest.backup_id}")
        notes += create_database(
            admin, planned.temporary_name, manifest.database, "respaldo: restoring"
        )
        loaded = load_dump(
            connection,
            planned.temporary_name,
            scratch / manifest.files[0].name,
            scratch,
            jobs=deployment.config.restore.jobs,
            progress=deployment.progress,
        )
        with connect(connection, planned.temporary_name) as conn:
            restore_identities(conn, manifest.database.identities_set)
        stage = {
            "stage": "loaded",
            "route": planned.routes.index(route),
            "durations": {"restore": round(time.monotonic() - begun, 3)},
            "notes": notes + list(loaded) + list(deployment.vaults.notes),
        }
        _set_stage(admin, planned, stage)
    return f"full backup {manifest.backup_id}, {size_text(manifest.stored_size)}"


def replay(deployment: Deployment, planned: RestorePlan) -> str:
    """Apply the query log up to the target, in one transaction; return how much, in words.

    :raises LogDiverged: log and full backup do not fit together; nothing was applied.
    """
    connection = deployment.connection_of(planned.request.to_server)
    begun = time.monotonic()
    with _exclusively(deployment, planned) as admin, _scratch(deployment, "replay") as scratch:
        stage = _stage(admin, planned)
        if stage["stage"] == "replayed":
            return "already replayed"
        route = planned.routes[stage["route"]]
        manifest = _read_manifest(deployment, planned, route)
        assert manifest.anchor is not None
        deployment.progress.step(f"fetching {len(route.segments)} segments of the query log")
        segments = _fetch_segments(deployment, planned, route, scratch)
        sequences = manifest_sequences(deployment, planned, route, scratch)
        reduced, tables = reduce_log(
            segments,
            snapshot=manifest.anchor.snapshot,
            target=planned.request.target,
            scratch=scratch,
            memory_limit=f"{deployment.config.restore.memory // 1_048_576}MB",
        )
        deployment.progress.step(
            f"replaying {reduced.changes:,} changes of {reduced.transactions:,} transactions"
        )
        with connect(connection, planned.temporary_name, autocommit=False) as conn:
            applied = apply_replay(conn, tables, deployment.progress)
            set_sequences(conn, sequences)
            stage |= {
                "stage": "replayed",
                "durations": {
                    **stage["durations"],
                    "replay": round(time.monotonic() - begun, 3),
                },
                "transactions": reduced.transactions,
                "changes": reduced.changes,
                "last": (
                    {
                        "lsn": str(reduced.last.lsn),
                        "at": iso(reduced.last.at),
                        "xid": reduced.last.xid,
                    }
                    if reduced.last
                    else None
                ),
                "rows": [[schema, table, n] for (schema, table), n in applied.rows.items()],
                "notes": stage["notes"] + list(deployment.vaults.notes),
            }
            _set_stage(conn, planned, stage)
            conn.commit()
    return f"{reduced.changes:,} changes of {reduced.transactions:,} transactions"


def verify(deployment: Deployment, planned: RestorePlan) -> RestoreSummary:
    """Check the restored database, give it its final name, and say what was reached.

    :raises LogDiverged: a table does not hold as many rows as full backup and log say.
    :raises RestoreRefused: the new name was taken meanwhile.
    """
    request = planned.request
    connection = deployment.connection_of(request.to_server)
    begun = time.monotonic()
    with _exclusively(deployment, planned) as admin:
        stage = _stage(admin, planned)
        if stage["stage"] != "replayed":
            raise RestoreFailed(
                "the query log was not replayed yet", hint="run the restore from its beginning"
            )
        route = planned.routes[stage["route"]]
        manifest = _read_manifest(deployment, planned, route)
        assert manifest.database is not None
        expected = {(schema, table): n for schema, table, n in stage["rows"]}
        with connect(connection, planned.temporary_name) as conn:
            found = count_rows(conn, list(expected))
        for table, rows in expected.items():
            if found[table] != rows:
                raise LogDiverged(
                    f"{'.'.join(table)} has {found[table]:,} rows; full backup and query log "
                    f"together have {rows:,}",
                    hint="the restore was given up; try a moment after the next full backup",
                )
        notes = list(stage["notes"])
        notes += set_properties(admin, planned.temporary_name, manifest.database)
        when = target_text(request.target, planned.time_zone)
        set_comment(
            admin,
            planned.temporary_name,
            f"respaldo: restored from {request.source} as of {when}. {request.reason}".strip(),
        )
        rename_database(admin, planned.temporary_name, request.new_name)
        size = _size(admin, request.new_name)
    if planned.large_objects:
        notes.append(
            f"{planned.large_objects} large objects are as of the full backup {route.backup_id}"
        )
    durations = {**stage["durations"], "verify": round(time.monotonic() - begun, 3)}
    return RestoreSummary(
        request=request,
        time_zone=planned.time_zone,
        durations=durations,
        transactions=stage["transactions"],
        changes=stage["changes"],
        backup_id=route.backup_id,
        size=size,
        last=stage["last"],
        connect=_how_to_connect(connection.host, connection.port, request.new_name),
        notes=tuple(dict.fromkeys(notes)),
    )


def discard(deployment: Deployment, planned: RestorePlan) -> None:
    """Remove the temporary database, if there is one; the final name is never touched."""
    server = deployment.server(planned.request.to_server)
    with connect(deployment.connection_of(server.name), server.database) as admin:
        drop_database(admin, planned.temporary_name)


def _how_to_connect(host: str | None, port: int | None, database: str) -> str:
    import shlex

    return f"psql -h {host or 'localhost'} -p {port or 5432} -d {shlex.quote(database)}"


@contextmanager
def _exclusively(deployment: Deployment, planned: RestorePlan) -> Iterator[Any]:
    """Yield an administrative session that alone works on this restore."""
    server = deployment.server(planned.request.to_server)
    with connect(deployment.connection_of(server.name), server.database) as admin:
        if not try_lock(admin, f"respaldo restore {planned.temporary_name}"):
            raise Busy(
                f"{planned.request.new_name!r} is being restored by somebody else now",
                hint="wait for that restore, or choose another name",
            )
        yield admin


@contextmanager
def _scratch(deployment: Deployment, purpose: str) -> Iterator[Path]:
    folder = Path(mkdtemp(prefix=f"{purpose}-", dir=deployment.scratch()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_manifest(deployment: Deployment, planned: RestorePlan, route: PlannedRoute) -> Manifest:
    key = keys.manifest_key(planned.request.source, route.backup_id)
    return deployment.vaults.read_verified(key, Manifest.from_bytes)


def _fetch_backup(
    deployment: Deployment, planned: RestorePlan, route: PlannedRoute, scratch: Path
) -> Manifest:
    manifest = _read_manifest(deployment, planned, route)
    deployment.progress.step(
        f"fetching the full backup {route.backup_id} ({size_text(manifest.stored_size)})"
    )
    prefix = keys.backup_prefix(planned.request.source, route.backup_id)
    for file in manifest.files:
        deployment.vaults.download(prefix + file.name, scratch / file.name, sha256=file.sha256)
    return manifest


def _fetch_segments(
    deployment: Deployment, planned: RestorePlan, route: PlannedRoute, scratch: Path
) -> list[Path]:
    """Download and verify the segments, a few at a time, in log order."""
    source, chain_id = planned.request.source, route.chain_id or ""
    paths = [
        scratch / f"{segment.start.key}-{segment.end.key}.parquet" for segment in route.segments
    ]

    def fetch(pair: tuple[Segment, Path]) -> None:
        fetch_segment(deployment.vaults, source, chain_id, *pair)

    with ThreadPoolExecutor(_FETCHERS) as pool:
        pairs = zip(route.segments, paths, strict=True)
        for number, _ in enumerate(pool.map(fetch, pairs), 1):
            deployment.progress.advance(number, len(paths), "segments")
    return paths


def manifest_sequences(
    deployment: Deployment, planned: RestorePlan, route: PlannedRoute, scratch: Path
) -> Any:
    """Return the sequence states first recorded at or past the target."""
    if route.sequences_from is None:
        return ()
    path = scratch / "sequences.parquet"
    fetch_segment(
        deployment.vaults,
        planned.request.source,
        route.chain_id or "",
        route.sequences_from,
        path,
    )
    return read_footer(path).state.sequences


def _set_stage(conn: Any, planned: RestorePlan, stage: dict[str, Any]) -> None:
    set_comment(conn, planned.temporary_name, "respaldo: restoring " + json.dumps(stage))


def _stage(admin: Any, planned: RestorePlan) -> dict[str, Any]:
    comment = database_comment(admin, planned.temporary_name) or ""
    _, _, text = comment.partition("respaldo: restoring ")
    if not text:
        raise RestoreFailed(
            f"the full backup was not loaded yet (no database {planned.temporary_name})",
            hint="run the restore from its beginning",
        )
    stage: dict[str, Any] = json.loads(text)
    return stage


def _size(admin: Any, database: str) -> int:
    row = admin.execute("SELECT pg_catalog.pg_database_size(%s::name)", [database]).fetchone()
    return int(row[0])
