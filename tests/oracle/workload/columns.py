"""Columns of tables are added, changed and dropped."""

from __future__ import annotations

from tests.oracle.workload.catalog import Relation
from tests.oracle.workload.names import quoted
from tests.oracle.workload.rows import insertion
from tests.oracle.workload.scene import Impossible, Scene, statement


def column_definition(scene: Scene, name: str) -> str:
    """Return the definition of a new column."""
    kind = scene.rng.random()
    if kind < 0.05:
        return f"{name} {scene.pick(['serial', 'bigserial'])}"
    if kind < 0.1:
        how = scene.pick(["always", "by default"])
        options = scene.pick(["", "", " (start 100 increment 5)", " (increment -1)", " (cache 10)"])
        return f"{name} {scene.pick(['integer', 'bigint'])} generated {how} as identity{options}"
    type_ = scene.type()
    parts = [name, type_]
    if scene.chance(0.05) and type_ in {"text", "character varying"}:
        parts.append(scene.pick(['collate pg_catalog."C"', 'collate pg_catalog."POSIX"']))
    if scene.chance(0.3):
        parts.append(f"default {scene.default(type_)}")
        if scene.chance(0.3):
            parts.append("not null")
    elif scene.chance(0.08):
        parts.append("unique")
    if scene.chance(0.04):
        parts.append(f"check ({name} is not null or true)")
    return " ".join(parts)


@statement(8)
def add_column(scene: Scene) -> str:
    table = scene.relation("rp")
    exists = scene.maybe("if not exists ", 0.1)
    made = f"alter table {scene.maybe('only ', 0.05)}{table.sql} add column {exists}"
    if scene.chance(0.1):
        made += f"{scene.new_column()} integer generated always as (7 * 6) stored"
    else:
        made += column_definition(scene, scene.new_column())
    if scene.chance(0.15):
        made += f", add column {column_definition(scene, scene.new_column())}"
    return made


@statement(5)
def drop_column(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: len(t.columns) > 1)
    column = scene.column(table)
    return (
        f"alter table {table.sql} drop column {scene.maybe('if exists ', 0.1)}{column.sql}"
        f"{scene.maybe(' cascade', 0.6)}"
    )


@statement(3)
def rename_column(scene: Scene) -> str:
    table = scene.relation("rpvm", lambda t: bool(t.columns))
    kind = {"v": "view", "m": "materialized view"}.get(table.kind, "table")
    column = scene.column(table)
    return f"alter {kind} {table.sql} rename column {column.sql} to {scene.new_column()}"


@statement(2)
def change_between(scene: Scene) -> str:
    """Rename or drop a column between an insert and an update of the same row."""
    table = scene.relation("r", lambda t: len(t.columns) > 1)
    first, second = scene.rng.sample(list(table.columns), 2)
    change = scene.pick([
        f"drop column {first.sql} cascade", f"rename column {first.sql} to {scene.new_column()}",
        f"add column {scene.new_column()} text default clock_timestamp()",
        f"alter column {first.sql} type text using {first.sql}::text || random()",
    ])  # fmt: skip
    if second.generated:
        raise Impossible
    return (
        f"{insertion(scene, table, 2)}; alter table {table.sql} {change};"
        f" update {table.sql} set {second.sql} = {scene.value(second.type)}"
        f" where ctid = any (array(select ctid from {table.sql} order by ctid desc limit 2))"
    )


_WIDER = {
    "integer": ["bigint", "numeric", "text", "double precision", "smallint", "oid"],
    "smallint": ["integer", "bigint"],
    "bigint": ["numeric", "text", "integer"],
    "numeric": ["numeric(30,4)", "text", "double precision", "integer"],
    "numeric(12,2)": ["numeric(14,2)", "numeric", "numeric(14,3)"],
    "character varying(20)": ["character varying(40)", "text", "character varying(5)"],
    "character varying": ["text", "character varying(30)"],
    "text": ["character varying", "bytea", "character varying(60)", "name"],
    "date": ["timestamp with time zone", "text", "timestamp without time zone"],
    "timestamp with time zone": ["timestamp(0) with time zone", "text", "date",
                                 "timestamp without time zone"],
    "timestamp without time zone": ["timestamp with time zone", "date"],
    "json": ["jsonb", "text"], "jsonb": ["json", "text"], "boolean": ["text"],
    "real": ["double precision"], "character(3)": ["text", "character(5)"],
    "integer[]": ["bigint[]", "text"], "uuid": ["text"], "inet": ["text"], "money": ["numeric"],
}  # fmt: skip


@statement(5)
def change_type(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.columns))
    column = scene.column(table)
    begin = f"alter table {table.sql} alter column {column.sql} {scene.maybe('set data ', 0.2)}type"
    if scene.chance(0.15):
        return f"{begin} text using {column.sql}::text || " + scene.pick([
            "random()::text",
            "clock_timestamp()::text",
            "'!'",
        ])
    new = scene.pick(_WIDER.get(column.type, ["text"]))
    using = scene.maybe(f" using {column.sql}::text::{new}", 0.5)
    also = f", {_minor_change(scene, table)}" if scene.chance(0.15) else ""
    return f"{begin} {new}{using}{also}"


def _minor_change(scene: Scene, table: Relation) -> str:
    column = scene.column(table)
    name = column.sql
    # an index entry that only fitted compressed cannot be made again: not even REINDEX would do
    storages = ["extended", "main"] if table.indexes else ["plain", "external", "extended", "main"]
    return scene.pick([
        f"alter column {name} set default {scene.default(column.type)}",
        f"alter column {name} set default {scene.default(column.type)}",
        f"alter column {name} drop default",
        f"alter column {name} set not null",
        f"alter column {name} drop not null",
        f"alter column {name} set statistics {scene.rng.randint(-1, 1000)}",
        f"alter column {name} set storage {scene.pick(storages)}",
        f"alter column {name} set compression pglz",
        f"alter column {name} set (n_distinct = 5)",
        f"alter column {name} drop expression",
        f"alter column {name} drop identity if exists",
        f"alter column {name} add generated by default as identity",
        f"alter column {name} set generated always",
        f"alter column {name} restart with {scene.rng.randint(1, 500)}",
        f"set (fillfactor = {scene.rng.randint(40, 100)})",
        "reset (fillfactor)",
    ])  # fmt: skip


@statement(6)
def minor_change(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.columns))
    return f"alter table {table.sql} {_minor_change(scene, table)}"


@statement(1)
def logged(scene: Scene) -> str:
    table = scene.relation("r")
    return f"alter table {table.sql} set {scene.pick(['unlogged', 'logged', 'logged'])}"


@statement(0.7)
def rewrite(scene: Scene) -> str:
    """Rows are written anew, and stay what they are."""
    table = scene.relation("r", lambda t: bool(t.columns))
    return scene.pick([
        f"alter table {table.sql} set access method heap",
        f"alter table {table.sql} set tablespace pg_default",
        f"alter table {table.sql} set without cluster",
        f"alter table {table.sql} set without oids",
    ])


@statement(1)
def replica_identity(scene: Scene) -> str:
    """The application sets it itself."""
    table = scene.relation("r")
    choices = ["default", "full", "nothing"]
    choices += [f"using index {quoted(n)}" for n, unique, _, _ in table.indexes if unique] * 3
    return f"alter table {table.sql} replica identity {scene.pick(choices)}"
