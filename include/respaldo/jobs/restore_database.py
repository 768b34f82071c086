"""Restore a database beside the live one, exactly as it was at the target, or not at all.

`restore` loads the full backup into a database of a temporary name, `replay` applies the query log,
`verify` compares counts, sets what makes it usable and gives it its final
name: until then nothing stands under that name. `discard` removes the temporary database. What one
step tells the next is kept in the temporary database's comment, so any worker can go on.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from include.respaldo.errors import (
    Busy,
    LogDiverged,
    RespaldoError,
    RestoreFailed,
    RestoreRefused,
    VaultError,
)
from include.respaldo.jobs.fetch_restore import fetch_backup, read_manifest
from include.respaldo.jobs.plan_restore import (
    RestorePlan,
    RestoreRequest,
    plan,
    target_text,
)
from include.respaldo.jobs.replay_log import replay_log
from include.respaldo.jobs.restore_stage import (
    begin_stage,
    belongs_to,
    exclusively,
    read_stage,
    set_stage,
)
from include.respaldo.jobs.restore_summary import RestoreSummary, how_to_connect
from include.respaldo.model.moments import iso
from include.respaldo.model.units import size_text
from include.respaldo.postgres.connect import Session, connect
from include.respaldo.postgres.counts import count_rows
from include.respaldo.postgres.load import load_dump
from include.respaldo.postgres.new_database import (
    create_database,
    database_exists,
    drop_database,
    rename_database,
    restore_identities,
    restore_index_columns,
    restore_inherited_storage,
    set_properties,
)
from include.respaldo.postgres.standins import remove_standins

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

log = logging.getLogger(__name__)


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
    except Busy:
        raise  # what stands there is somebody else's
    except BaseException:
        try:
            discard(deployment, planned)
        except RespaldoError as error:  # what went wrong first says more
            log.warning("%s is left behind: %s", planned.temporary_name, error)
        raise


def restore(deployment: Deployment, planned: RestorePlan) -> str:
    """Load the full backup into the temporary database; return which backup, in words.

    A full backup that is damaged in both regions is passed over for the next older one, whose log
    leads to the same target.

    :raises RestoreRefused: the new name is taken.
    :raises RestoreFailed: no full backup of the plan could be loaded.
    """
    with exclusively(deployment, planned) as admin, _scratch(deployment, "restore") as scratch:
        stage = _load(deployment, planned, admin, scratch)
    return str(stage["backup"])


def _load(
    deployment: Deployment, planned: RestorePlan, admin: Session, scratch: Path
) -> dict[str, Any]:
    """Make the temporary database from the full backup; return what the replay has to know."""
    request = planned.request
    connection = deployment.connection_of(request.to_server)
    begun = time.monotonic()
    if database_exists(admin, request.new_name):
        raise RestoreRefused(
            f"server {request.to_server} has a database {request.new_name!r} already",
            hint="choose another name, or drop that database first",
        )
    _drop(admin, planned)
    notes = list(planned.notes)
    for route in planned.routes:
        try:
            manifest = fetch_backup(deployment, planned, route, scratch)
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
    notes += create_database(admin, planned.temporary_name, manifest.database, begin_stage(planned))
    loaded = load_dump(
        connection,
        planned.temporary_name,
        scratch / manifest.files[0].name,
        scratch,
        jobs=deployment.config.restore.jobs,
        extensions=manifest.database.extensions,
        progress=deployment.progress,
        # schema changes of the log may name those roles too; the replay removes them
        keep_standins=True,
    )
    notes += loaded.notes
    with connect(connection, planned.temporary_name) as conn:
        restore_identities(conn, manifest.database.identities_set)
        restore_index_columns(conn, manifest.database.index_columns)
        restore_inherited_storage(conn, manifest.database.inherited_storage)
    stage = {
        "stage": "loaded",
        "backup": f"full backup {manifest.backup_id}, {size_text(manifest.stored_size)}",
        "route": planned.routes.index(route),
        "durations": {"restore": round(time.monotonic() - begun, 3)},
        "notes": notes + list(deployment.vaults.notes),
        "views": loaded.views,
    }
    set_stage(admin, planned, stage)
    return stage


def _drop(admin: Session, planned: RestorePlan) -> None:
    """Remove the temporary database, and the roles that stood in for others in it."""
    drop_database(admin, planned.temporary_name)
    remove_standins(admin)


def replay(deployment: Deployment, planned: RestorePlan) -> str:
    """Apply the query log up to the target; return how much, in words.

    A replay that was interrupted half way begins again with the full backup.

    :raises LogDiverged: log and full backup do not fit together.
    """
    with exclusively(deployment, planned) as admin, _scratch(deployment, "replay") as scratch:
        stage = read_stage(admin, planned)
        if stage["stage"] == "replayed":
            return "already replayed"
        if stage["stage"] == "replaying":
            deployment.progress.step("a replay was interrupted: beginning again")
            stage = _load(deployment, planned, admin, scratch)
        begun = time.monotonic()
        route = planned.routes[stage["route"]]
        manifest = read_manifest(deployment, planned, route)
        set_stage(admin, planned, {**stage, "stage": "replaying"})
        # a load by an older version filled them itself
        views = [(schema, name) for schema, name in stage.pop("views", ())]
        applied = replay_log(deployment, planned, route, manifest, scratch, views)
        last = applied.replayed.last
        stage |= {
            "stage": "replayed",
            "durations": {**stage["durations"], "replay": round(time.monotonic() - begun, 3)},
            "transactions": applied.replayed.transactions,
            "changes": applied.replayed.changes,
            "last": ({"lsn": str(last.lsn), "at": iso(last.at), "xid": last.xid} if last else None),
            "rows": [[schema, table, n] for (schema, table), n in applied.expected.items()],
            "notes": stage["notes"] + list(applied.notes) + list(deployment.vaults.notes),
        }
        set_stage(admin, planned, stage)
    return applied.text


def verify(deployment: Deployment, planned: RestorePlan) -> RestoreSummary:
    """Check the restored database, give it its final name, and say what was reached.

    :raises LogDiverged: a table does not hold as many rows as full backup and log say.
    :raises RestoreRefused: the new name was taken meanwhile.
    """
    request = planned.request
    connection = deployment.connection_of(request.to_server)
    with exclusively(deployment, planned) as admin:
        stage = read_stage(admin, planned)
        if stage["stage"] in {"loaded", "replaying"}:
            raise RestoreFailed(
                "the query log was not replayed yet", hint="run the restore from its beginning"
            )
        if stage["stage"] == "replayed":
            stage = _verify(deployment, planned, admin, stage)
        if database_exists(admin, planned.temporary_name):
            rename_database(admin, planned.temporary_name, request.new_name)
        size = _size(admin, request.new_name)
    return RestoreSummary(
        request=request,
        time_zone=planned.time_zone,
        durations=stage["durations"],
        transactions=stage["transactions"],
        changes=stage["changes"],
        backup_id=planned.routes[stage["route"]].backup_id,
        size=size,
        last=stage["last"],
        connect=how_to_connect(connection, request.new_name),
        notes=tuple(dict.fromkeys(stage["notes"])),
    )


def _verify(
    deployment: Deployment, planned: RestorePlan, admin: Session, stage: dict[str, Any]
) -> dict[str, Any]:
    """Count, set what makes the database usable, and write down that it is complete."""
    request = planned.request
    begun = time.monotonic()
    route = planned.routes[stage["route"]]
    manifest = read_manifest(deployment, planned, route)
    assert manifest.database is not None
    expected = {(schema, table): n for schema, table, n in stage["rows"]}
    with connect(deployment.connection_of(request.to_server), planned.temporary_name) as conn:
        found = count_rows(conn, list(expected))
    for table, rows in expected.items():
        if found[table] != rows:
            raise LogDiverged(
                f"{'.'.join(table)} has {found[table]:,} rows; full backup and query log "
                f"together have {rows:,}",
                hint="the restore was given up; try a moment after the next full backup",
            )
    notes = stage["notes"] + list(set_properties(admin, planned.temporary_name, manifest.database))
    if planned.large_objects:
        notes.append(
            f"{planned.large_objects} large objects are as of the full backup {route.backup_id}"
        )
    stage = {
        **stage,
        "stage": "verified",
        "durations": {**stage["durations"], "verify": round(time.monotonic() - begun, 3)},
        "notes": notes,
    }
    when = target_text(request.target, planned.time_zone)
    words = f"restored from {request.source} as of {when}. {request.reason}".strip()
    del stage["rows"]
    set_stage(admin, planned, stage, words.replace("\n", " "))
    return stage


def discard(deployment: Deployment, planned: RestorePlan) -> None:
    """Remove the temporary database, if it is this plan's; the final name is never touched.

    :raises Busy: the restore is still being worked on.
    """
    with exclusively(deployment, planned) as admin:
        if belongs_to(admin, planned):
            _drop(admin, planned)


@contextmanager
def _scratch(deployment: Deployment, purpose: str) -> Iterator[Path]:
    folder = Path(mkdtemp(prefix=f"{purpose}-", dir=deployment.scratch()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _size(admin: Session, database: str) -> int:
    row = admin.execute("SELECT pg_catalog.pg_database_size(%s::name)", [database]).fetchone()
    assert row is not None
    return int(row[0])
