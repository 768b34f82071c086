"""Airflow's connections, from whichever secrets backend holds them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from include.respaldo.connections import Connection
from include.respaldo.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Connection as AirflowConnection


def from_airflow(conn_id: str) -> Connection:
    """Return the connection that Airflow keeps under this id; works in tasks and in triggers.

    :raises ConfigurationError: there is none, or its extra is not a JSON object.
    """
    from airflow.sdk import Connection as AirflowConnection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = AirflowConnection.get(conn_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"Airflow has no connection {conn_id!r}",
            hint="add it under Admin > Connections or to the secrets backend, "
            f"or set AIRFLOW_CONN_{conn_id.upper()}",
        ) from None
    return translate(found)


def translate(found: AirflowConnection) -> Connection:
    """Return Airflow's connection as ours.

    :raises ConfigurationError: its extra is not a JSON object; never shows it.
    """
    try:
        extra = json.loads(found.extra) if found.extra else {}
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise ConfigurationError(
            f"the extra of connection {found.conn_id!r} is not a JSON object",
            hint="correct it under Admin > Connections or in the secrets backend",
        )
    return Connection(
        conn_id=found.conn_id,
        conn_type=found.conn_type or "",
        host=found.host or None,
        port=found.port,
        login=found.login or None,
        password=found.password or None,
        schema=found.schema or None,
        extra=extra,
    )
