"""Reaching a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from embedded.postgres import PostgresServer, free_port
from include.respaldo.connections import from_environment
from include.respaldo.errors import ConfigurationError, ServerUnreachable, SourceError
from include.respaldo.postgres import queries
from include.respaldo.postgres.connect import connect, libpq_environment


def test_a_session_sees_only_pg_catalog_and_canonical_values(
    postgres: PostgresServer, database: str
) -> None:
    postgres.execute(f"alter database {database} set datestyle to 'german'")
    with connect(postgres.connection(), database) as conn:
        assert conn.execute("select current_setting('search_path')").fetchone() == (
            "pg_catalog, pg_temp",
        )
        assert conn.execute("select date '2026-11-22' :: text").fetchone() == ("2026-11-22",)
        assert conn.execute("select current_setting('TimeZone')").fetchone() == ("UTC",)


def test_an_ordinary_role_gets_in_too(postgres: PostgresServer, database: str) -> None:
    postgres.execute("create role ordinary login password 'o'")
    try:
        ordinary = replace(postgres.connection(), login="ordinary", password="o")
        with connect(ordinary, database) as conn:
            assert conn.execute("select current_user :: text").fetchone() == ("ordinary",)
    finally:
        postgres.execute("drop role ordinary")


def test_every_statement_can_be_run_in_a_database_of_any_encoding() -> None:
    folder = Path(queries.__file__).parent / "sql"
    assert [p.name for p in folder.glob("*.sql") if not p.read_bytes().isascii()] == []


def test_a_wrong_password_is_a_mistake_in_the_connection_and_is_not_shown(
    postgres: PostgresServer,
) -> None:
    wrong = replace(postgres.connection(), password="hunter2-not-it")
    with pytest.raises(ConfigurationError, match="password authentication failed") as caught:
        connect(wrong)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_does_not_answer_can_be_tried_again(postgres: PostgresServer) -> None:
    port = free_port()
    with pytest.raises(ServerUnreachable, match=rf"127\.0\.0\.1:{port}"):
        connect(replace(postgres.connection(), port=port))


def test_a_database_that_is_gone_is_named(postgres: PostgresServer) -> None:
    with pytest.raises(SourceError, match="'no such one'"):
        connect(postgres.connection(), "no such one")


def test_programs_get_the_password_through_their_environment(postgres: PostgresServer) -> None:
    done = subprocess.run(
        [postgres.bin("psql"), "-XAtc", "select current_database()"],
        env=os.environ | libpq_environment(postgres.connection(), "template1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "template1\n"


def test_the_servers_own_uri_is_read_as_a_connection(postgres: PostgresServer) -> None:
    environ = {"AIRFLOW_CONN_PG_TEST": postgres.connection_uri()}
    assert from_environment("pg_test", environ) == postgres.connection()


def test_a_killed_server_starts_again_with_what_was_committed() -> None:
    folder = Path(tempfile.mkdtemp(prefix="respaldo-pg-"))
    folder.chmod(0o755)
    try:
        with PostgresServer(folder / "s") as server:
            server.execute("create table t as select 1 as a")
            server.kill9()
            assert server.pid is None
            again = PostgresServer.attach(folder / "s").start()
            assert again.port == server.port
            assert again.execute("select a from t") == [(1,)]
            assert again.psql("select a from t;") == "1\n"
    finally:
        shutil.rmtree(folder)
