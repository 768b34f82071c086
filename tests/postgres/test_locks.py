"""Locks between processes."""

from __future__ import annotations

from embedded.postgres import PostgresServer
from include.respaldo.postgres.connect import connect
from include.respaldo.postgres.locks import locked


def test_a_lock_is_one_sessions_and_free_at_once_when_it_is_done(postgres: PostgresServer) -> None:
    with connect(postgres.connection()) as one, connect(postgres.connection()) as other:
        with locked(one, "work") as first:
            assert first
            with locked(other, "work") as second, locked(other, "other work") as third:
                assert not second
                assert third
        # the first session goes on: it is not its end that frees the lock
        with locked(other, "work") as free:
            assert free


def test_a_lost_connection_is_no_further_error(postgres: PostgresServer) -> None:
    with connect(postgres.connection()) as one, locked(one, "work") as free:
        assert free
        one.close()
