"""A log reduced and carried out gives what its changes give one by one, at every target.

Its schema changes too, which stand between the changes of rows.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.segment import ColumnDefinition, RelationDefinition
from include.respaldo.model.snapshot import Snapshot
from include.respaldo.model.target import Target, TargetLsn, TargetTime
from include.respaldo.querylog import touched
from include.respaldo.querylog.pgoutput import UNCHANGED, Unchanged
from include.respaldo.querylog.reduction import reduce_log
from tests.unit.querylog import wire
from tests.unit.querylog.logs import at, segment, table, transaction
from tests.unit.querylog.replaying import Tables, Values, commands

#: how many logs are tried; a failure prints how to try its log again
EXAMPLES = int(os.environ.get("RESPALDO_EXAMPLES", "25"))

ORDERS = table(10, "orders", "note id image", key="id")
LINES = table(11, "li\"n'es", "order number text", key="order number", identity="i")
AUDIT = table(12, "audit", "who what", identity="f")
RELATIONS = (ORDERS, LINES, AUDIT)
TEXTS = [None, "", "a", 'q"u,o\n\\.\r\n', "ñ\U0001f40d", "NULL", "\\N", " "]


@dataclass(frozen=True)
class Transaction:
    xid: int
    #: seconds; may step back
    at: float
    #: each: the messages as sent, and the tables after it
    payloads: tuple[bytes, ...]
    after: Tables


def encoded(row: Values) -> list[bytes | None]:
    return [None if v is None else v.encode() for v in row]


class World:
    """Tables that change at random, and the messages that say so."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.tables = Tables()
        self.tables.keyed = {ORDERS.oid: {}, LINES.oid: {}}
        self.tables.rows = {AUDIT.oid: Counter()}
        self.relations = list(RELATIONS)
        self._oids = count(100)

    def text(self) -> str | None:
        return self.draw(st.sampled_from(TEXTS))

    def change(self) -> list[bytes]:
        """Return the messages of one change; the tables are described when they are used."""
        if self.draw(st.integers(0, 7)) == 0:
            return self._change_schema()
        relation = self.draw(st.sampled_from(self.relations))
        if self.draw(st.integers(0, 14)) == 0:
            emptied = self.draw(st.lists(st.sampled_from(self.relations), min_size=1, unique=True))
            for r in emptied:
                self.tables.keyed.get(r.oid, {}).clear()
                self.tables.rows.get(r.oid, Counter()).clear()
            return [*map(wire.relation, emptied), wire.truncate([r.oid for r in emptied])]
        change = self._change_rows if relation.oid in self.tables.rows else self._change_keyed
        return [wire.relation(relation), change(relation)]

    def _change_schema(self) -> list[bytes]:
        place = self.draw(st.integers(0, len(self.relations) - 1))
        relation = self.relations[place]
        what = self.draw(st.sampled_from(["widen", "again", "select", "nothing"]))
        before: list[bytes] = []
        text = what
        if what == "widen":
            name = f"c{len(relation.columns)}"
            column = ColumnDefinition(name, 25, -1, relation.replica_identity == "f")
            self.relations[place] = replace(relation, columns=(*relation.columns, column))
            text = f"widen {relation.oid} {name}"
        elif what == "again":
            self.relations[place] = replace(relation, oid=next(self._oids))
            text = f"again {relation.oid} {self.relations[place].oid}"
        elif what == "select":
            made = replace(AUDIT, oid=next(self._oids), name=f"made{len(self.relations)}")
            self.relations.append(made)
            text = f"select {made.oid}"
            bare = tuple(replace(c, is_key=False) for c in made.columns)
            before = [
                wire.relation(replace(made, replica_identity="d", columns=bare)),
                *(wire.insert(made.oid, [v, v]) for v in (b"a", b"b")),
            ]
        if what != "nothing":
            self.tables.change(*text.split(" "))
        if what == "select":
            self.tables.rows[made.oid].update([("a", "a"), ("b", "b")])
        return [*before, wire.message("respaldo.ddl", text.encode())]

    def _new_key(self, relation: RelationDefinition) -> dict[int, str]:
        keys = st.sampled_from(["1", "2", "", '"', "3"])
        return {p: self.draw(keys) for p in relation.key_positions}

    def _change_keyed(self, relation: RelationDefinition) -> bytes:
        rows = self.tables.keyed[relation.oid]
        key_of = self._new_key(relation)
        key = tuple(key_of.values())
        if key not in rows:
            if rows and self.draw(st.booleans()):
                return self._update(relation, self.draw(st.sampled_from(sorted(rows))), key_of)
            row = tuple(key_of.get(p, self.text()) for p in range(len(relation.columns)))
            rows[key] = row
            return wire.insert(relation.oid, encoded(row))
        if self.draw(st.booleans()):
            return self._update(relation, key, key_of)
        old = tuple(key_of.get(p) for p in range(len(relation.columns)))
        del rows[key]
        return wire.delete(relation.oid, key=encoded(old))

    def _update(self, relation: RelationDefinition, key: Values, key_of: dict[int, str]) -> bytes:
        """Change the row at `key` and give it the key `key_of`, which is free or its own."""
        rows = self.tables.keyed[relation.oid]
        before = rows.pop(key)
        new = tuple(key_of.get(p, self.text()) for p in range(len(relation.columns)))
        sent: list[bytes | Unchanged | None] = list(encoded(new))
        after = list(new)
        moved = key != tuple(key_of.values())
        old_sent = moved or self.draw(st.integers(0, 3)) == 0  # a key that is TOASTed is sent
        for p in range(len(relation.columns)):
            same = old_sent and p in key_of and before[p] == new[p]
            if (p not in key_of or same) and self.draw(st.integers(0, 2)) == 0:
                if before[p] is None:
                    continue
                sent[p] = UNCHANGED
                after[p] = before[p]
        rows[tuple(key_of.values())] = tuple(after)
        old = tuple(before[p] if p in key_of else None for p in range(len(relation.columns)))
        return wire.update(relation.oid, sent, key=encoded(old) if old_sent else None)

    def _change_rows(self, relation: RelationDefinition) -> bytes:
        oid, columns = relation.oid, range(len(relation.columns))
        rows = self.tables.rows[oid]
        if not rows or self.draw(st.booleans()):
            row = tuple(self.text() for _ in columns)
            rows[row] += 1
            return wire.insert(oid, encoded(row))
        old = self.draw(st.sampled_from(sorted(rows, key=repr)))
        rows[old] -= 1
        if not rows[old]:
            del rows[old]
        if self.draw(st.booleans()):
            return wire.delete(oid, old=encoded(old))
        new = [self.text() for _ in columns]
        sent: list[bytes | Unchanged | None] = list(encoded(tuple(new)))
        for p in columns:
            if old[p] is not None and self.draw(st.integers(0, 2)) == 0:
                sent[p], new[p] = UNCHANGED, old[p]
        rows[tuple(new)] += 1
        return wire.update(oid, sent, old=encoded(old))


@st.composite
def logs(draw: st.DrawFn) -> tuple[Tables, int, list[Transaction]]:
    """Return the tables at the full backup, how many transactions it sees, and all of them."""
    world = World(draw)
    base = deepcopy(world.tables)
    seen = draw(st.integers(0, 3))
    found = []
    when = 0.0
    for number in range(seen + draw(st.integers(1, 8))):
        payloads = tuple(p for _ in range(draw(st.integers(1, 5))) for p in world.change())
        when += draw(st.sampled_from([1.0, 1.0, 0.0, -2.0, 0.000001]))
        after = deepcopy(world.tables)
        found.append(Transaction(100 + number, when, payloads, after))
        if number < seen:
            base = after
    return base, seen, found


def expected_number(transactions: list[Transaction], target: Target) -> int:
    """Return how many transactions come before the first one past the target."""
    for number, t in enumerate(transactions):
        past = (
            at(t.at) > target.at
            if isinstance(target, TargetTime)
            else 1000 + number * 10 > target.lsn
        )
        if past:
            return number
    return len(transactions)


def write_segments(data: Any, transactions: list[Transaction], folder: Path) -> list[Path]:
    """Cut the log into files at random; some overlap, as after a crash."""
    paths = []
    begin = 0
    while begin < len(transactions):
        end = data.draw(st.integers(begin + 1, len(transactions)), label="segment ends")
        path = folder / f"{len(paths)} 'od[d]*.parquet"
        messages = [
            transaction(1000 + n * 10, at(t.at), t.xid % 2**32, *t.payloads)
            for n, t in enumerate(transactions[begin:end], begin)
        ]
        segment(path, 1000 + begin * 10, 1000 + end * 10, messages, RELATIONS)
        paths.append(path)
        if end == len(transactions):
            break
        begin = data.draw(st.integers(max(begin, end - 2), end), label="next begins")
        if begin == 0 and end == 0:
            break
    return data.draw(st.permutations(paths))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(logs(), st.data())
def test_the_reduced_log_gives_what_its_changes_give_one_by_one(
    log: tuple[Tables, int, list[Transaction]], data: st.DataObject
) -> None:
    base, seen, transactions = log
    targets: list[Target] = []
    for number, t in enumerate(transactions):
        targets += [TargetTime(at(t.at)), TargetTime(at(t.at) - timedelta(microseconds=1))]
        targets += [TargetLsn(Lsn(1000 + number * 10))]
    with tempfile.TemporaryDirectory() as folder:
        paths = write_segments(data, transactions, Path(folder))
        for target in data.draw(
            st.lists(st.sampled_from(targets), min_size=2, max_size=3, unique=True)
        ):
            stop = expected_number(transactions, target)
            # few rows are written by other code than many
            few = data.draw(st.sampled_from([0, 2, 1000]), label="few rows")
            with (
                tempfile.TemporaryDirectory() as scratch,
                pytest.MonkeyPatch.context() as patch,
            ):
                patch.setattr(touched, "SMALL", few)
                replayed, tables = reduce_log(
                    paths,
                    snapshot=Snapshot(100 + seen, 100 + seen),
                    target=target,
                    scratch=Path(scratch),
                    commands=commands,
                )
                found = deepcopy(base)
                found.apply(tables)
            expected = transactions[stop - 1].after if stop > seen else base
            assert found.keyed == expected.keyed
            assert found.rows == expected.rows
            replays = transactions[seen:stop]
            assert replayed.transactions == len(replays)
            assert (replayed.last.xid if replayed.last else None) == (
                replays[-1].xid if replays else None
            )
            assert (replayed.next.xid if replayed.next else None) == (
                transactions[stop].xid if stop < len(transactions) else None
            )
