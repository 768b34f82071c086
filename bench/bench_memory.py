"""The most memory that planning and writing the replay of a long log takes.

Self-made data, written with the archiver's own segment writer: updates of a large table, orders
that come and go, and a table without a key, with a schema change now and then. Each phase is a
process of its own: a process's peak never goes down again.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from bench.ground import folder
from bench.table import megabytes, note, seconds, table, verdict
from include.respaldo.model.lsn import Lsn
from include.respaldo.model.replay import SchemaReplay
from include.respaldo.model.schema_change import Caller, ReplayCommand
from include.respaldo.model.segment import ColumnDefinition, DatabaseState, RelationDefinition
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import TargetTime
from include.respaldo.querylog.pgoutput import decode
from include.respaldo.querylog.reduction import reduce_log
from include.respaldo.querylog.relations import RelationMap
from include.respaldo.querylog.segment import SegmentWriter
from tests.unit.querylog import wire

START = datetime(2026, 11, 22, tzinfo=UTC)
#: row changes of a transaction, and transactions of a segment
BATCH, CUT = 20, 10_000
LIMIT = 2**30


def _relation(oid: int, name: str, columns: str, key: str, identity: str) -> RelationDefinition:
    return RelationDefinition(
        oid,
        "public",
        name,
        identity,
        tuple(
            ColumnDefinition(c, 25, -1, identity == "f" or c in key.split())
            for c in columns.split()
        ),
    )


STOCK = _relation(1, "stock", "product place amount note changed", "product place", "d")
ORDERS = _relation(2, "orders", "id customer total state note", "id", "d")
AUDIT = _relation(3, "audit", "at who what", "", "f")


def run(*, small: bool) -> None:
    """Measure; print the table."""
    changes = 200_000 if small else 10_000_000
    with folder() as at:
        written = _apart(_write, at, changes)
        note(f"{changes:,} row changes in {len(list(at.glob('*.parquet')))} segments")
        size = sum(path.stat().st_size for path in at.glob("*.parquet"))
        reduced = _apart(_reduce, at, changes)
    table(
        ("", "took", "most memory"),
        (
            (f"write the segments ({megabytes(size)})", seconds(written[0]), megabytes(written[1])),
            (f"reduce, write the last states: {reduced[2]}", seconds(reduced[0]),
             megabytes(reduced[1])),
        ),
    )  # fmt: skip
    verdict(aim="under 1 GiB", met=reduced[1] < LIMIT, found=megabytes(reduced[1]))


def _apart(work: Callable[[Path, int], str], at: Path, changes: int) -> tuple[float, int, str]:
    """Run it in a new process; return its seconds, its peak in bytes, and what it said."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(there, work, at, changes))
    process.start()
    there.close()
    found: tuple[float, int, str] = here.recv()
    process.join()
    return found


def _measured(there: Connection, work: Callable[[Path, int], str], at: Path, changes: int) -> None:
    begun = time.monotonic()
    said = work(at, changes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    there.send((time.monotonic() - begun, peak, said))


def _write(at: Path, changes: int) -> str:
    relations, number = RelationMap(), 0
    for relation in (STOCK, ORDERS, AUDIT):
        relations.learn(relation)
    rows = _rows(changes)
    while number * BATCH < changes:
        start = number * 1000 + 1
        writer = SegmentWriter(at / f"{number:09}.parquet", "bench", Lsn(start), int, relations)
        for _ in range(CUT):
            number += 1
            when = START + timedelta(milliseconds=number * 100)
            payloads = [wire.begin(1000 * number, when, number + 1000)]
            payloads += [row for _, row in zip(range(BATCH), rows, strict=False)]
            if number % (5 * CUT) == 0:
                payloads.append(wire.message("respaldo.ddl", b"change"))
            payloads.append(wire.commit(1000 * number, 1000 * number + 40, when))
            for payload in payloads:
                writer.write(decode(payload), len(payload))
            if number * BATCH >= changes:
                break
        writer.finish(Lsn(1000 * number + 100), DatabaseState(START, ()))
    return ""


def _rows(changes: int) -> Iterator[bytes]:
    """Yield as many changes; more than half of them are to rows that are changed once."""
    chance = random.Random(1129)
    places = [b"shelf %d" % n for n in range(50)]
    lines, opened = changes // 3, 0
    for number in range(changes):
        kind = number % 10
        text = b"%d units, counted by hand, %d" % (chance.randrange(10**6), number)
        if kind < 6:
            n = chance.randrange(lines)
            yield wire.update(1, [b"%d" % (n // 50), places[n % 50], b"%d" % kind, text, b"now"])
        elif kind < 8:
            opened += 1
            yield wire.insert(2, [b"%d" % opened, b"customer", b"12.50", b"open", text])
        elif kind == 8:
            order = b"%d" % chance.randrange(1, opened + 1)
            yield wire.update(2, [order, b"customer", b"12.50", b"paid", text])
        else:
            yield wire.insert(3, [b"2026-11-22", b"somebody", text])


def _reduce(at: Path, changes: int) -> str:
    def commands(messages: Sequence[bytes]) -> list[list[ReplayCommand]]:
        return [[ReplayCommand("", "change", Caller("app", "app", ()))] for _ in messages]

    work = at / "work"
    work.mkdir()
    replayed, items = reduce_log(
        list(at.glob("*.parquet")),
        snapshot=Snapshot(1, 1),
        target=TargetTime(START + timedelta(days=99)),
        scratch=work,
        commands=commands,
    )
    assert replayed.changes == changes
    found = sum(isinstance(item, SchemaReplay) for item in items)
    size = sum(path.stat().st_size for path in (work / "reduction").glob("*.csv"))
    return f"{megabytes(size)}, {found} schema changes between them"
