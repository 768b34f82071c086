"""The tables that the replayed changes touch, once for each epoch in which they do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import duckdb

from include.respaldo.errors import LogDiverged
from include.respaldo.model.segment import RelationDefinition

#: up to so many changes a table is written together with others, with one query for all
SMALL = 1_000


@dataclass(frozen=True)
class Touched:
    """A table within one epoch."""

    #: from 0, in the order of epochs, then sizes
    number: int
    epoch: int
    #: of its definition
    key: str
    definition: RelationDefinition
    #: position of its last truncate; -1: there is none
    truncated_at: int
    inserts: int
    #: updates and deletes
    others: int
    #: positions of its first and last change
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.definition.schema}.{self.definition.name}"

    @property
    def within(self) -> tuple[int, int] | None:
        """Return its first and last row in the one segment that holds it; None: there are more."""
        number = self.first >> 40
        if self.last >> 40 != number:
            return None
        return self.first - (number << 40), self.last - (number << 40)

    @property
    def is_keyed(self) -> bool:
        d = self.definition
        return d.replica_identity in {"d", "i"} and bool(d.key_positions)

    @property
    def is_plain(self) -> bool:
        """Whether its rows are their own net effect: many, never changed."""
        return (
            not self.is_keyed and not self.others and self.truncated_at < 0 and self.inserts > SMALL
        )


def touched_tables(
    db: duckdb.DuckDBPyConnection, relations: dict[str, RelationDefinition]
) -> list[Touched]:
    """Return those of the view ``epoched``, by epochs, then sizes.

    :raises LogDiverged: one of them has not the same definition throughout an epoch.
    """
    found = db.execute("""
        SELECT epoch, relation, coalesce(max(pos) FILTER (kind = 'truncate'), -1),
               count(*) FILTER (kind = 'insert'), count(*) FILTER (kind IN ('update', 'delete')),
               min(pos), max(pos)
        FROM epoched WHERE relation IS NOT NULL GROUP BY ALL
    """).fetchall()
    # large tables last: their files are written while the others are applied
    found.sort(key=lambda r: (r[0], r[3] + r[4], relations[r[1]].schema, relations[r[1]].name))
    tables = [
        Touched(number, epoch, key, relations[key], *figures)
        for number, (epoch, key, *figures) in enumerate(found)
    ]
    by_oid, by_name = defaultdict(list), defaultdict(list)
    for table in tables:
        definition = table.definition
        by_oid[table.epoch, definition.oid].append(definition)
        by_name[table.epoch, definition.schema, definition.name].append(definition)
    for same in (*by_oid.values(), *by_name.values()):
        if len(same) > 1:
            raise LogDiverged(
                f"expected one definition of {same[0].schema}.{same[0].name} in the changes "
                f"to replay, found {len(same)}: the schema changed",
                hint="choose a moment before the change, or after the next full backup",
            )
    return tables


def create_relations(db: duckdb.DuckDBPyConnection, tables: list[Touched]) -> None:
    """Create the table ``relations``; key positions count from 1, as DuckDB's lists do."""
    db.execute("""
        CREATE TEMP TABLE relations (t INTEGER, relation VARCHAR, epoch INTEGER,
                                     is_keyed BOOLEAN, is_plain BOOLEAN,
                                     key_positions INTEGER[], p1 INTEGER, p2 INTEGER,
                                     truncated_at BIGINT)
    """)
    if not tables:
        return
    positions = [[p + 1 for p in t.definition.key_positions] for t in tables]
    db.execute(
        "INSERT INTO relations SELECT " + ", ".join(["unnest(?)"] * 9),
        [
            [t.number for t in tables],
            [t.key for t in tables],
            [t.epoch for t in tables],
            [t.is_keyed for t in tables],
            [t.is_plain for t in tables],
            positions,
            [p[0] if p else None for p in positions],
            [p[1] if len(p) > 1 else None for p in positions],
            [t.truncated_at for t in tables],
        ],
    )
