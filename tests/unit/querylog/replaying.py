"""Carry out what reduction hands over on tables in memory, as a database would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from include.respaldo.model.replay import (
    KeyedStretch,
    MovesStretch,
    RowsStretch,
    SchemaReplay,
    TableReplay,
)
from include.respaldo.model.schema_change import Caller, ReplayCommand

Values = tuple[str | None, ...]


def read_csv(path: Path) -> list[list[str | None]]:
    """Read CSV as PostgreSQL does: unquoted nothing is null, quotes are doubled."""
    text = path.read_bytes().decode()
    records: list[list[str | None]] = []
    record: list[str | None] = []
    i = 0
    while i < len(text):
        if text[i] == '"':
            parts = []
            i += 1
            while True:
                end = text.index('"', i)
                parts.append(text[i:end])
                i = end + 1
                if text[i] != '"':
                    break
                parts.append('"')
                i += 1
            record.append("".join(parts))
        else:
            assert text[i] in ",\n", f"an unquoted value: {text[i : i + 20]!r}"
            record.append(None)
        if text[i] == "\n":
            records.append(record)
            record = []
        elif i + 1 < len(text) and text[i + 1] == "\n":
            record.append(None)
            records.append(record)
            record = []
            i += 1
        i += 1
    return records


def command(text: str, **more: Any) -> ReplayCommand:
    """Return a command that is only told apart by its text."""
    return ReplayCommand(sql=text, what=text, caller=Caller("app", "app", ()), **more)


def commands(messages: Sequence[bytes]) -> list[list[ReplayCommand]]:
    """Return the command that each message is: ``what [oid]``, nothing for ``nothing``."""
    found: list[list[ReplayCommand]] = []
    for text in (message.decode() for message in messages):
        created = frozenset({int(text.split(" ")[1])} if text.startswith("select ") else ())
        found.append([] if text == "nothing" else [command(text, created_oids=created)])
    return found


class Tables:
    """Keyed tables and multisets by oid."""

    def __init__(self) -> None:
        self.keyed: dict[int, dict[Values, Values]] = {}
        self.rows: dict[int, Counter[Values]] = {}

    def apply(self, replays: Iterable[TableReplay | SchemaReplay]) -> None:
        for replay in replays:
            if isinstance(replay, SchemaReplay):
                self.change(*replay.command.sql.split(" "))
                continue
            oid, positions = replay.relation.oid, replay.relation.key_positions
            if replay.truncate:
                self.keyed.get(oid, {}).clear()
                self.rows.get(oid, Counter()).clear()
            for stretch in replay.stretches:
                if isinstance(stretch, KeyedStretch):
                    self._keyed(self.keyed[oid], positions, stretch)
                elif isinstance(stretch, MovesStretch):
                    self._moves(self.keyed[oid], positions, stretch)
                else:
                    self._rows(self.rows[oid], stretch)

    def change(self, what: str, oid_text: str, *more: str) -> None:
        """Carry out a schema change: one column more, made again, or made from a query."""
        oid = int(oid_text)
        if what == "widen":
            if oid in self.keyed:
                self.keyed[oid] = {k: (*row, *more) for k, row in self.keyed[oid].items()}
            else:
                self.rows[oid] = Counter({(*row, *more): n for row, n in self.rows[oid].items()})
        elif what == "again":
            of: dict[int, Any] = self.keyed if oid in self.keyed else self.rows
            of[int(more[0])] = type(of.pop(oid))()
        else:
            assert what == "select"
            assert oid not in self.rows
            self.rows[oid] = Counter()

    @staticmethod
    def _keyed(
        table: dict[Values, Values], positions: tuple[int, ...], stretch: KeyedStretch
    ) -> None:
        seen = set()
        deleted, updated, inserted = (
            read_csv(path) if path else []
            for path in (stretch.deleted, stretch.updated, stretch.inserted)
        )
        counts = (stretch.deletes, stretch.updates, stretch.inserts)
        assert (len(deleted), len(updated), len(inserted)) == counts
        for values in deleted:
            assert len(values) == len(positions)
            key = tuple(values)
            seen.add(key)
            del table[key]
        for unsent_text, *row in updated:
            assert unsent_text is not None
            unsent = [int(p) for p in unsent_text.split(";") if p]
            assert stretch.has_unsent or not unsent
            key = tuple(row[p] for p in positions)
            assert key not in seen
            seen.add(key)
            table[key] = tuple(table[key][p] if p in unsent else v for p, v in enumerate(row))
        for row in inserted:
            key = tuple(row[p] for p in positions)
            assert key not in seen
            assert key not in table
            seen.add(key)
            table[key] = tuple(row)

    @staticmethod
    def _moves(
        table: dict[Values, Values], positions: tuple[int, ...], stretch: MovesStretch
    ) -> None:
        moves = read_csv(stretch.csv)
        assert len(moves) == stretch.moves > 0
        for unsent_text, *both in moves:
            assert unsent_text
            unsent = [int(p) for p in unsent_text.split(";")]
            old, new = both[: len(both) // 2], both[len(both) // 2 :]
            assert all(v is None for p, v in enumerate(old) if p not in positions)
            before = table.pop(tuple(old[p] for p in positions))
            after = tuple(before[p] if p in unsent else v for p, v in enumerate(new))
            key = tuple(after[p] for p in positions)
            assert key not in table
            table[key] = after

    @staticmethod
    def _rows(table: Counter[Values], stretch: RowsStretch) -> None:
        removed = 0
        for copies_text, *row in read_csv(stretch.lessened) if stretch.lessened else []:
            copies = int(copies_text or "")
            assert copies > 0
            removed += copies
            table[tuple(row)] -= copies
            assert table[tuple(row)] >= 0
        added = read_csv(stretch.inserted) if stretch.inserted else []
        for row in added:
            table[tuple(row)] += 1
        assert (removed, len(added)) == (stretch.removed, stretch.added)
        for gone in [row for row, copies in table.items() if not copies]:
            del table[gone]
