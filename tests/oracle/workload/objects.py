"""Schemas, views, sequences and types."""

from __future__ import annotations

from tests.oracle.workload.names import OTHERS, literal, quoted
from tests.oracle.workload.scene import Impossible, Scene, statement


@statement(1.5)
def schema_change(scene: Scene) -> str:
    others = [s for s in scene.model.schemas if s != "public"]
    new = quoted(scene.pick(["sales", "S 2", "weird.schema", 'q"s', "s9", "s8"]))
    if not others or scene.chance(0.5):
        return scene.pick([
            f"create schema {new}",
            f"create schema if not exists {new} authorization {scene.role()}",
            f"create schema {new} create table made (a int primary key) create view seen as"
            f" select a from made create index on made (a)",
        ])
    one = quoted(scene.pick(others))
    return scene.pick([
        f"alter schema {one} rename to {new}", f"drop schema {one} cascade", f"drop schema {one}",
        f"alter schema {one} owner to {scene.role()}",
    ])  # fmt: skip


def _query(scene: Scene) -> str:
    source = scene.relation("rpvm", lambda t: bool(t.columns))
    column = scene.column(source).sql
    return scene.pick([
        f"select * from {source.sql}",
        f"select {column} as x, count(*) as n from {source.sql} group by 1",
        f"select {column} from {source.sql} where {column} is not null",
        f"select a.* from {source.sql} a where not exists (select from {source.sql} b"
        f" where b.{column}::text > a.{column}::text)",
        f"with w as (select {column} as c from {source.sql}) select c, c::text || ';' as t from w",
        "select 1 as one, 'x;y'::text as two, current_user as who",
    ])  # fmt: skip


@statement(3)
def create_view(scene: Scene) -> str:
    options = scene.pick(["", "", " with (security_barrier)", " with (security_invoker = true)"])
    name, query = scene.new_object("v"), _query(scene)
    # one of itself cannot be read, and no dump of it be loaded
    replace = scene.maybe("or replace ", 0.3) if name not in query else ""
    return f"create {replace}view {name}{options} as {query}"


@statement(1.5)
def change_view(scene: Scene) -> str:
    view = scene.relation("v")
    choices = [
        f"drop view {view.sql} cascade", f"alter view {view.sql} rename to {scene.new_name('v')}",
        f"alter view {view.sql} owner to {scene.role()}",
        f"alter view {view.sql} set (security_barrier = true)",
        f"alter view {view.sql} set schema {scene.schema()}",
    ]  # fmt: skip
    if view.columns:
        column = scene.column(view)
        choices.append(f"alter view {view.sql} alter column {column.sql} set default null")
    return scene.pick(choices)


@statement(1.5)
def create_matview(scene: Scene) -> str:
    source = scene.relation("rpm", lambda t: bool(t.columns))
    column = scene.column(source).sql
    query = scene.pick([
        f"select * from {source.sql}",
        f"select {column}::text as c, count(*) as n from {source.sql} group by 1",
    ])
    data = scene.pick(["", "", " with no data", " with data"])
    return f"create materialized view {scene.new_object('m')} as {query}{data}"


@statement(1.5)
def change_matview(scene: Scene) -> str:
    view = scene.relation("m")
    return scene.pick([
        f"refresh materialized view {view.sql}", f"refresh materialized view {view.sql}",
        f"refresh materialized view {view.sql} with no data",
        f"drop materialized view {view.sql} cascade",
        f"alter materialized view {view.sql} rename to {scene.new_name('m')}",
        f"alter materialized view {view.sql} owner to {scene.role()}",
        f"alter materialized view {view.sql} set (fillfactor = 80)",
        f"alter materialized view {view.sql} set schema {scene.schema()}",
    ])  # fmt: skip


@statement(1.5)
def create_sequence(scene: Scene) -> str:
    options = scene.pick([
        "", " start 100", " increment 10", " increment -1", " cache 20", " as smallint",
        " minvalue 5 maxvalue 50 cycle", " as integer increment 3 start 7", " owned by none",
    ])  # fmt: skip
    kind = scene.maybe("unlogged ", 0.03)
    exists = scene.maybe("if not exists ", 0.1)
    return f"create {kind}sequence {exists}{scene.new_object('s')}{options}"


@statement(2)
def change_sequence(scene: Scene) -> str:
    sequence = scene.relation("S").sql
    choices = [
        f"alter sequence {sequence} restart", f"alter sequence {sequence} restart with 500",
        f"alter sequence {sequence} increment {scene.rng.randint(1, 20)}",
        f"alter sequence {sequence} maxvalue 1000000 no cycle", f"drop sequence {sequence} cascade",
        f"alter sequence {sequence} rename to {scene.new_name('s')}",
        f"alter sequence {sequence} owner to {scene.role()}",
        f"alter sequence {sequence} set schema {scene.schema()}",
        f"alter sequence {sequence} as bigint cache 5", f"drop sequence {sequence}",
        f"alter sequence {sequence} set {scene.pick(['logged', 'unlogged'])}",
    ]  # fmt: skip
    tables = [t for t in scene.model.of_kind("r") if t.columns]
    if tables:
        table = scene.pick(tables)
        choices.append(f"alter sequence {sequence} owned by {table.sql}.{scene.column(table).sql}")
    return scene.pick(choices)


@statement(2)
def create_type(scene: Scene) -> str:
    name = scene.new_object("y")
    base = scene.type()
    return scene.pick([
        f"create type {name} as enum ('low', 'so so', 'high', 'it''s;')",
        f"create type {name} as enum ('b', 'a')",
        f"create type {name} as enum ()",
        f"create domain {name} as {base}",
        f"create domain {name} as integer default 7 check (value > -100000)",
        f"create domain {name} as text collate \"C\" not null default 'd'",
        f"create type {name} as (a {base}, \"b c\" integer)",
        f"create type {name} as range (subtype = numeric)",
    ])  # fmt: skip


@statement(2.5)
def change_own_type(scene: Scene) -> str:
    name = scene.pick(list(scene.types))
    kind, *parts = scene.types[name]
    new = literal(scene.pick(["new", "neu;", "ñ", "it's", "N 5", "low", "zz"]))
    choices = [f"drop type {name}", f"drop type {name} cascade",
               f"alter type {name} owner to {scene.role()}",
               f"alter type {name} rename to {scene.new_name('y')}",
               f"comment on type {name} is 'a type'"]  # fmt: skip
    if kind == "enum":
        choices += [f"alter type {name} add value {scene.maybe('if not exists ')}{new}"] * 3
        if parts:
            one = literal(scene.pick(parts))
            choices += [
                f"alter type {name} add value {new} {scene.pick(['before', 'after'])} {one}",
                f"alter type {name} add value {new} before {one}",
                f"alter type {name} rename value {one} to {new}",
            ]
    elif kind == "domain":
        check = quoted("dc " + scene.pick(OTHERS[:3]))
        choices = [c.replace("type", "domain", 1) for c in choices] + [
            f"alter domain {name} set default null", f"alter domain {name} drop default",
            f"alter domain {name} set not null", f"alter domain {name} drop not null",
            f"alter domain {name} add constraint {check} check (value is not null or true)",
            f"alter domain {name} add constraint {check} check (value is null) not valid",
            f"alter domain {name} drop constraint if exists {check}",
            f"alter domain {name} validate constraint {check}",
        ]  # fmt: skip
    elif kind == "composite":
        column = scene.new_column()
        choices += [
            f"alter type {name} add attribute {column} text cascade",
            f"alter type {name} drop attribute if exists {column} cascade",
            f"alter type {name} rename attribute a to {column} cascade",
            f"alter type {name} add attribute {column} integer",
        ]
    return scene.pick(choices)


@statement(1)
def extension(scene: Scene) -> str:
    name = scene.pick(["hstore", "pg_trgm", "citext", "btree_gist", "intarray", "tcn"])
    if name in scene.model.extensions:
        if scene.chance(0.6):
            raise Impossible
        return f"drop extension {name}{scene.maybe(' cascade', 0.5)}"
    version = " version '1.4'" if name == "hstore" and scene.chance(0.3) else ""
    return f"create extension {scene.maybe('if not exists ')}{name} schema public{version}"


@statement(0.1)
def update_extension(scene: Scene) -> str:
    if "hstore" in scene.model.extensions:
        raise Impossible
    return "create extension hstore schema public version '1.4'; alter extension hstore update"


@statement(0.5)
def rare_object(scene: Scene) -> str:
    """Kinds of objects that few applications make."""
    name = scene.new_object("r")
    alone = scene.new_name("r")
    return scene.pick([
        f"create collation {name} (locale = 'C')",
        f"drop collation if exists {name}",
        f"create text search configuration {name} (copy = pg_catalog.simple)",
        f"alter text search configuration {name} drop mapping if exists for hword",
        f"create text search dictionary {name} (template = pg_catalog.simple)",
        f"create foreign data wrapper {alone}", f"create server {alone} foreign data wrapper"
        f" {alone}", f"create foreign table {name} (a int) server {alone}",
        f"create user mapping for {scene.role()} server {alone} options (user 'u')",
        f"drop foreign data wrapper if exists {alone} cascade",
        f"create operator {quoted('public')}.=== (leftarg = integer, rightarg = integer,"
        f" function = pg_catalog.int4eq, commutator = operator(public.===))",
        "create cast (integer as text[]) with inout as assignment",
        f"create publication {alone} for table {scene.relation('rp').sql}",
        f"alter publication {alone} add table {scene.relation('rp').sql}",
        f"drop publication if exists {alone}",
        f"create operator class {name} for type integer using btree as operator 1 <,"
        f" operator 3 =, operator 5 >, function 1 pg_catalog.btint4cmp(integer, integer)",
        "create transform for integer language plpgsql (from sql with function x(internal))",
    ])  # fmt: skip
