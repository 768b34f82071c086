"""How far a restore is: kept in the comment of its database, so any worker can go on.

A line for people, then one of JSON. It stays there, and says where the database came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from include.respaldo.errors import Busy, RestoreFailed
from include.respaldo.jobs.plan_restore import RestorePlan
from include.respaldo.postgres.connect import Session, connect
from include.respaldo.postgres.locks import locked
from include.respaldo.postgres.new_database import database_comment, set_comment

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: a comment that begins so keeps the database from being taken for a tenant
_MARK = "respaldo: "


@contextmanager
def exclusively(deployment: Deployment, planned: RestorePlan) -> Iterator[Session]:
    """Yield an administrative session that alone works on this restore."""
    server = deployment.server(planned.request.to_server)
    with (
        connect(deployment.connection_of(server.name), server.database) as admin,
        locked(admin, f"respaldo restore {planned.temporary_name}") as free,
    ):
        if not free:
            raise Busy(
                f"{planned.request.new_name!r} is being restored by somebody else now",
                hint="wait for that restore, or choose another name",
            )
        yield admin


def begin_stage(planned: RestorePlan) -> str:
    """Return the comment of a temporary database into which nothing was loaded yet."""
    return _comment(planned, {"stage": "begun"}, "restoring")


def set_stage(
    conn: Session, planned: RestorePlan, stage: dict[str, Any], words: str = "restoring"
) -> None:
    """Keep what this step has to tell the next; `words` are for people who look at the database."""
    set_comment(conn, planned.temporary_name, _comment(planned, stage, words))


def read_stage(admin: Session, planned: RestorePlan) -> dict[str, Any]:
    """Return what the step before has kept.

    A restore that was complete when its last step was interrupted is found under its final name.

    :raises RestoreFailed: there is none, or another restore of the same name has begun since.
    """
    request = planned.request
    stage = _read(admin, planned.temporary_name)
    if stage is None:
        done = _read(admin, request.new_name)
        if done is not None and done["plan"] == planned.digest:
            return done
    if stage is None or stage["stage"] == "begun":
        raise RestoreFailed(
            "the full backup was not loaded, or was discarded",
            hint="run the restore from its beginning",
        )
    if stage["plan"] != planned.digest:
        raise RestoreFailed(
            f"another restore into {request.new_name!r} has begun since",
            hint="choose another name, or wait for that one",
        )
    return stage


def belongs_to(admin: Session, planned: RestorePlan) -> bool:
    """Return whether the temporary database is there, and made by this plan."""
    stage = _read(admin, planned.temporary_name)
    return stage is not None and stage["plan"] == planned.digest


def _comment(planned: RestorePlan, stage: dict[str, Any], words: str) -> str:
    return f"{_MARK}{words}\n" + json.dumps({"plan": planned.digest, **stage})


def _read(admin: Session, database: str) -> dict[str, Any] | None:
    words, _, text = (database_comment(admin, database) or "").rpartition("\n")
    if not words.startswith(_MARK):
        return None
    try:
        stage = json.loads(text)
    except ValueError:
        return None
    return stage if isinstance(stage, dict) and {"plan", "stage"} <= stage.keys() else None
