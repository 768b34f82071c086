"""The table that a replay changes: as it is in the restored database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row, dict_row

from include.respaldo.errors import LogDiverged
from include.respaldo.model.segment import FIRST_OWN_OID, RelationDefinition
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query


@dataclass(frozen=True)
class TargetColumn:
    """A column that is sent."""

    name: str
    type_oid: int
    type_modifier: int
    #: the type's name, in pg_catalog's terms
    staged_as: str
    #: GENERATED ALWAYS AS IDENTITY: an UPDATE may not set it
    always_identity: bool


@dataclass(frozen=True)
class Target:
    """A table, its columns in the order in which the log sends them, and how a row is found."""

    schema: str
    name: str
    relation: int
    #: rows, as far as the server knows without counting; 0: it does not
    rows: float
    columns: tuple[TargetColumn, ...]
    #: position -> equality operator (schema, name); empty: rows cannot be found by a key
    key: dict[int, tuple[str, str]]
    #: nothing but the key's own index can forbid a row
    only_key_is_unique: bool
    #: by a foreign key: TRUNCATE refuses it
    is_referenced: bool

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def column(self, position: int) -> sql.Identifier:
        return sql.Identifier(self.columns[position].name)

    @property
    def can_update(self) -> bool:
        """Whether an UPDATE of all other columns than the key's cannot collide or be refused."""
        others = (c for i, c in enumerate(self.columns) if i not in self.key)
        return self.only_key_is_unique and not any(c.always_identity for c in others)

    def same_key(self, staged: Sequence[sql.Composable]) -> sql.Composable:
        """Return the condition that the row ``t`` has the key in these expressions."""
        terms = [
            sql.SQL("t.{} OPERATOR({}.{}) {}").format(
                self.column(position), sql.Identifier(schema), sql.SQL(operator), staged[position]
            )
            for position, (schema, operator) in self.key.items()
        ]
        return sql.SQL(" AND ").join(terms)


def find_target(conn: Session, relation: RelationDefinition) -> Target:
    """Return the table that the log means.

    :raises LogDiverged: it is not there, or its columns are others than those of the log.
    """
    names = {"schema": relation.schema, "name": relation.name}
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(query("replay_table"), names).fetchone()
    if found is None or found["kind"] != "r":
        raise _schema_changed(relation, "there is no such table in the full backup")
    oid = {"relation": found["relation"]}
    with conn.cursor(row_factory=class_row(TargetColumn)) as columns_cursor:
        columns = {c.name: c for c in columns_cursor.execute(query("replay_columns"), oid)}
    _compare(relation, columns)
    key, others = _key(conn, relation, oid)
    return Target(
        schema=relation.schema,
        name=relation.name,
        relation=found["relation"],
        rows=max(0.0, found["rows"]),
        columns=tuple(columns[c.name] for c in relation.columns),
        key=key,
        only_key_is_unique=others == 0,
        is_referenced=found["is_referenced"],
    )


def _compare(relation: RelationDefinition, columns: dict[str, TargetColumn]) -> None:
    sent = {c.name for c in relation.columns}
    for name in sorted(sent ^ columns.keys()):
        where = "the full backup" if name in sent else "the log"
        raise _schema_changed(relation, f"column {name!r} is not in {where}")
    for column in relation.columns:
        target = columns[column.name]
        if min(column.type_oid, target.type_oid) >= FIRST_OWN_OID:
            continue
        here = (target.type_oid, target.type_modifier)
        if here != (column.type_oid, column.type_modifier):
            raise _schema_changed(
                relation, f"column {column.name!r} has another type (now {target.staged_as})"
            )


def _key(
    conn: Session, relation: RelationDefinition, oid: dict[str, int]
) -> tuple[dict[int, tuple[str, str]], int]:
    """Return the key with its operators, and how many other indexes forbid rows."""
    wanted = {c.name: i for i, c in enumerate(relation.columns) if c.is_key}
    with conn.cursor(row_factory=dict_row) as cursor:
        indexes = cursor.execute(query("replay_indexes"), oid).fetchall()
    for index in indexes:
        names, operators = index["columns"], index["operators"]
        if index["finds_rows"] and set(names) == wanted.keys() and len(operators) == len(names):
            pairs = zip(names, operators, strict=True)
            return {wanted[n]: (o[0], o[1]) for n, o in pairs}, len(indexes) - 1
    return {}, len(indexes)


def _schema_changed(relation: RelationDefinition, what: str) -> LogDiverged:
    return LogDiverged(
        f"{relation.schema}.{relation.name}: the schema changed: {what}",
        hint="choose a moment before the change, or one after the next full backup",
    )
