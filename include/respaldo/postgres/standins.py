"""Roles that a dump or a query log names and this server does not have.

While the dump loads and the log is replayed, a role that may not log in stands in for each of them,
so that all statements succeed, and so that what belongs to them and what they may do is as it was;
then what the stand-ins own goes to the loading role, what was granted to them is revoked, and they
are dropped. So the objects of roles that exist keep owner and privileges, and only what concerns
missing roles is lost, and said.

Roles belong to the whole server: another restore may use the same stand-ins at the same time, in
its own database. So each session that needs one marks it as needed (`_need`), and whoever ends last
drops it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from psycopg import errors as pg
from psycopg import sql

from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.quiet import replaying

MARK = "respaldo: stands in for a missing role while a restore loads"
#: how often a stand-in is made again that another restore drops at this very moment
_ATTEMPTS = 5


def missing_roles(conn: Session, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the roles that the server does not have; stand-ins do not count."""
    parameters = {"names": list(names), "mark": MARK}
    return tuple(row[0] for row in conn.execute(query("missing_roles"), parameters))


def place_standins(conn: Session, roles: Iterable[str]) -> tuple[str, ...]:
    """Have stand-ins for those of the roles that are missing, until `remove_standins`.

    They last at least as long as this session; longer once something in its database is theirs.

    :return: the roles that they stand in for.
    """
    missing = missing_roles(conn, roles)
    for role in missing:
        for attempt in range(_ATTEMPTS):
            try:
                _need(conn, role)
                break
            except pg.UndefinedObject:
                if attempt == _ATTEMPTS - 1:
                    raise
    return missing


def own_database(conn: Session, owner: str) -> None:
    """Let a stand-in own the session's database, as its role did at the source.

    So it may do there what an owner may (in schema ``public``, to begin with).
    """
    conn.execute(
        sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
            sql.Identifier(conn.info.dbname), sql.Identifier(owner)
        )
    )


def remove_standins(conn: Session, roles: Iterable[str] | None = None) -> tuple[str, ...]:
    """Give what stand-ins own in the session's database to its role, and drop them.

    One that another restore needs in its own database stays for that.

    :param roles: None: all there are.
    :return: whom they stood in for here.
    """
    parameters = {"names": None if roles is None else list(roles), "mark": MARK}
    found = conn.execute(query("standins_used"), parameters).fetchall()
    removed = []
    for role, is_used_here, databases in found:
        name = sql.Identifier(role)
        try:
            if is_used_here:
                removed.append(role)
                with replaying(conn):
                    conn.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(name))
                    conn.execute(sql.SQL("DROP OWNED BY {}").format(name))
                    # both act on databases as well, also on those of other restores
                    for database in databases:
                        conn.execute(
                            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                                sql.Identifier(database), name
                            )
                        )
            conn.execute(sql.SQL("DROP ROLE {}").format(name))
        except pg.DependentObjectsStillExist:
            continue  # another restore needs it, in its own database
        except pg.UndefinedObject:
            continue  # another restore was the last
    return tuple(removed)


@contextmanager
def standing_in(conn: Session, roles: Iterable[str], *, keep: bool = False) -> Iterator[None]:
    """Have stand-ins for these roles in the session's database; none is left afterwards.

    :param keep: leave them, unless the block fails: `remove_standins` ends them later.
    """
    names = place_standins(conn, roles)
    try:
        yield
    except BaseException:
        remove_standins(conn, names)
        raise
    if not keep:
        remove_standins(conn, names)


def _need(conn: Session, role: str) -> None:
    """Make the stand-in where there is none, and own something by it for the session's time."""
    name = sql.Identifier(role)
    try:
        with conn.transaction():
            conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(name))
            conn.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(MARK)))
    except (pg.DuplicateObject, pg.UniqueViolation):
        pass  # left or made by another restore
    with replaying(conn):
        lookup = "SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s"
        found = conn.execute(lookup, [role]).fetchone()
        if found is None:
            raise pg.UndefinedObject(f"role {role!r} was dropped meanwhile")
        mark = sql.Identifier("pg_temp", f"respaldo_needs_{found[0]}")
        conn.execute(sql.SQL("DROP DOMAIN IF EXISTS {}").format(mark))
        conn.execute(sql.SQL("CREATE DOMAIN {} AS pg_catalog.int4").format(mark))
        conn.execute(sql.SQL("ALTER DOMAIN {} OWNER TO {}").format(mark, name))
