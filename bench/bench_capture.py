"""What the capture of schema changes costs an application, before and after `prepare`.

Two databases of one server, alike but for that; rounds alternate. Schema changes: milliseconds of
one statement in a database of 250 tables. Rows: pgbench's transactions a second.
"""

from __future__ import annotations

import time
from itertools import count
from statistics import median

import psycopg

from bench.ground import folder
from bench.pgbench import Pgbench, fill
from bench.table import note, table
from embedded.postgres import PostgresServer
from include.respaldo.postgres.capture import prepare
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.schema_audit import schema_fingerprint

PLAIN, PREPARED = "plain", "prepared"
COLUMNS = ", ".join(f"c{n} varchar(20) default 'x'" for n in range(30))
#: what -> statement; {n} is a number not used before, {last} the one before it
STATEMENTS = {
    "CREATE TABLE, 30 columns": "create table made_{n} (id serial primary key, " + COLUMNS + ")",
    "ALTER TABLE ADD COLUMN": "alter table t_1 add column added_{n} int",
    "ALTER TABLE … DEFAULT now()": "alter table t_2 add column a_{n} timestamptz default now()",
    "CREATE INDEX": "create index index_{n} on t_3 (c1)",
    "CREATE FUNCTION": "create function f_{n}() returns int language sql as 'select 1'",
    "COMMENT ON COLUMN": "comment on column t_4.c1 is '{n}'",
    "GRANT": "grant select on t_5 to public",
    "DROP TABLE": "create table dropped_{n} (a int); drop table dropped_{n}",
    "CREATE TEMP TABLE": "create temp table temporary_{n} (a int)",
}


def run(*, small: bool) -> None:
    """Measure; print the tables."""
    tables, rounds, scale, limit = (20, 5, 1, "2") if small else (250, 60, 10, "15")
    with folder() as at:
        server = PostgresServer(at / "server").start()
        try:
            for name in (PLAIN, PREPARED):
                fill(server, name, scale)
                _tables(server, name, tables)
            with connect(server.connection(), PREPARED) as conn:
                prepare(conn)
            _schema_changes(server, tables, rounds)
            _rows(server, limit, 1 if small else 5)
        finally:
            server.stop()


def _tables(server: PostgresServer, name: str, number: int) -> None:
    with server.connect(name) as conn, conn.transaction():
        for n in range(number):
            conn.execute(f"create table t_{n} (id serial primary key, {COLUMNS})")


def _schema_changes(server: PostgresServer, tables: int, rounds: int) -> None:
    numbers = count()
    rows = []
    with server.connect(PLAIN) as plain, server.connect(PREPARED) as prepared:
        for what, statement in STATEMENTS.items():
            took: dict[str, list[float]] = {PLAIN: [], PREPARED: []}
            for _ in range(rounds):
                number = next(numbers)
                for name, conn in ((PLAIN, plain), (PREPARED, prepared)):
                    took[name].append(_milliseconds(conn, statement.replace("{n}", str(number))))
            before, after = median(took[PLAIN]), median(took[PREPARED])
            rows.append((what, f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}"))
        rows.append(("the first command of a session", *_first(server, next(numbers))))
    note(f"milliseconds a statement, {tables} tables, median of {rounds}")
    table(("", "before", "after prepare", "difference"), rows)
    with connect(server.connection(), PREPARED) as conn:
        audits = []
        for _ in range(5):
            begun = time.perf_counter()
            schema_fingerprint(conn)
            audits.append((time.perf_counter() - begun) * 1000)
    note(f"the digest of the whole schema: {median(audits):.0f} ms")


def _milliseconds(conn: psycopg.Connection, statement: str) -> float:
    begun = time.perf_counter()
    conn.execute(statement)
    return (time.perf_counter() - begun) * 1000


def _first(server: PostgresServer, number: int) -> tuple[str, str, str]:
    took = []
    for name in (PLAIN, PREPARED):
        with server.connect(name) as conn:
            took.append(_milliseconds(conn, f"create table first_{number} (a int primary key)"))
    return f"{took[0]:.2f}", f"{took[1]:.2f}", f"{took[1] - took[0]:+.2f}"


def _rows(server: PostgresServer, limit: str, rounds: int) -> None:
    rates: dict[str, list[float]] = {PLAIN: [], PREPARED: []}
    for number in range(rounds):
        # the other goes first each time: what one leaves to write slows the next
        for name in (PLAIN, PREPARED) if number % 2 == 0 else (PREPARED, PLAIN):
            rates[name].append(Pgbench(server, name, "-T", limit).result().tps)
    before, after = median(rates[PLAIN]), median(rates[PREPARED])
    note(f"pgbench, transactions a second, median of {rounds} rounds of {limit} s")
    table(
        ("", "before", "after prepare", "difference"),
        [
            ("median", f"{before:,.0f}", f"{after:,.0f}", f"{after / before - 1:+.1%}"),
            ("lowest", f"{min(rates[PLAIN]):,.0f}", f"{min(rates[PREPARED]):,.0f}", ""),
            ("highest", f"{max(rates[PLAIN]):,.0f}", f"{max(rates[PREPARED]):,.0f}", ""),
        ],
    )
