"""How everything here reaches a server: for psycopg, and for PostgreSQL's own programs."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from include.respaldo.connections import Connection
from include.respaldo.errors import (
    ConfigurationError,
    RespaldoError,
    ServerUnreachable,
    SourceError,
)

#: libpq parameters that a connection's extra may carry, as Airflow's own PostgreSQL hook reads them
_EXTRA = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}

CONNECT_TIMEOUT = 10

#: names resolve in pg_catalog only: nothing that a tenant has created can stand in for ours (a
#: temporary relation could: unless pg_temp stands last, it comes before all others); and
#: the text form of values must not depend on what an owner has set for a role or a database. Only
#: settings that any role may set: others would shut ordinary roles out.
SETTINGS: dict[str, str] = {
    "search_path": "pg_catalog, pg_temp",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
    "TimeZone": "UTC",
    "lc_monetary": "C",
}


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A session that says `ServerUnreachable` when it was lost while it was used.

    Leaving its ``with`` block because the connection broke raises that error instead of the
    driver's: above this package nobody knows the driver.
    """

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        lost = isinstance(exc_val, psycopg.OperationalError) and self.closed
        super().__exit__(exc_type, exc_val, exc_tb)
        if lost:
            reason = next(iter(str(exc_val).strip().splitlines()), "no reason given")
            raise ServerUnreachable(
                f"the session with the server was lost: {reason}",
                hint="the server may be down or restarting; trying again can help",
            ) from exc_val


def _options(settings: dict[str, str]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace(" ", "\\ ")

    return " ".join(f"-c {name}={escaped(value)}" for name, value in settings.items())


def _where(connection: Connection) -> str:
    return f"{connection.host or 'localhost'}:{connection.port or 5432}"


def parameters(
    connection: Connection,
    database: str | None = None,
    *,
    application_name: str = "respaldo",
    replication: bool = False,
) -> dict[str, Any]:
    """Return libpq's connection parameters; they hold the password.

    :param database: None takes the connection's own (its schema), else ``postgres``.
    """
    found: dict[str, Any] = {
        "host": connection.host or "localhost",
        "port": connection.port or 5432,
        "user": connection.login or "postgres",
        "password": connection.password,
        "dbname": database or connection.schema or "postgres",
        "application_name": application_name,
        "client_encoding": "UTF8",
        "connect_timeout": CONNECT_TIMEOUT,
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "options": _options(SETTINGS),
    }
    if replication:
        found["replication"] = "database"
    found |= {k: connection.extra[k] for k in _EXTRA if connection.extra.get(k)}
    return {k: v for k, v in found.items() if v is not None}


def conninfo(
    connection: Connection,
    database: str | None = None,
    *,
    application_name: str = "respaldo",
    replication: bool = False,
) -> str:
    """Return libpq's connection string; it holds the password: never print it, never in argv."""
    return make_conninfo(
        "",
        **parameters(
            connection, database, application_name=application_name, replication=replication
        ),
    )


def libpq_environment(connection: Connection, database: str | None = None) -> dict[str, str]:
    """Return the variables with which ``pg_dump`` and the like connect; they hold the password.

    Only these; to be laid over the process's own environment.
    """
    given = parameters(connection, database)
    environment = {
        "PGHOST": str(given["host"]),
        "PGPORT": str(given["port"]),
        "PGUSER": str(given["user"]),
        "PGDATABASE": str(given["dbname"]),
        "PGAPPNAME": "respaldo",
        "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT),
    }
    if connection.password is not None:
        environment["PGPASSWORD"] = connection.password
    environment |= {v: str(given[k]) for k, v in _EXTRA.items() if k in given}
    return environment


def connect(
    connection: Connection,
    database: str | None = None,
    *,
    autocommit: bool = True,
    application_name: str = "respaldo",
    replication: bool = False,
) -> Session:
    """Open a session whose search_path is pg_catalog and whose values come in canonical text.

    :raises ServerUnreachable: nobody answers there now.
    :raises ConfigurationError: user or password are refused.
    :raises SourceError: the database does not exist, or refuses connections.
    """
    given = parameters(
        connection, database, application_name=application_name, replication=replication
    )
    try:
        return Session.connect(**given, autocommit=autocommit)
    except psycopg.OperationalError as e:
        raise refusal(connection, str(given["dbname"]), str(e)) from None


def refusal(connection: Connection, database: str, message: str) -> RespaldoError:
    """Return what a failed connection attempt means; the server's words, never the password."""
    if connection.password:
        message = message.replace(connection.password, "***")
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    reason = lines[-1] if lines else "no reason given"
    where = _where(connection)
    if "authentication failed" in message or "no password supplied" in message:
        return ConfigurationError(
            f"{where} refuses user {connection.login!r}: {reason}",
            hint=f"correct user and password of connection {connection.conn_id!r}",
        )
    if "no pg_hba.conf entry" in message:
        return ConfigurationError(
            f"{where} does not let user {connection.login!r} in from here: {reason}",
            hint="allow this host in the server's pg_hba.conf (replication connections to a named "
            "database fall under its ordinary lines), then reload it",
        )
    if "does not exist" in message and "database" in message:
        return SourceError(
            f"database {database!r} is not on {where}",
            hint="it may have been dropped or renamed since it was discovered",
        )
    if "not currently accepting connections" in message or "permission denied" in message:
        return SourceError(f"database {database!r} on {where} refuses connections: {reason}")
    return ServerUnreachable(
        f"no connection to {where} (database {database!r}): {reason}",
        hint="the server may be down or restarting; check host, port and network "
        f"of connection {connection.conn_id!r}",
    )
