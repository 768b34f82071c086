"""How the ERP enters its databases: with its own settings, as the role that owns them."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from include.respaldo.connections import Connection

Session = psycopg.Connection[tuple[Any, ...]]


def enter(connection: Connection, database: str, *, role: str | None = None) -> Session:
    """Open a session of the ERP.

    :param role: whom to act as; None stays the connection's own user.
    :raises psycopg.OperationalError: the server does not answer, or has no such database.
    """
    session = psycopg.connect(
        host=connection.host or "127.0.0.1",
        port=connection.port or 5432,
        user=connection.login,
        password=connection.password,
        dbname=database,
        autocommit=True,
        application_name="erp",
        connect_timeout=5,
    )
    if role is not None:
        session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    return session
