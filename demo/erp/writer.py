"""The tenant's people at work: orders, prices, deliveries, payments, without a pause.

    AIRFLOW_CONN_RESPALDO_PG1=… python -m demo.erp.writer --database tenant_acme --rate 5

Prints a line every ten seconds; goes on after the server was away; ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import threading
import time
from collections import Counter

import psycopg

from demo.erp.application import enter
from demo.erp.work import WORK
from include.respaldo.connections import Connection, from_environment

REPORT_EVERY = 10


class Writer:
    """One session's worth of work on a tenant's database.

    :param seed: the same one does the same things in the same order, on the same data.
    :param rate: transactions a second, at most.
    """

    def __init__(
        self, connection: Connection, database: str, *, rate: float = 5, seed: int | None = None
    ) -> None:
        self._connection = connection
        self.database = database
        self._pause = 1 / rate
        self._rng = random.Random(seed)
        #: kind of work -> how often it was done
        self.done: Counter[str] = Counter()
        #: times that the server was away
        self.interruptions = 0

    def run(self, stop: threading.Event, *, transactions: int | None = None) -> None:
        """Work until told to stop, or for so many transactions."""
        began = time.monotonic()
        while not stop.is_set() and not self._enough(transactions):
            try:
                with enter(self._connection, self.database, role=self.database) as session:
                    while not stop.is_set() and not self._enough(transactions):
                        self._transaction(session)
                        began = self._keep_pace(stop, began)
            except psycopg.OperationalError:
                # Gone, restarting, or a lock that somebody took first: begin anew
                self.interruptions += 1
                stop.wait(0.5)

    def _enough(self, transactions: int | None) -> bool:
        return transactions is not None and self.done.total() >= transactions

    def _transaction(self, session: psycopg.Connection[tuple[object, ...]]) -> None:
        work = self._rng.choices(list(WORK), list(WORK.values()))[0]
        found = True
        with session.transaction():  # work may take itself back: Rollback ends here
            found = work(session, self._rng)
        self.done[work.__name__ if found else "nothing_to_do"] += 1

    def _keep_pace(self, stop: threading.Event, began: float) -> float:
        """Wait for the next turn; return when it is. Lost time is not caught up."""
        due = max(began + self._pause, time.monotonic() - 1)
        stop.wait(max(0, due - time.monotonic()))
        return due


def main() -> None:
    """Write until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo.erp.writer", description=__doc__)
    parser.add_argument("--connection", default="respaldo_pg1", help="id, in AIRFLOW_CONN_<ID>")
    parser.add_argument("--database", required=True)
    parser.add_argument("--rate", type=float, default=5, help="transactions a second")
    parser.add_argument("--transactions", type=int, help="stop after so many")
    parser.add_argument("--seed", type=int)
    chosen = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    writer = Writer(
        from_environment(chosen.connection), chosen.database, rate=chosen.rate, seed=chosen.seed
    )

    def work() -> None:
        try:
            writer.run(stop, transactions=chosen.transactions)
        finally:
            stop.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not stop.wait(REPORT_EVERY):
        report(writer)
    thread.join()
    report(writer)


def report(writer: Writer) -> None:
    """Print what was done so far."""
    kinds = json.dumps(dict(sorted(writer.done.items())))
    print(
        f"{writer.database}: {writer.done.total()} transactions, "
        f"{writer.interruptions} interruptions {kinds}",
        flush=True,
    )


if __name__ == "__main__":
    main()
