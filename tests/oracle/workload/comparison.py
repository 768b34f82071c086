"""Whether a restored database equals the one that PostgreSQL itself recovered."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import unified_diff
from typing import Any

import psycopg
from psycopg import sql

from embedded.postgres import PostgresServer
from tests.oracle.workload.names import quoted
from tests.oracle.workload.sequences import sequence_differences
from tests.postgres.compare import content_differences, database_content

_ENTRY = re.compile(r"^-- (?:Data for )?Name: .*$", re.MULTILINE)
#: settings come before what follows them; which index a table was last clustered by is
#: a mark that CLUSTER makes, and no event trigger sees
_NAMED = r'(?:"(?:[^"]|"")+"|[^";])+'
_PASSING = re.compile(
    r"^(?:SET default_\w+ = .*;|\\(?:un)?restrict .*"
    rf"|ALTER TABLE {_NAMED} CLUSTER ON {_NAMED};)$",
    re.MULTILINE,
)
_NO_DEFAULT = re.compile(r" DEFAULT NULL(::.*)?$")
_FRAME = {"--", "-- PostgreSQL database dump complete"}
_STATES = """
select 'populated ' || format('%I.%I', n.nspname, c.relname) || ' ' || c.relispopulated::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'm' union all
select 'index ' || format('%I.%I', n.nspname, c.relname) || ' valid ' || i.indisvalid::text
  from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n
    on n.oid = c.relnamespace where n.nspname !~ '^pg_'
"""
_EXTENSIONS = "select extname || ' ' || extversion from pg_extension"
_MATVIEWS = """
select c.oid, n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'm' and c.relispopulated order by c.oid
"""


def undo_preparation(conn: psycopg.Connection[Any]) -> None:
    """Take what Respaldo put into a recovered database out again, by what it noted itself."""
    for (name,) in conn.execute(
        "select evtname from pg_event_trigger where evtname ~ '^(00_)?respaldo'"
    ).fetchall():
        conn.execute(sql.SQL("drop event trigger {}").format(sql.Identifier(name)))
    # a trigger of the application's must not see this
    conn.execute("set session_replication_role to replica")
    for schema, name, was in conn.execute(
        "select n.nspname, c.relname, r.was from respaldo.replica_identity r"
        " join pg_class c on c.oid = r.relation and c.relreplident = 'f'"
        " join pg_namespace n on n.oid = c.relnamespace"
    ).fetchall():
        identity = "default" if was in {"d", b"d"} else "nothing"
        conn.execute(
            sql.SQL("alter table only {} replica identity {}").format(
                sql.Identifier(schema, name), sql.SQL(identity)
            )
        )
    conn.execute("drop publication if exists respaldo")
    conn.execute("drop schema respaldo cascade")
    conn.execute("reset session_replication_role")


def settle_identities(conn: psycopg.Connection[Any]) -> None:
    """Say NOTHING where the index that was the identity is gone: it means that, and pg_dump
    has no words for it."""
    conn.execute(
        "update pg_class c set relreplident = 'n' where relreplident = 'i' and not exists"
        " (select from pg_index where indrelid = c.oid and indisreplident)"
    )


def schema_entries(server: PostgresServer, database: str) -> Counter[str]:
    """Return what pg_dump prints of each object of the schema, in any order."""
    done = subprocess.run(
        [server.bin("pg_dump"), "--schema-only"],
        env=server.environment(database),
        capture_output=True,
        check=False,
    )
    # names and comments have any byte
    text = done.stdout.decode(errors="surrogateescape")
    if done.returncode:
        raise RuntimeError(f"pg_dump of {database}: {done.stderr.decode(errors='replace')}")
    kept = _PASSING.sub("", text)
    found: Counter[str] = Counter()
    heads = [*_ENTRY.finditer(kept)]
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        body = kept[head.end() : following.start() if following else len(kept)]
        lines = [line for line in body.splitlines() if line and line not in _FRAME]
        if "; Type: TABLE;" in head[0]:
            # a dump says NULL where a parent's default does not apply
            lines = [_NO_DEFAULT.sub("", line.removesuffix(",")) for line in lines]
            if any(line.startswith("INHERITS (") for line in lines):
                lines.sort()  # it puts inherited columns first
        if "; Type: ACL;" in head[0] or "; Type: DEFAULT ACL;" in head[0]:
            lines.sort()  # in the order in which they were granted
        found["\n".join([head[0], *lines])] += 1
    found["-- Name: states; Type: RESPALDO\n" + "\n".join(_states(server, database))] += 1
    return found


def _states(server: PostgresServer, database: str) -> list[str]:
    return sorted(row[0] for row in server.execute(_STATES, database))


def schema_differences(theirs: Counter[str], ours: Counter[str]) -> list[str]:
    """Return the entries that only one has, and the lines that differ where both have one."""
    left, right = list((theirs - ours).elements()), list((ours - theirs).elements())
    found = []
    for entry in list(left):
        head = entry.partition("\n")[0]
        other = next((e for e in right if e.partition("\n")[0] == head), None)
        if other is not None:
            left.remove(entry)
            right.remove(other)
            lines = unified_diff(
                entry.split("\n"), other.split("\n"), "recovered", "restored", "", "", 0, ""
            )
            found.append("\n".join([head, *map(_shortened, lines)]))
    return [
        *found,
        *(f"only recovered:\n{_shortened(entry)}" for entry in left),
        *(f"only restored:\n{_shortened(entry)}" for entry in right),
    ]


def _shortened(entry: str) -> str:
    return entry if len(entry) < 1000 else f"{entry[:500]} … {entry[-500:]}"


def loaded_again(
    server: PostgresServer, database: str, other: str, on: PostgresServer
) -> Counter[str]:
    """Return the schema as it is after one more dump and load: what pg_dump cannot keep is gone."""
    dumped = subprocess.run(
        [server.bin("pg_dump"), "--schema-only"],
        env=server.environment(database), capture_output=True, check=True,
    ).stdout  # fmt: skip
    on.execute(sql.SQL("create database {} template template0").format(sql.Identifier(other)))
    try:
        subprocess.run(
            [on.bin("psql"), "-X", "-q", "-f", "-"],
            env=on.environment(other), input=dumped, capture_output=True, check=True,
        )  # fmt: skip
        return schema_entries(on, other)
    finally:
        on.execute(sql.SQL("drop database {} (force)").format(sql.Identifier(other)))


def refresh(conn: psycopg.Connection[Any]) -> set[tuple[str, str]]:
    """Refresh the materialized views; return those that cannot be."""
    failed = set()
    conn.execute("set statement_timeout to '30s'")
    for _, schema, name in conn.execute(_MATVIEWS).fetchall():
        try:
            conn.execute(f"refresh materialized view {quoted(schema)}.{quoted(name)}")  # type: ignore[arg-type]
        except psycopg.Error:
            failed.add((schema, name))
    return failed


def data_differences(
    theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any], told: Sequence[str] = ()
) -> list[str]:
    """Return which tables' rows differ; materialized views are refreshed on both sides before.

    :param told: the notes of the restore's summary; views that it could not compute are left out.
    """
    for conn in (theirs, ours):  # the application's own would tell their tables of it
        for (name,) in conn.execute("select evtname from pg_event_trigger").fetchall():
            conn.execute(sql.SQL("alter event trigger {} disable").format(sql.Identifier(name)))
    unknown = refresh(theirs) | refresh(ours)
    left, right = (
        {
            (schema, name): content
            for (schema, name), content in database_content(conn).items()
            if (schema, name) not in unknown
            and not any(
                note.startswith(f"materialized view {schema}.{name} could not be computed ")
                for note in told
            )
        }
        for conn in (theirs, ours)
    )
    return content_differences(left, right)


def database_differences(
    theirs: PostgresServer,
    recovered: str,
    ours: PostgresServer,
    restored: str,
    live: str,
    told: Sequence[str] = (),
) -> list[str]:
    """Return how a restored database differs from the recovered one: schema, rows, sequences.

    :param live: name of the original, on the server of the restored one.
    :param told: the notes of the restore's summary.
    """
    for server, database in ((theirs, recovered), (ours, restored)):
        with server.connect(database) as conn:
            settle_identities(conn)
    found = schema_differences(schema_entries(theirs, recovered), schema_entries(ours, restored))
    if found:
        # A restore goes through a dump: what pg_dump itself cannot keep is not ours to keep
        again = [
            loaded_again(server, database, f"{restored}_{side}", ours)
            for side, server, database in (
                ("theirs", theirs, recovered),
                ("ours", ours, restored),
            )
        ]
        found = schema_differences(*again)
    versions = (
        {version for (version,) in server.execute(_EXTENSIONS, database)}
        for server, database in ((theirs, recovered), (ours, restored))
    )
    for version in set.symmetric_difference(*versions):
        found.append(f"only one has extension {version}")
    with theirs.connect(recovered) as left, ours.connect(restored) as right:
        found += data_differences(left, right, told)
        if not found:
            with ours.connect(live) as original:
                found += sequence_differences(left, right, original, told)
    return found


def first_lines(differences: Iterable[str], most: int = 12) -> str:
    shown = list(differences)
    more = f"\n… and {len(shown) - most} more" if len(shown) > most else ""
    return "\n".join(shown[:most]) + more
