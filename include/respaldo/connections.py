"""Connections: where a server or a store is, and the secret to enter; as Airflow writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from include.respaldo.errors import ConfigurationError


@dataclass(frozen=True)
class Connection:
    """One entry of Airflow's connections; its repr never shows the secret."""

    conn_id: str
    conn_type: str
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


#: conn_id -> connection; raises ConfigurationError where there is none
ConnectionLookup = Callable[[str], Connection]


def from_environment(conn_id: str, environ: Mapping[str, str] | None = None) -> Connection:
    """Return the connection that ``AIRFLOW_CONN_<ID>`` describes, as a URI or as JSON.

    Source of the two forms: Airflow documentation, "Managing Connections".

    :raises ConfigurationError: the variable is not set or cannot be read; never shows its value.
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = (os.environ if environ is None else environ).get(variable)
    if not text:
        raise ConfigurationError(
            f"connection {conn_id!r} is not defined",
            hint=f"set {variable} to a URI (postgresql://user:password@host:5432/postgres), "
            "or run this inside Airflow, where the connection is kept",
        )
    try:
        return (
            _from_json(conn_id, text) if text.lstrip().startswith("{") else _from_uri(conn_id, text)
        )
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{variable} can be read neither as a connection URI nor as JSON",
            hint="percent-encode special characters of user and password, or use the JSON form",
        ) from None


def _from_json(conn_id: str, text: str) -> Connection:
    d = json.loads(text)
    extra = d.get("extra") or {}
    return Connection(
        conn_id=conn_id,
        conn_type=d.get("conn_type", ""),
        host=d.get("host"),
        port=int(d["port"]) if d.get("port") else None,
        login=d.get("login"),
        password=d.get("password"),
        schema=d.get("schema"),
        extra=json.loads(extra) if isinstance(extra, str) else extra,
    )


def _from_uri(conn_id: str, text: str) -> Connection:
    parts = urlsplit(text)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra = json.loads(query["__extra__"]) if "__extra__" in query else query
    return Connection(
        conn_id=conn_id,
        conn_type=parts.scheme.replace("-", "_"),
        host=unquote(parts.hostname) if parts.hostname else None,
        port=parts.port,
        login=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        schema=unquote(parts.path[1:]) or None,
        extra=extra,
    )
