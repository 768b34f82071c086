"""How far a restore is: kept in the comment of its temporary database, so any worker can go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from include.respaldo.errors import Busy, RestoreFailed
from include.respaldo.jobs.plan_restore import RestorePlan
from include.respaldo.postgres.connect import Session, connect
from include.respaldo.postgres.locks import try_lock
from include.respaldo.postgres.new_database import database_comment, set_comment

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: a comment that begins so keeps the database from being taken for a tenant
_MARK = "respaldo: restoring "


@contextmanager
def exclusively(deployment: Deployment, planned: RestorePlan) -> Iterator[Session]:
    """Yield an administrative session that alone works on this restore."""
    server = deployment.server(planned.request.to_server)
    with connect(deployment.connection_of(server.name), server.database) as admin:
        if not try_lock(admin, f"respaldo restore {planned.temporary_name}"):
            raise Busy(
                f"{planned.request.new_name!r} is being restored by somebody else now",
                hint="wait for that restore, or choose another name",
            )
        yield admin


def begin_stage(planned: RestorePlan) -> str:
    """Return the comment of a temporary database into which nothing was loaded yet."""
    return _MARK + json.dumps({"plan": planned.digest, "stage": "begun"})


def set_stage(conn: Session, planned: RestorePlan, stage: dict[str, Any]) -> None:
    """Keep what this step has to tell the next."""
    text = json.dumps({"plan": planned.digest, **stage})
    set_comment(conn, planned.temporary_name, _MARK + text)


def read_stage(admin: Session, planned: RestorePlan) -> dict[str, Any]:
    """Return what the step before has kept.

    :raises RestoreFailed: there is none, or another restore of the same name has begun since.
    """
    stage = _read(admin, planned)
    if stage is None or stage["stage"] == "begun":
        raise RestoreFailed(
            "the full backup was not loaded, or was discarded",
            hint="run the restore from its beginning",
        )
    if stage["plan"] != planned.digest:
        raise RestoreFailed(
            f"another restore into {planned.request.new_name!r} has begun since",
            hint="choose another name, or wait for that one",
        )
    return stage


def belongs_to(admin: Session, planned: RestorePlan) -> bool:
    """Return whether the temporary database is there, and made by this plan."""
    stage = _read(admin, planned)
    return stage is not None and stage["plan"] == planned.digest


def _read(admin: Session, planned: RestorePlan) -> dict[str, Any] | None:
    comment = database_comment(admin, planned.temporary_name) or ""
    if not comment.startswith(_MARK):
        return None
    stage: dict[str, Any] = json.loads(comment.removeprefix(_MARK))
    return stage
