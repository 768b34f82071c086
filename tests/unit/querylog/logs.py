"""Write small query logs for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.segment import (
    Barrier,
    ColumnDefinition,
    DatabaseState,
    RelationDefinition,
    Segment,
)
from include.respaldo.querylog.pgoutput import decode
from include.respaldo.querylog.segment import RelationMap, SegmentWriter
from tests.unit.querylog import wire

T0 = datetime(2026, 11, 22, 11, 0, 0, tzinfo=UTC)
STATE = DatabaseState(T0, ())


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def table(
    oid: int, name: str, columns: str, *, key: str = "", identity: str = "d", schema: str = "public"
) -> RelationDefinition:
    """Return a definition: `columns` and `key` are names with spaces between."""
    return RelationDefinition(
        oid,
        schema,
        name,
        identity,
        tuple(
            ColumnDefinition(c, 25, -1, identity == "f" or c in key.split())
            for c in columns.split()
        ),
    )


class At(NamedTuple):
    """A message, and where its change stands in the server's log."""

    position: int
    payload: bytes


def write(writer: SegmentWriter, *payloads: bytes | At) -> None:
    for item in payloads:
        position, payload = item if isinstance(item, At) else (None, item)
        known = None if position is None else Lsn(position)
        writer.write(decode(payload), len(payload), known)


def transaction(lsn: int, when: datetime, xid: int, *payloads: bytes | At) -> list[bytes | At]:
    return [wire.begin(lsn, when, xid), *payloads, wire.commit(lsn, lsn + 1, when)]


def segment(
    path: Path,
    start: int,
    end: int,
    transactions: Sequence[Sequence[bytes | At]],
    relations: Sequence[RelationDefinition] = (),
    *,
    widen: Callable[[int], int] = int,
    barriers: tuple[Barrier, ...] = (),
    overtaken_before: int = 0,
) -> Segment:
    known = RelationMap()
    for definition in relations:
        known.learn(definition)
    writer = SegmentWriter(
        path, "chain", Lsn(start), widen, known, overtaken_before=Lsn(overtaken_before)
    )
    for messages in transactions:
        write(writer, *messages)
    return writer.finish(Lsn(end), STATE, barriers)
