"""Roles that a dump names and this server does not have.

While the dump loads, a role that may not log in stands in for each of them, so that all of its
statements succeed; then what the stand-ins own goes to the loading role, what was granted to them
is revoked, and they are dropped. So the objects of roles that exist keep owner and privileges, and
only what concerns missing roles is lost, and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from psycopg import errors as pg
from psycopg import sql

from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query

_MARK = "respaldo: stands in for a missing role while a restore loads"


def missing_roles(conn: Session, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the roles that the server does not have."""
    parameters = {"names": list(names), "mark": _MARK}
    return tuple(row[0] for row in conn.execute(query("missing_roles"), parameters))


@contextmanager
def standing_in(conn: Session, roles: Iterable[str]) -> Iterator[None]:
    """Have stand-ins for these roles in the session's database; none is left afterwards.

    A restore at the same time may use the same ones: the last one drops them.
    """
    names = [sql.Identifier(role) for role in roles]
    for name in names:
        try:
            with conn.transaction():
                conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(name))
                conn.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(_MARK)))
        except (pg.DuplicateObject, pg.UniqueViolation):
            continue  # left or made by another restore
    try:
        yield
    finally:
        for name in names:
            _remove(conn, name)


def _remove(conn: Session, name: sql.Identifier) -> None:
    try:
        with conn.transaction():
            conn.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(name))
            conn.execute(sql.SQL("DROP OWNED BY {}").format(name))
        conn.execute(sql.SQL("DROP ROLE {}").format(name))
    except pg.DependentObjectsStillExist:
        return  # another restore needs it, in its own database
    except pg.UndefinedObject:
        return  # another restore was the last
