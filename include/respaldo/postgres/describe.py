"""Fingerprints of objects, to compare where a command was captured with where it was run again."""

from __future__ import annotations

from psycopg import errors as pg
from psycopg import sql

from include.respaldo.model.schema_change import ObjectAddress
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query

_INSTALLED = "select to_regprocedure('pg_temp.respaldo_describe(oid, oid)') is not null"
_DESCRIBE = """
SELECT md5(convert_to(d[1], 'UTF8')) || md5(convert_to(d[2], 'UTF8'))
  FROM pg_get_object_address(%(type)s, %(names)s, %(args)s) a,
       LATERAL pg_temp.respaldo_describe(a.classid, a.objid) d
"""
#: PostgreSQL has no address for what it tells as one
_DESCRIBE_PREFIX_OPERATOR = """
SELECT md5(convert_to(d[1], 'UTF8')) || md5(convert_to(d[2], 'UTF8'))
  FROM pg_temp.respaldo_describe(
           'pg_operator' :: regclass,
           to_regoperator(format('%%I.%%s(NONE, %%s)',
               (%(names)s :: text[])[1], (%(names)s :: text[])[2], (%(args)s :: text[])[1]))) d
"""
#: kinds that PostgreSQL tells but does not take -> those that it takes
_COLUMNS = frozenset({
    "view column",
    "materialized view column",
    "foreign table column",
    "index column",
    "composite type column",
    "sequence column",
})
#: hexadecimal digits of the definition's part; the rest is that of owner and rights
_DEFINITION = 32


def fingerprint(conn: Session, address: ObjectAddress) -> str | None:
    """Return the fingerprint of an object as the capture makes it; None: there is no such object.

    Leaves nothing behind, whatever role and settings the session has just now. Two fingerprints
    are comparable where both servers are of one major version: each writes definitions its own way.

    :param conn: a superuser's session.
    """
    kind, names = address.type, list(address.names)
    if kind in _COLUMNS:
        kind = "table column"
    elif kind == "composite type":
        kind, names = "type", [sql.Identifier(*names).as_string(conn)]
    wanted = {"type": kind, "names": names, "args": list(address.args)}
    # what is set inside is undone; what is looked for may be missing
    with conn.transaction(force_rollback=True):
        conn.execute("set local role none; set local search_path to pg_catalog, pg_temp")
        row = conn.execute(_INSTALLED).fetchone()
        if row is None or not row[0]:
            install(conn)
        try:
            is_prefix = kind == "operator" and len(address.args) == 1
            command = _DESCRIBE_PREFIX_OPERATOR if is_prefix else _DESCRIBE
            row = conn.execute(command, wanted).fetchone()
        except (
            pg.UndefinedTable,
            pg.UndefinedColumn,
            pg.UndefinedObject,
            pg.UndefinedFunction,
            pg.InvalidSchemaName,
            pg.WrongObjectType,
        ):
            return None
    found: str | None = row[0] if row else None
    return found


def install(conn: Session) -> None:
    """Keep what `fingerprint` needs in the session: it is three times as fast then.

    Before anything of a tenant runs in it: whoever made the function first would be trusted.
    """
    conn.execute(
        query("create_function_describe").replace(
            "FUNCTION respaldo.describe(", "FUNCTION pg_temp.respaldo_describe("
        )
    )


def same_definition(one: str, other: str) -> bool:
    """Return whether two fingerprints differ in owner and rights at most."""
    return one[:_DEFINITION] == other[:_DEFINITION]
