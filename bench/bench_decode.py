"""How fast the stream is decoded, written as segments, and reduced to the last state of each key.

Run: ``python -m bench.bench_decode``. Self-made data: 327,000 updates of 80,000 keys in a table
like pgbench_accounts, four changes a transaction. Figures are printed, never asserted.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.segment import (
    ColumnDefinition,
    DatabaseState,
    RelationDefinition,
)
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import TargetTime
from include.respaldo.querylog.pgoutput import decode
from include.respaldo.querylog.reduction import reduce_log
from include.respaldo.querylog.segment import SegmentWriter
from tests.unit.querylog import wire

CHANGES, KEYS, BATCH = 327_000, 80_000, 4
START = datetime(2026, 11, 22, 11, 0, tzinfo=UTC)
ACCOUNTS = RelationDefinition(
    16384,
    "public",
    "pgbench_accounts",
    "d",
    tuple(
        ColumnDefinition(name, type_oid, -1, name == "aid")
        for name, type_oid in (("aid", 23), ("bid", 23), ("abalance", 23), ("filler", 1042))
    ),
)


def stream() -> Iterator[bytes]:
    chance = random.Random(1129)
    yield wire.relation(ACCOUNTS)
    for number in range(CHANGES // BATCH):
        at = START + timedelta(milliseconds=number // 2)
        yield wire.begin(1000 * (number + 1), at, number + 1000)
        for _ in range(BATCH):
            aid, balance = chance.randrange(KEYS), chance.randrange(-(10**6), 10**6)
            yield wire.update(16384, [b"%d" % aid, b"1", b"%d" % balance, b" " * 84])
        yield wire.commit(1000 * (number + 1), 1000 * (number + 1) + 40, at)


def main() -> None:
    payloads = list(stream())
    begun = time.perf_counter()
    messages = [decode(payload) for payload in payloads]
    took = time.perf_counter() - begun
    print(f"decode   {len(payloads):,} messages in {took:.2f} s: {len(payloads) / took:,.0f}/s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segment.parquet"
        begun = time.perf_counter()
        writer = SegmentWriter(path, "bench", Lsn(1), int)
        for message, payload in zip(messages, payloads, strict=True):
            writer.write(message, len(payload))
        segment = writer.finish(Lsn(10**9), DatabaseState(START))
        took = time.perf_counter() - begun
        print(
            f"segment  {CHANGES:,} changes in {took:.2f} s: {CHANGES / took:,.0f}/s, "
            f"{segment.size / 1e6:.1f} MB from {sum(map(len, payloads)) / 1e6:.1f} MB"
        )
        begun = time.perf_counter()
        replayed, tables = reduce_log(
            [path],
            snapshot=Snapshot(1, 1),
            target=TargetTime(START + timedelta(days=1)),
            scratch=Path(folder),
        )
        keys = sum(stretch.updates for table in tables for stretch in table.stretches)
        took = time.perf_counter() - begun
        print(f"reduce   {replayed.changes:,} changes to {keys:,} keys in {took:.2f} s")


if __name__ == "__main__":
    main()
