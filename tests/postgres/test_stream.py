"""The replication stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import psycopg
import pytest

from embedded.postgres import PostgresServer
from include.respaldo.errors import Busy, ChainBroken, ServerUnreachable
from include.respaldo.model.lsn import Lsn
from include.respaldo.ports import Keepalive, Payload
from include.respaldo.postgres.capture import Prepared, prepare
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.slot import current_position, drop_slot, list_slots
from include.respaldo.postgres.stream import ReplicationStream, open_stream

LIMIT = 30


@pytest.fixture
def prepared(session: psycopg.Connection) -> Prepared:
    return prepare(session)


def read_until(stream: ReplicationStream, position: Lsn) -> tuple[list[bytes], Lsn]:
    """Return what arrives until the server has sent all before `position`."""
    found: list[bytes] = []
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        stream.ask_position()
        for item in stream.read(1):
            if isinstance(item, Payload):
                found.append(item.data)
            elif item.position >= position:
                return found, item.position
    raise TimeoutError


def kinds(payloads: list[bytes]) -> str:
    return b"".join(p[:1] for p in payloads).decode()


def is_body(payload: bytes) -> bool:
    """Say whether it is a message with a body, not the empty one that follows each.

    Its prefix is looked for, not its brace: any byte, that one too, may be in a position.
    """
    return payload[:1] == b"M" and b"respaldo.ddl\0" in payload and b"end of " not in payload


@pytest.fixture
def stream(
    postgres: PostgresServer, database: str, prepared: Prepared
) -> Iterator[ReplicationStream]:
    with open_stream(
        postgres.connection(), database, prepared.slot, prepared.consistent_point
    ) as opened:
        yield opened


def test_changes_come_in_commit_order_with_their_messages(
    postgres: PostgresServer, database: str, session: psycopg.Connection, stream: ReplicationStream
) -> None:
    postgres.execute("create table t (a int primary key); insert into t values (1)", database)
    postgres.execute("update t set a = 2; delete from t; truncate t", database)
    payloads, _ = read_until(stream, current_position(session))
    # the first script is one implicit transaction, and so is the second
    assert kinds(payloads) == "BMMRICBRUDRTC"
    message = payloads[1]
    assert b"respaldo.ddl\0" in message
    body = json.loads(message[message.index(b"{") :])
    assert [touched["identity"] for touched in body["objects"]] == ["public.t", "public.t_pkey"]


@pytest.mark.parametrize(
    "script",
    [
        "alter table t add b int; insert into t values (1, 1)",
        "savepoint s; alter table t add b int; release s; insert into t values (1, 1)",
        "savepoint s; alter table t add b int; rollback to s; insert into t values (1)",
        "do $$ begin begin alter table t add b int; exception when others then null; end;"
        " insert into t values (1, 1); end $$",
    ],
)
def test_a_message_comes_before_the_rows_written_after_it(
    postgres: PostgresServer,
    database: str,
    session: psycopg.Connection,
    stream: ReplicationStream,
    script: str,
) -> None:
    postgres.execute("create table t (a int primary key)", database)
    stream.confirm(read_until(stream, current_position(session))[1])
    for _ in range(5):  # the order of equal positions is arbitrary, not always wrong
        postgres.execute(f"begin; {script}; commit", database)
        payloads, _ = read_until(stream, current_position(session))
        order = kinds([p for p in payloads if p[:1] == b"I" or is_body(p)])
        assert order == ("I" if "rollback" in script else "MI")
        postgres.execute("alter table t drop if exists b; delete from t", database)
        read_until(stream, current_position(session))


def test_only_a_confirmation_moves_the_slot(
    postgres: PostgresServer,
    database: str,
    session: psycopg.Connection,
    prepared: Prepared,
    stream: ReplicationStream,
    monkeypatch,
) -> None:
    def confirmed() -> Lsn | None:
        return list_slots(session)[prepared.slot].confirmed_flush_lsn

    monkeypatch.setattr("include.respaldo.postgres.stream.STATUS_INTERVAL", 0)
    postgres.execute("create table t (a int primary key); insert into t values (1)", database)
    _, position = read_until(stream, current_position(session))
    assert confirmed() == prepared.consistent_point
    stream.confirm(position)
    deadline = time.monotonic() + LIMIT
    while confirmed() != position and time.monotonic() < deadline:
        stream.read(0.05)
    assert confirmed() == position
    stream.confirm(prepared.consistent_point)  # never backwards
    read_until(stream, position)
    assert confirmed() == position


def test_what_was_not_confirmed_comes_again(
    postgres: PostgresServer, database: str, session: psycopg.Connection, prepared: Prepared
) -> None:
    postgres.execute("create table t (a int primary key)", database)
    middle = current_position(session)
    postgres.execute("insert into t values (1)", database)
    end = current_position(session)

    def read_from(start: Lsn) -> str:
        with open_stream(postgres.connection(), database, prepared.slot, start) as stream:
            return kinds(read_until(stream, end)[0])

    assert read_from(prepared.consistent_point) == "BMMCBRIC"
    assert read_from(prepared.consistent_point) == "BMMCBRIC"
    assert read_from(middle) == "BRIC"
    with open_stream(postgres.connection(), database, prepared.slot, middle) as stream:
        stream.confirm(middle)
        read_until(stream, end)
    assert read_from(Lsn(0)) == "BRIC"
    with pytest.raises(ChainBroken, match="beyond"):
        read_from(prepared.consistent_point)


def test_values_are_canonical_whatever_the_database_prefers(
    postgres: PostgresServer, database: str, session: psycopg.Connection, prepared: Prepared
) -> None:
    for setting in (
        "datestyle to 'german, dmy'",
        "intervalstyle to 'iso_8601'",
        "extra_float_digits to -5",
        "bytea_output to 'escape'",
        "timezone to 'Asia/Tokyo'",
        "search_path to hidden, public",
    ):
        postgres.execute(f"alter database {database} set {setting}")
    with postgres.connect(database) as conn:
        conn.execute(
            "create schema hidden; create table hidden.here (a int);"
            "create table t (a timestamptz, b date, c interval, d float8, e bytea, f boolean,"
            " g regclass, h money)"
        )
        conn.execute(
            "insert into t values ('2026-11-22 11:29:00.123456+00', '2026-11-22',"
            " '1 year 2 days 03:04:05', 0.1::float8 + 0.2, '\\x00ff', true, 'hidden.here', 1234.5)"
        )
    with open_stream(
        postgres.connection(), database, prepared.slot, prepared.consistent_point
    ) as stream:
        payloads, _ = read_until(stream, current_position(session))
    insert = next(p for p in payloads if p[:1] == b"I" and b"11:29:00" in p)
    for value in (
        b"2026-11-22 11:29:00.123456+00",
        b"2026-11-22",
        b"1 year 2 days 03:04:05",
        b"0.30000000000000004",
        b"\\x00ff",
        b"hidden.here",
        b"$1,234.50",
    ):
        assert len(value).to_bytes(4, "big") + value in insert


def test_an_idle_stream_says_how_far_it_is(
    postgres: PostgresServer, session: psycopg.Connection, stream: ReplicationStream
) -> None:
    postgres.execute("select pg_logical_emit_message(false, 'elsewhere', 'x')")
    payloads, position = read_until(stream, current_position(session))
    assert payloads == []
    assert position > 0
    assert all(isinstance(item, Keepalive) for item in stream.read(0.01))


def test_a_slot_has_one_reader(
    postgres: PostgresServer,
    database: str,
    session: psycopg.Connection,
    prepared: Prepared,
    stream: ReplicationStream,
) -> None:
    with pytest.raises(Busy, match="is being read already"):
        open_stream(postgres.connection(), database, prepared.slot, Lsn(0))
    with pytest.raises(Busy, match="is being read by process"):
        drop_slot(session, prepared.slot)
    stream.close()
    open_stream(postgres.connection(), database, prepared.slot, Lsn(0)).close()
    assert drop_slot(session, prepared.slot)
    assert not drop_slot(session, prepared.slot)
    with pytest.raises(ChainBroken, match="does not exist"):
        open_stream(postgres.connection(), database, prepared.slot, Lsn(0))


def test_a_stale_reader_of_ours_can_be_put_out(
    postgres: PostgresServer,
    database: str,
    session: psycopg.Connection,
    prepared: Prepared,
    stream: ReplicationStream,
) -> None:
    assert drop_slot(session, prepared.slot, terminate=True)
    with pytest.raises(ServerUnreachable, match=r"ended|broke"):
        read_until(stream, current_position(session))


def test_an_awkward_name_is_streamed_like_any_other(postgres: PostgresServer, awkward: str) -> None:
    with connect(postgres.connection(), awkward) as conn:
        prepared = prepare(conn)
        postgres.execute("create table t (a int); insert into t values (1)", awkward)
        with open_stream(
            postgres.connection(), awkward, prepared.slot, prepared.consistent_point
        ) as stream:
            payloads, _ = read_until(stream, current_position(conn))
    assert kinds(payloads).count("I") >= 1


def test_a_long_backlog_arrives_whole(
    postgres: PostgresServer, database: str, session: psycopg.Connection, stream: ReplicationStream
) -> None:
    postgres.execute("create table t (a int primary key, b text)", database)
    postgres.execute(
        "insert into t select n, repeat('x', 300) from generate_series(1, 50000) n", database
    )
    payloads, _ = read_until(stream, current_position(session))
    assert kinds(payloads).count("I") == 50000
