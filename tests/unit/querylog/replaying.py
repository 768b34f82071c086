"""Carry out what reduction hands over on tables in memory, as a database would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from include.respaldo.model.replay import KeyedStretch, MovesStretch, RowsStretch, TableReplay

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


class Tables:
    """Keyed tables and multisets by oid."""

    def __init__(self) -> None:
        self.keyed: dict[int, dict[Values, Values]] = {}
        self.rows: dict[int, Counter[Values]] = {}

    def apply(self, replays: Iterable[TableReplay]) -> None:
        for replay in replays:
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
