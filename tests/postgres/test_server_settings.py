"""Servers that are not set up, that lose log, or that die."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.postgres import PostgresServer
from include.respaldo.errors import ChainBroken, NotPrepared, ServerUnreachable
from include.respaldo.postgres.capture import prepare
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.preparation import examine
from include.respaldo.postgres.slot import current_position, list_slots
from include.respaldo.postgres.stream import ReplicationStream, open_stream


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="respaldo-pg-"))
    folder.chmod(0o755)
    settings = {
        "wal_level": "replica",
        "max_slot_wal_keep_size": "-1",
        "min_wal_size": "32MB",
        "max_wal_size": "32MB",
    }
    server = PostgresServer(folder / "server", durable=False, settings=settings)
    try:
        server.create()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


def test_a_server_from_its_wrong_settings_to_a_lost_slot_and_back(server: PostgresServer) -> None:
    server.start()
    with connect(server.connection()) as conn:
        assert [p.what.partition(" is ")[0] for p in examine(conn).problems] == [
            "wal_level",
            "max_slot_wal_keep_size",
        ]
        with pytest.raises(NotPrepared, match="wal_level is replica") as caught:
            prepare(conn)
        assert "ALTER SYSTEM SET max_slot_wal_keep_size" in caught.value.hint

    server.configure(wal_level="logical", max_slot_wal_keep_size="1MB")
    server.restart()
    with connect(server.connection()) as conn:
        first = prepare(conn)
        assert examine(conn).is_complete
        deadline = time.monotonic() + 60
        while not list_slots(conn)[first.slot].is_lost and time.monotonic() < deadline:
            conn.execute("select pg_catalog.pg_switch_wal()")
            conn.execute("select pg_logical_emit_message(false, 'filler', repeat('x', 1000000))")
            conn.execute("checkpoint")
        with pytest.raises(ChainBroken, match="cannot be read"):
            open_stream(server.connection(), "postgres", first.slot, first.consistent_point)
        assert examine(conn).broken == "the server has dropped log that was not archived yet"
        second = prepare(conn)
        assert second.consistent_point is not None
        assert second.consistent_point > first.consistent_point
        assert examine(conn).is_complete


def test_a_server_that_forbids_the_decoding_says_so(
    postgres: PostgresServer, database: str
) -> None:
    with connect(postgres.connection(), database) as conn:
        allowed = "current_setting('output_plugin_libraries', true)"
        if conn.execute(f"select {allowed}").fetchone() == (None,):
            pytest.skip("this release does not restrict it")
        assert not examine(conn).problems
        conn.execute("set output_plugin_libraries to 'test_decoding, pgoutput_of_ours'")
        assert [p.what.partition(" ")[0] for p in examine(conn).problems] == [
            "output_plugin_libraries"
        ]


def read_forever(stream: ReplicationStream) -> None:
    while True:
        stream.read(5)


def test_a_server_that_dies_ends_the_stream_and_keeps_what_was_not_confirmed(
    server: PostgresServer,
) -> None:
    server.configure(wal_level="logical", max_slot_wal_keep_size="1GB")
    server.start()
    with connect(server.connection()) as conn:
        prepared = prepare(conn)
    stream = open_stream(server.connection(), "postgres", prepared.slot, prepared.consistent_point)
    server.execute("create table t (a int primary key); insert into t values (1)")
    server.kill9()
    with pytest.raises(ServerUnreachable):
        read_forever(stream)
    stream.close()
    with pytest.raises(ServerUnreachable):
        open_stream(server.connection(), "postgres", prepared.slot, prepared.consistent_point)
    server.start()
    with (
        connect(server.connection()) as conn,
        open_stream(
            server.connection(), "postgres", prepared.slot, prepared.consistent_point
        ) as again,
    ):
        end = current_position(conn)
        kinds = b""
        deadline = time.monotonic() + 30
        position = 0
        while position < end and time.monotonic() < deadline:
            again.ask_position()
            for item in again.read(1):
                if hasattr(item, "data"):
                    kinds += item.data[:1]
                else:
                    position = item.position
    assert kinds == b"BMMRIC"
