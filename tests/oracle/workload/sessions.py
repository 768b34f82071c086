"""Sessions of applications that change one database at random, several at once."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import psycopg

from embedded.postgres import PostgresServer
from tests.oracle.workload.catalog import read_model
from tests.oracle.workload.names import literal, quoted
from tests.oracle.workload.programs import with_comments, wrapped
from tests.oracle.workload.scene import Impossible, Scene
from tests.oracle.workload.statements import Choice

#: a statement that takes longer was blocked
_LIMITS = "set lock_timeout to '700ms'; set statement_timeout to '20s'; set xmloption to content"
_PATIENT = "set lock_timeout to '20s'"
SETTINGS = [
    "search_path to public", 'search_path to "S 2", public', "search_path to sales, public",
    "search_path to ''", "datestyle to 'SQL, DMY'", "datestyle to 'German'",
    "timezone to 'Asia/Kathmandu'", "intervalstyle to 'sql_standard'",
    "standard_conforming_strings to off", "backslash_quote to on", "check_function_bodies to off",
    "bytea_output to 'escape'", "extra_float_digits to 0", "xmloption to document",
    "quote_all_identifiers to on", "transform_null_equals to on", "array_nulls to off",
    "lc_monetary to 'C'", "default_toast_compression to 'pglz'", "synchronous_commit to off",
    "default_table_access_method to heap", "row_security to off",
    "session_replication_role to local",
]  # fmt: skip


@dataclass(frozen=True)
class Executed:
    """One statement and what became of it."""

    ended: datetime
    #: of the history: "before" Respaldo came, "part 0" …
    part: str
    session: int
    text: str
    #: "" or the error's code and message
    error: str

    def __str__(self) -> str:
        outcome = f"  -- {self.error}" if self.error else ""
        return f"{self.ended:%H:%M:%S.%f} [{self.session}] {self.text[:1500]}{outcome}"


@dataclass
class Tenant:
    """One database and what was done to it."""

    name: str
    seed: str
    sessions: int
    executed: list[Executed] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    #: errors that an application without Respaldo would not have seen
    our_errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: moves whenever somebody changed the schema
    version: int = 0

    def tail(self, until: datetime, count: int = 40) -> str:
        """Return the last statements that had ended by then."""
        with self.lock:
            before = [e for e in self.executed if e.ended <= until]
        return "\n".join(map(str, before[-count:]))


#: the part of a history before Respaldo comes
BEFORE = "before"


class Session(threading.Thread):
    """One connection and its transactions, until so many are done or it is told to stop."""

    def __init__(
        self,
        server: PostgresServer,
        tenant: Tenant,
        number: int,
        *,
        part: str,
        choice: Choice,
        transactions: int,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=f"{tenant.name}/{number}")
        self._server, self._tenant, self._number, self._part = server, tenant, number, part
        self._choice, self._transactions, self._stop_ = choice, transactions, stop
        self._scene = Scene(Random(f"{tenant.seed}/{part}/{number}"))
        self._seen = -1
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with self._server.connect(
                self._tenant.name, prepare_threshold=None, client_encoding="utf8"
            ) as conn:
                conn.execute(_LIMITS)
                for serial in range(self._transactions):
                    if self._stop_.is_set():
                        break
                    self._one(conn, serial)
                conn.execute("rollback")
        except BaseException as e:  # noqa: BLE001 - raised by whoever joins
            self.failure = e

    # -- transactions -------------------------------------------------------------------------

    def _one(self, conn: psycopg.Connection[Any], serial: int) -> None:
        rng = self._scene.rng
        self._look(conn)
        kind = rng.random()
        if kind < 0.35:
            outcome = self._alone(conn)
        else:
            outcome = self._transaction(
                conn, f"{self._tenant.name} {self._part} {self._number}.{serial}"
            )
        with self._tenant.lock:
            self._tenant.outcomes[outcome] += 1

    def _alone(self, conn: psycopg.Connection[Any]) -> str:
        """Run one string without begin and commit; it may hold several statements."""
        kind, text = self._choice.statement(self._scene, alone=True)
        if not kind.alone:
            text = self._dressed(text)
        ok = True
        for part in text.split("\0"):
            ok = ok and self._run(conn, part)
        if not ok and kind.alone:
            self._drop_invalid(conn)
        conn.execute("rollback")  # if the string began a transaction
        return "alone" if ok else "alone, failed"

    def _drop_invalid(self, conn: psycopg.Connection[Any]) -> None:
        """Drop what CREATE INDEX CONCURRENTLY left, as its manual says.

        No event trigger tells of it; should REINDEX or the like make it valid, nobody knows.
        """
        self._seen = -1
        self._look(conn)
        for table in self._scene.model.of_kind("rm"):
            for name, _, _, valid in table.indexes:
                if not valid:
                    index = f"{quoted(table.schema)}.{quoted(name)}"
                    self._run(conn, f"{_PATIENT}; drop index if exists {index}; {_LIMITS}")

    def _dressed(self, text: str) -> str:
        """Return it as it is, or with others in one string, a block or a function."""
        rng = self._scene.rng
        way = rng.random()
        if way < 0.6:
            return text
        more = [text] + [
            self._choice.statement(self._scene, alone=False)[1] for _ in range(rng.randint(0, 2))
        ]
        try:
            if way < 0.8:
                return wrapped(self._scene, more, stored=self._choice.ddl > 0)
        except Impossible:
            return text
        if way < 0.85:
            return "begin; " + "; ".join(more) + rng.choice(["; commit", "; rollback", "; end"])
        return with_comments(self._scene, more)

    def _transaction(self, conn: psycopg.Connection[Any], name: str) -> str:
        rng = self._scene.rng
        self._run(
            conn,
            rng.choice(
                ["begin"] * 30
                + ["begin isolation level repeatable read", "begin isolation level serializable"]
            ),
        )
        if rng.random() < 0.15:
            self._run(conn, f"set local {rng.choice(SETTINGS)}")
        if rng.random() < 0.1:
            self._run(conn, f"set local role {quoted('app_owner')}")
        for _ in range(rng.choice([1, 1, 2, 2, 3, 4, 6, 12])):
            if self._stop_.is_set():
                break
            if not self._step(conn):
                self._run(conn, "rollback")
                return "failed"
        if rng.random() < 0.01:
            self._stop_.wait(rng.uniform(0.1, 0.5))  # a slow user
        end = rng.random()
        if end < 0.08:
            self._run(conn, "rollback")
            return "rolled back"
        if end < 0.13:
            gid = literal(name)
            if not self._run(conn, f"prepare transaction {gid}"):
                self._run(conn, "rollback")
                return "not prepared"
            self._stop_.wait(rng.uniform(0, 0.1))
            how = rng.choice(["commit", "commit", "rollback"])
            self._run(conn, f"{how} prepared {gid}")
            return f"{how} prepared"
        return "committed" if self._run(conn, "commit") else "failed at commit"

    def _step(self, conn: psycopg.Connection[Any]) -> bool:
        """Run a statement in a transaction, most of them with a savepoint before."""
        rng = self._scene.rng
        guarded = rng.random() < 0.75
        name = rng.choice(["s", "s", 'S"p'])
        if guarded:
            self._run(conn, f"savepoint {quoted(name)}")
        _, text = self._choice.statement(self._scene, alone=False)
        text = self._dressed(text).replace("\0", "")
        ok = self._run(conn, text)
        if conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            return False  # the string ended the transaction
        if not ok and not guarded:
            return False
        if guarded:
            undo = not ok or rng.random() < 0.12
            verb = "rollback to" if undo else rng.choice(["release", "release", "select 1 --"])
            if not self._run(conn, f"{verb} {quoted(name)}"):
                return False
            if undo:
                self._seen = -1
        self._look(conn)
        return True

    # -- statements ---------------------------------------------------------------------------

    def _run(self, conn: psycopg.Connection[Any], text: str) -> bool:
        error = ""
        before = conn.info.transaction_status
        try:
            cursor = conn.execute(text)  # type: ignore[arg-type]
            while cursor.nextset():
                pass
        except psycopg.Error as e:
            error = f"{e.sqlstate} {e.diag.message_primary or e}"
            self._judge(e, text)
            if conn.closed:
                raise
        executed = Executed(datetime.now(UTC), self._part, self._number, text, error)
        with self._tenant.lock:
            self._tenant.executed.append(executed)
            if not error and not text.startswith(("insert", "update", "delete", "savepoint")):
                self._tenant.version += 1
        if not error and before == psycopg.pq.TransactionStatus.INTRANS:
            self._seen = min(self._seen, self._tenant.version - 1)
        return not error

    def _judge(self, error: psycopg.Error, text: str) -> None:
        """Note an error that came from us: an application must not notice that it is watched."""
        context = error.diag.context or ""
        # values hold the word, too
        ours = "function respaldo." in context or "respaldo." in (error.diag.message_primary or "")
        # before Respaldo came it can only be for want of one in a publication of its own
        identity = (
            self._part != BEFORE and error.sqlstate == "55000" and "replica identity" in str(error)
        )
        # what the application's own limits end, they end in our functions, too
        if (ours or identity) and error.sqlstate not in {"57014"} and "respaldo" not in text:
            with self._tenant.lock:
                self._tenant.our_errors.append(f"{text[:2000]}\n  {error}\n  {context}")

    def _look(self, conn: psycopg.Connection[Any]) -> None:
        """Read the catalog again if somebody may have changed it."""
        version = self._tenant.version
        if self._seen == version or conn.info.transaction_status not in {
            psycopg.pq.TransactionStatus.IDLE,
            psycopg.pq.TransactionStatus.INTRANS,
        }:
            return
        try:
            self._scene.model = read_model(conn)
        except psycopg.Error:  # dropped while it was read
            if conn.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
                return
        self._seen = version
