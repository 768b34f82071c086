"""Whether two databases are equal: every row of every table, and the schema."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from difflib import unified_diff
from typing import Any

import psycopg
from psycopg import sql

from include.respaldo.connections import Connection
from include.respaldo.postgres.programs import environment, tool

Table = tuple[str, str]

#: a dump cannot keep the order of the columns of a table that inherits: theirs by name
_TABLES = """
select n.nspname, c.relname,
       array(select a.attname::text from pg_catalog.pg_attribute a
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
              order by case when exists (select from pg_catalog.pg_inherits i
                                          where i.inhrelid = c.oid) then a.attname end,
                       a.attnum)
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm') and c.relpersistence <> 't' and c.relispopulated
   and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast', 'respaldo')
   and not exists (select from pg_catalog.pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by 1, 2
"""
#: so that values read the same whatever a database or role has set
_CANONICAL = """
set local search_path to pg_catalog; set local datestyle to 'ISO, MDY';
set local intervalstyle to postgres; set local extra_float_digits to 3;
set local bytea_output to hex; set local timezone to 'UTC'; set local lc_monetary to 'C'
"""
_OWN = re.compile(
    r'^(CREATE|ALTER|COMMENT ON) (EVENT TRIGGER|PUBLICATION) ("00_)?respaldo[^;]*;\n', re.MULTILINE
)


def database_content(conn: psycopg.Connection[Any]) -> dict[Table, list[str]]:
    """Return every table's rows as text, sorted: by the types' output functions."""
    content: dict[Table, list[str]] = {}
    with conn.transaction():
        conn.execute(_CANONICAL)
        for schema, name, columns in conn.execute(_TABLES).fetchall():
            statement = sql.SQL("select format('%s', row({})) from only {} t").format(
                sql.SQL(", ").join(sql.Identifier("t", column) for column in columns),
                sql.Identifier(schema, name),
            )
            content[schema, name] = sorted(row[0] for row in conn.execute(statement))
    return content


def assert_same_content(a: psycopg.Connection[Any], b: psycopg.Connection[Any]) -> None:
    """Fail with the first rows of each table that differ."""
    differences = content_differences(database_content(a), database_content(b))
    assert not differences, "\n".join(differences)


def content_differences(left: dict[Table, list[str]], right: dict[Table, list[str]]) -> list[str]:
    """Return, for each table that differs, the first rows that only one has."""
    if left.keys() != right.keys():
        return [f"tables: {left.keys() ^ right.keys()}"]
    return [
        f"{'.'.join(table)}: only left {_surplus(rows, right[table])[:3]}, "
        f"only right {_surplus(right[table], rows)[:3]}"
        for table, rows in left.items()
        if rows != right[table]
    ]


def schema_text(connection: Connection, database: str, as_of: int = 0) -> str:
    """Return what ``pg_dump --schema-only`` prints, without comments and Respaldo's own objects.

    :param as_of: a major version whose pg_dump, or a newer one, is to print it.
    """
    with connect(connection, database) as conn:
        major = max(as_of, conn.info.server_version // 10_000)
    done = subprocess.run(
        [tool("pg_dump", at_least=major).path, "--schema-only", "--exclude-schema=respaldo"],
        env=environment(connection, database),
        capture_output=True,
        text=True,
        check=True,
    )
    kept = [
        line
        for line in done.stdout.splitlines()
        # \\restrict carries a random key
        if line
        and not line.startswith(("--", "\\restrict", "\\unrestrict"))
        # the server's own mark, which the pg_dump of an older release shows
        and " SET (pg_attver=" not in line
    ]
    return _OWN.sub("", "\n".join(kept) + "\n")


def assert_same_database(connection: Connection, a: str, b: str) -> None:
    """Fail unless two databases of one server have equal rows and equal schemas."""
    with connect(connection, a) as left, connect(connection, b) as right:
        assert_same_content(left, right)
    differences = [
        line
        for line in unified_diff(
            schema_text(connection, a).splitlines(), schema_text(connection, b).splitlines(), n=0
        )
        if not line.startswith(("@@", "---", "+++"))
    ]
    assert not differences, "\n".join(differences[:40])


def connect(connection: Connection, database: str) -> psycopg.Connection[Any]:
    """Return an autocommit session of its own settings."""
    return psycopg.connect(
        host=connection.host,
        port=connection.port,
        user=connection.login,
        password=connection.password,
        dbname=database,
        autocommit=True,
    )


def _surplus(rows: Iterable[str], other: Iterable[str]) -> list[str]:
    return list((Counter(rows) - Counter(other)).elements())
