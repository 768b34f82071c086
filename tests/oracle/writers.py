"""Writers that change several databases at random, at the same time, until they are stopped."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import psycopg

from embedded.postgres import PostgresServer
from tests.oracle.changes import Conn, change


class Writers:
    """So many threads, each with a session in every database and random numbers of its own."""

    def __init__(
        self, server: PostgresServer, databases: Sequence[str], seed: int, threads: int
    ) -> None:
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._lock = threading.Lock()
        #: 32-bit id of each transaction that wrote -> its database
        self.database_of: dict[int, str] = {}
        self.outcomes: Counter[str] = Counter()
        self._server = server
        self._databases = databases
        self._threads = [
            threading.Thread(target=self._write, args=(number, Random(f"{seed}/{number}")))
            for number in range(threads)
        ]

    def start(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Let each end its transaction; raise what went wrong in one, if anything."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _write(self, number: int, rng: Random) -> None:
        sessions: dict[str, Conn] = {}
        try:
            for name in self._databases:
                sessions[name] = self._server.connect(name)
                sessions[name].execute("set lock_timeout to '2s'; set xmloption to content")
            serial = 0
            while not self._stop.is_set():
                serial += 1
                database = rng.choice(self._databases)
                outcome = self._transaction(sessions[database], database, rng, f"{number}.{serial}")
                with self._lock:
                    self.outcomes[outcome] += 1
        except BaseException as e:
            self._errors.append(e)
            raise
        finally:
            for session in sessions.values():
                session.close()

    def _transaction(self, conn: Conn, database: str, rng: Random, name: str) -> str:
        conn.execute(rng.choice(["begin", "begin", "begin isolation level repeatable read"]))
        if rng.random() < 0.2:  # visible to others before its commit record is on disk
            conn.execute("set local synchronous_commit to off")
        try:
            self._changes(conn, rng)
            xid = _one(conn, "select pg_current_xact_id_if_assigned()::text::bigint")
            if xid is not None:
                with self._lock:
                    self.database_of[xid & 0xFFFFFFFF] = database
            if rng.random() < 0.02:
                self._stop.wait(rng.uniform(0.1, 1.5))  # a slow user
            end = rng.random()
            if end < 0.08:
                conn.execute("rollback")
                return "rolled back"
            if end < 0.12:
                conn.execute(f"prepare transaction '{name}'")
                self._stop.wait(rng.uniform(0, 0.3))
                how = rng.choice(["commit", "commit", "rollback"])
                conn.execute(f"{how} prepared '{name}'")
                return f"{how} prepared"
            conn.execute("commit")
            return "committed"
        except psycopg.Error as e:
            # unique values, locks and snapshots of others: what happens to applications, too
            if (e.sqlstate or "")[:2] not in {"23", "40", "55"}:
                raise
            conn.execute("rollback")
            return f"failed {e.sqlstate}"

    def _changes(self, conn: Conn, rng: Random) -> None:
        for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
            change(conn, rng)
            if rng.random() < 0.15:
                conn.execute("savepoint s")
                try:
                    change(conn, rng)
                    undo = rng.random() < 0.6
                except psycopg.Error as e:
                    if (e.sqlstate or "")[:2] != "23":
                        raise
                    undo = True
                conn.execute("rollback to s" if undo else "release s")


def _one(conn: Conn, query: str) -> Any:
    row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]
