"""Dumping a database and a server's globals."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from embedded.postgres import PostgresServer
from include.respaldo.errors import ConfigurationError, CorruptObject, SourceError, ToolFailed
from include.respaldo.postgres.dump import (
    Dumped,
    dump_database,
    dump_globals,
    read_chunks,
    verify_dump,
)
from include.respaldo.postgres.load import load_dump
from include.respaldo.postgres.new_database import create_database
from include.respaldo.postgres.programs import Program, tool
from tests.conftest import drop_database

ODD = 'we"ird; drop--$(x)'


def test_a_dump_lands_whole_readable_by_its_owner_only_and_is_understood(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute("create table t as select i from generate_series(1, 1000) i", database)
    dumped = dump_database(postgres.connection(), database, tmp_path / "dump.pgc.zst")
    assert [p.name for p in tmp_path.iterdir()] == ["dump.pgc.zst"]
    landed = tmp_path / dumped.file.name
    assert stat.S_IMODE(landed.stat().st_mode) == 0o600
    assert landed.stat().st_size == dumped.file.size < dumped.file.raw_size
    verify_dump(landed, dumped.file)
    assert dumped.anchor is not None
    assert dumped.properties is not None
    assert dumped.properties.tables == 1
    [(oid,)] = postgres.execute(f"select oid from pg_database where datname = '{database}'")
    assert dumped.anchor.database_oid == oid
    assert dumped.tools.keys() == {"pg_dump"}


@pytest.mark.parametrize("name", [ODD, "dbname=postgres", "postgresql://x/postgres", "a b'c\\d"])
def test_an_odd_name_is_a_name_like_any_other(
    postgres: PostgresServer, tmp_path: Path, name: str
) -> None:
    restored = f"respaldo_restoring_{name}"
    postgres.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    try:
        postgres.execute("create table only_here as select 42 as a", name)
        dumped = dump_database(postgres.connection(), name, tmp_path / "dump.pgc.zst")
        verify_dump(tmp_path / "dump.pgc.zst", dumped.file)
        assert dumped.properties is not None
        with postgres.connect() as admin:
            create_database(admin, restored, dumped.properties)
        path = tmp_path / "dump.pgc.zst"
        load_dump(postgres.connection(), restored, path, tmp_path, jobs=2)
        assert postgres.execute("select a from only_here", restored) == [(42,)]
    finally:
        drop_database(postgres, name)
        drop_database(postgres, restored)


def test_what_the_snapshot_sees_is_what_the_dump_holds_while_writers_run(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute("create table t (xid xid8 default pg_current_xact_id(), w int)", database)
    stop = threading.Event()
    started = threading.Barrier(4)

    def write(worker: int) -> None:
        with postgres.connect(database) as conn:
            conn.execute("insert into t (w) values (%s)", (worker,))
            started.wait()
            while not stop.is_set():
                conn.execute("insert into t (w) values (%s)", (worker,))

    writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for writer in writers:
        writer.start()
    try:
        started.wait()
        dumped = dump_database(postgres.connection(), database, tmp_path / "dump.pgc.zst")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert dumped.anchor is not None
    assert dumped.properties is not None
    copy = f"{database}_copy"
    try:
        with postgres.connect() as admin:
            create_database(admin, copy, dumped.properties)
        load_dump(postgres.connection(), copy, tmp_path / "dump.pgc.zst", tmp_path)
        in_dump = {int(xid) for (xid,) in postgres.execute("select xid::text from t", copy)}
    finally:
        drop_database(postgres, copy)
    now = {int(xid) for (xid,) in postgres.execute("select xid::text from t", database)}
    assert in_dump == {xid for xid in now if dumped.anchor.snapshot.sees(xid)}
    assert in_dump < now


def test_no_commit_that_the_dump_sees_is_later_than_its_anchor(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute("create table t (a int)", database)
    before = postgres.execute("select clock_timestamp(), pg_current_wal_insert_lsn()::text")[0]
    anchor = dump_database(postgres.connection(), database, tmp_path / "d.pgc.zst").anchor
    assert anchor is not None
    assert before[0] <= anchor.at
    assert before[1] <= str(anchor.lsn)


def test_a_changed_byte_in_a_landed_dump_is_found(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute(
        "create table t as select md5(i::text) from generate_series(1,2000) i", database
    )
    path = tmp_path / "dump.pgc.zst"
    file = dump_database(postgres.connection(), database, path).file
    good = path.read_bytes()
    for place in (0, 10, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        with pytest.raises(CorruptObject):
            verify_dump(path, file)
    path.write_bytes(good[:-100])
    with pytest.raises(CorruptObject):
        verify_dump(path, file)
    path.write_bytes(good)
    verify_dump(path, file)


def test_bytes_that_are_no_dump_are_refused_though_their_digest_fits(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    globals_ = dump_globals(postgres.connection(), tmp_path / "globals.sql.zst")
    path = tmp_path / "dump.pgc.zst"
    (tmp_path / "globals.sql.zst").rename(path)
    with pytest.raises(CorruptObject, match="cannot be read as a dump"):
        verify_dump(path, replace(globals_.file, name="dump.pgc.zst"))


def test_globals_hold_the_roles_and_a_cut_off_file_is_found(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    path = tmp_path / "globals.sql.zst"
    dumped = dump_globals(postgres.connection(), path)
    verify_dump(path, dumped.file)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = b"".join(read_chunks(path)).decode()
    assert "CREATE ROLE postgres" in text
    assert "SCRAM-SHA-256" in text
    assert (dumped.anchor, dumped.properties) == (None, None)


def test_a_role_that_may_not_read_passwords_dumps_globals_without_them(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    postgres.execute("create role modest login password 'modest'")
    try:
        modest = replace(postgres.connection(), login="modest", password="modest")
        dump_globals(modest, tmp_path / "globals.sql.zst")
        text = b"".join(read_chunks(tmp_path / "globals.sql.zst")).decode()
    finally:
        postgres.execute("drop role modest")
    assert "CREATE ROLE modest" in text
    assert "SCRAM-SHA-256" not in text


def test_a_lock_held_by_somebody_ends_the_dump_in_time_and_leaves_nothing(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute("create table t (a int)", database)
    with postgres.connect(database) as other, other.transaction():
        other.execute("lock table t in access exclusive mode")
        with pytest.raises(ToolFailed, match="LOCK TABLE"):
            dump_database(
                postgres.connection(),
                database,
                tmp_path / "d.pgc.zst",
                lock_wait=timedelta(milliseconds=50),
            )
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_gone_is_named(postgres: PostgresServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such one"):
        dump_database(postgres.connection(), "no such one", tmp_path / "d.pgc.zst")
    assert list(tmp_path.iterdir()) == []


def test_an_idle_time_limit_of_the_database_does_not_end_the_dump(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute(f"alter database {database} set idle_in_transaction_session_timeout to '1ms'")
    postgres.execute("create table t (a int)", database)
    dump_database(postgres.connection(), database, tmp_path / "d.pgc.zst")


def test_a_program_older_than_the_server_is_refused_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = Program("pg_dump", "/nowhere/pg_dump", 9, "9.6")
    monkeypatch.setattr("include.respaldo.postgres.programs.installed", lambda name: (old,))
    with pytest.raises(ConfigurationError, match="older than the server") as caught:
        tool("pg_dump", at_least=15)
    assert "postgresql-client-15" in caught.value.hint


@contextmanager
def held_up(
    postgres: PostgresServer, database: str, landed: Path, by: str
) -> Iterator[tuple[psycopg.Connection[Any], Future[Dumped]]]:
    """Begin a dump that has its snapshot, and not the lock that `by` holds for the block."""
    with (
        ThreadPoolExecutor(1) as pool,
        postgres.connect(database) as holder,
        holder.transaction(),
    ):
        holder.execute(by)
        dumping = pool.submit(dump_database, postgres.connection(), database, landed)
        while not postgres.execute("select pid from pg_locks where not granted"):
            time.sleep(0.05)
        yield holder, dumping


def test_a_schema_that_changes_while_it_is_read_is_dumped_again(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute(
        "create table t (a int); create function f() returns int language sql as 'select 1'",
        database,
    )
    landed = tmp_path / "dump.pgc.zst"
    by = "lock table t in access exclusive mode"
    with held_up(postgres, database, landed, by) as (_, dumping):
        postgres.execute("create view seen_at_last as select 1 as one", database)
        postgres.execute("alter function f() rename to g", database)
    verify_dump(landed, dumping.result().file)
    content = b"".join(read_chunks(landed))
    assert b"seen_at_last" in content
    assert b"g()" in content
    assert b"f()" not in content


def test_what_is_made_while_a_schema_is_read_is_left_to_the_log(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    """It is in no snapshot of before; rights and comments are read as of the snapshot."""
    postgres.execute(
        "create table t (a int); create table u (a int primary key); create view v as table u;"
        "create domain d as int; create function f(a int) returns int language sql as 'select 1'",
        database,
    )
    landed = tmp_path / "dump.pgc.zst"
    by = "lock table t in access exclusive mode"
    made = [
        "create table made (a int references u)",
        "create index made_1 on u ((a + 1))",
        "create view made_2 as table u",
        "create function f(a text) returns int language sql as 'select 2'",
        "alter domain d add constraint made check (value > 0)",
        "create rule made as on delete to u do also nothing",
        "create statistics made on (a + 1), (a + 2) from u",
        "create type made_3 as enum ('made')",
        "comment on table u is 'made'",
        "grant select (a) on u to pg_monitor; grant all on v to public",
        "alter default privileges grant all on tables to pg_monitor",
    ]
    with held_up(postgres, database, landed, by) as (_, dumping):
        ((begun,),) = postgres.execute("select pg_snapshot_xmin(pg_current_snapshot())::text")
        for statement in made:
            postgres.execute(statement, database)
    dumped = dumping.result()
    assert dumped.anchor is not None
    assert not dumped.anchor.snapshot.sees(int(begun)), "it was not begun anew"
    content = b"".join(read_chunks(landed))
    assert b"CREATE VIEW public.v" in content
    for word in (b"made", b"pg_monitor", b"a text"):
        assert word not in content


@pytest.mark.parametrize("restarted", ["", "restart identity"])
def test_a_table_that_is_truncated_between_snapshot_and_lock_is_dumped_as_of_a_later_moment(
    postgres: PostgresServer, database: str, tmp_path: Path, restarted: str
) -> None:
    """TRUNCATE empties a table for older snapshots, too: at the first anchor it had a row."""
    postgres.execute("create table t (a serial); insert into t values (default)", database)
    landed = tmp_path / "dump.pgc.zst"
    by = f"truncate t {restarted}"
    with held_up(postgres, database, landed, by) as (holder, dumping):
        ((truncated,),) = holder.execute("select pg_current_xact_id()::text").fetchall()
    dumped = dumping.result()
    verify_dump(landed, dumped.file)
    assert dumped.anchor is not None
    assert dumped.anchor.snapshot.sees(int(truncated))


def test_a_table_that_is_dropped_before_it_can_be_locked_is_dumped_without(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute("create table a (a int); create table b (b int)", database)
    landed = tmp_path / "dump.pgc.zst"
    by = "lock table a in access exclusive mode"
    with held_up(postgres, database, landed, by) as (holder, dumping):
        holder.execute("drop table a")
    verify_dump(landed, dumping.result().file)
    content = b"".join(read_chunks(landed))
    assert b"CREATE TABLE public.b" in content
    assert b"CREATE TABLE public.a" not in content


@pytest.mark.parametrize(
    "dropped", ["drop index i", "alter table t drop constraint t_pkey", "alter table t drop e"]
)
def test_what_is_dropped_of_a_table_before_it_is_read_is_dumped_without(
    postgres: PostgresServer, database: str, tmp_path: Path, dropped: str
) -> None:
    """pg_dump reads indexes as they are by then, and ends where one that it has seen is gone."""
    postgres.execute(
        "create table t (a int primary key, b int, e int); create index i on t ((b + 1), e)",
        database,
    )
    landed = tmp_path / "dump.pgc.zst"
    by = "lock table t in access exclusive mode"
    with held_up(postgres, database, landed, by) as (holder, dumping):
        holder.execute(dropped)
    verify_dump(landed, dumping.result().file)
    content = b"".join(read_chunks(landed))
    assert b"CREATE TABLE public.t" in content
    assert (b"CREATE INDEX i" in content) is ("constraint" in dropped)
