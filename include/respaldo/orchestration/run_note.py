"""The note of a DAG run: where the people who open it look first.

A task cannot write it over Airflow's task API (docs/decisions/0005); the public REST API can. It is
called over the connection ``respaldo_airflow`` where there is one (host, port and a user who may
edit DAG runs, or a token as the password alone). Without it the same text stands in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from include.respaldo.connections import Connection
from include.respaldo.errors import ConfigurationError, RespaldoError
from include.respaldo.orchestration.connections import from_airflow

log = logging.getLogger(__name__)
CONNECTION = "respaldo_airflow"
#: what Airflow's database holds of a note
LONGEST = 1000
_TIMEOUT = 10.0


def tell(text: str, **context: Any) -> None:
    """Log a text for people and make it the note of this run; never fails because of the note.

    :param context: the task's context: ``**get_current_context()``.
    """
    log.info("%s", text)
    run = context["dag_run"]
    try:
        _set_note(from_airflow(CONNECTION), run.dag_id, run.run_id, shorten(text))
    except ConfigurationError:
        log.info("to see this as the run's note too, define the connection %s", CONNECTION)
    except Exception as error:  # noqa: BLE001 - the work is done; a note is no reason to undo it
        log.warning("the run's note could not be written: %s", type(error).__name__)


@contextmanager
def telling_failures() -> Iterator[None]:
    """Make the error that leaves this block the note of the run, with its hint."""
    from airflow.sdk import get_current_context

    try:
        yield
    except RespaldoError as error:
        tell(f"**Failed:** {error}", **get_current_context())
        raise


def shorten(text: str) -> str:
    """Return the text, cut at the end of a line where it is longer than a note may be."""
    if len(text) <= LONGEST:
        return text
    ending = "\n… the rest is in the task's log"
    kept = text[: LONGEST - len(ending)]
    return (kept.rpartition("\n")[0] or kept) + ending


def _set_note(connection: Connection, dag_id: str, run_id: str, note: str) -> None:
    import httpx

    scheme = "https" if connection.conn_type == "https" else connection.schema or "http"
    host = connection.host or "localhost"
    url = host if "://" in host else f"{scheme}://{host}"
    if connection.port:
        url = f"{url}:{connection.port}"
    with httpx.Client(base_url=url, timeout=_TIMEOUT) as client:
        token = connection.password
        if connection.login:
            credentials = {"username": connection.login, "password": connection.password}
            answer = client.post("/auth/token", json=credentials).raise_for_status()
            token = answer.json()["access_token"]
        client.patch(
            f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}",
            params={"update_mask": "note"},
            json={"note": note},
            headers={"Authorization": f"Bearer {token}"},
        ).raise_for_status()
