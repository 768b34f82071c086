"""What there is in a database at the moment, read back from its catalog."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from tests.oracle.workload.names import quoted

_QUERY = Path(__file__).with_name("catalog.sql").read_text()


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    not_null: bool
    has_default: bool
    #: "", "a" (always) or "d" (by default)
    identity: str
    generated: bool
    local: bool

    @property
    def sql(self) -> str:
        return quoted(self.name)


@dataclass(frozen=True)
class Relation:
    """A table, view, sequence …; `kind` is pg_class.relkind."""

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    is_partition: bool
    owner: str
    populated: bool
    strategy: str | None
    #: position of the first column of the partition key, from 1; 0: an expression
    partition_key: int | None
    columns: tuple[Column, ...]
    #: (name, type as in pg_constraint.contype)
    constraints: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    #: (name, unique, of a constraint, valid)
    indexes: tuple[tuple[str, bool, bool, bool], ...]
    triggers: tuple[str, ...]
    rules: tuple[str, ...]
    policies: tuple[str, ...]
    parents: tuple[int, ...]

    @property
    def sql(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def writable(self) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if not c.generated)


@dataclass(frozen=True)
class Model:
    """All of it; empty before it was read."""

    relations: tuple[Relation, ...] = ()
    #: name as SQL writes it -> ("enum", labels…), ("domain", base) or ("composite", types…)
    types: dict[str, tuple[str, ...]] = field(default_factory=dict)
    schemas: tuple[str, ...] = ("public",)
    #: (name as SQL writes it, identity arguments, pg_proc.prokind, return type)
    functions: tuple[tuple[str, str, str, str], ...] = ()
    extensions: tuple[str, ...] = ()
    event_triggers: tuple[str, ...] = ()

    def of_kind(self, kinds: str) -> list[Relation]:
        return [r for r in self.relations if r.kind in kinds]

    @cached_property
    def by_oid(self) -> dict[int, Relation]:
        return {r.oid: r for r in self.relations}


def read_model(conn: psycopg.Connection[Any]) -> Model:
    """Read it in the session's transaction, with what that has done itself."""
    row = conn.execute(_QUERY).fetchone()
    assert row is not None
    found = row[0]
    return Model(
        relations=tuple(_relation(r) for r in found["relations"] or ()),
        types={name: tuple(parts or ()) for name, parts in (found["types"] or {}).items()},
        schemas=tuple(found["schemas"] or ()),
        functions=tuple((n, a, k, r) for n, a, k, r in found["functions"] or ()),
        extensions=tuple(found["extensions"] or ()),
        event_triggers=tuple(found["event_triggers"] or ()),
    )


def _relation(d: dict[str, Any]) -> Relation:
    return Relation(
        oid=d["oid"],
        schema=d["schema"],
        name=d["name"],
        kind=d["kind"],
        persistence=d["persistence"],
        is_partition=d["partition"],
        owner=d["owner"],
        populated=d["populated"],
        strategy=d["strategy"],
        partition_key=d["partition_key"],
        columns=tuple(
            Column(name, type_, not_null, has_default, identity, generated != "", local)
            for name, type_, not_null, has_default, identity, generated, local in d["columns"] or ()
        ),
        constraints=tuple((n, t) for n, t in d["constraints"] or ()),
        key=tuple(d["key"] or ()),
        indexes=tuple((n, u, c, v) for n, u, c, v in d["indexes"] or ()),
        triggers=tuple(d["triggers"] or ()),
        rules=tuple(d["rules"] or ()),
        policies=tuple(d["policies"] or ()),
        parents=tuple(d["parents"] or ()),
    )
