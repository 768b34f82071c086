"""Functions, triggers, rules and event triggers of the application."""

from __future__ import annotations

from tests.oracle.workload.catalog import Relation
from tests.oracle.workload.names import dollars, literal, quoted
from tests.oracle.workload.rows import insertion
from tests.oracle.workload.scene import Impossible, Scene, statement


@statement(2)
def create_function(scene: Scene) -> str:
    name = scene.new_object("f")
    replace = scene.maybe("or replace ", 0.7)
    column_type = scene.type()
    inner = scene.relation("r")
    return scene.pick([
        f"create {replace}function {name}(a integer) returns integer language sql immutable"
        f" as 'select a * {scene.rng.randint(1, 9)}; -- it''s; done'",
        f"create {replace}function {name}(a {column_type}, b text default 'x;') returns text"
        f" language plpgsql as {dollars('begin return b; /* ; */ end')}",
        f"create {replace}function {name}() returns bigint language sql stable"
        f" begin atomic select count(*) from {inner.sql}; select 1::bigint; end",
        f"create {replace}function {name}() returns setof {inner.sql} language sql"
        f" as {dollars(f'select * from {inner.sql}')}",
        f"create {replace}function {name}(out a int, inout b text) language plpgsql"
        f" security definer set search_path to public, pg_temp as {dollars('begin a := 1; end')}",
        f"create {replace}procedure {name}(n integer) language plpgsql as "
        + dollars("begin perform n; commit; end"),
    ])


@statement(1)
def change_function(scene: Scene) -> str:
    name, arguments = scene.function(lambda f: f[2] in "fp" and not f[0].startswith('public."tf'))
    return scene.pick([
        f"drop routine {name}({arguments}) cascade",
        f"alter routine {name}({arguments}) owner to {scene.role()}",
        f"alter routine {name}({arguments}) set work_mem to '1MB'",
        f"alter function {name}({arguments}) volatile security definer",
        f"alter routine {name}({arguments}) rename to {scene.new_name('f')}",
        f"comment on routine {name}({arguments}) is 'does; things'",
    ])


def _trigger_body(scene: Scene, table: Relation) -> str:
    """Return what a trigger does; some write other rows."""
    other = scene.relation("r", lambda t: t.oid != table.oid and bool(t.columns))
    column = scene.column(table)
    written = insertion(scene, other, 1)
    write = (
        "if pg_trigger_depth() < 2 then begin"
        f" {written}; exception when others then null; end; end if;"
    )
    touch = (
        f"begin new.{column.sql} := {scene.value(column.type)};"
        " exception when others then null; end;"
        if not column.generated
        else ""
    )
    return "begin {}{} return {}; end".format(
        write if scene.chance(0.6) else "",
        f" if tg_op <> 'DELETE' and tg_when = 'BEFORE' and tg_level = 'ROW' then {touch} end if;"
        if touch and scene.chance(0.5)
        else "",
        "case when tg_op = 'DELETE' then old else new end" if scene.chance(0.8) else "null",
    )


@statement(2)
def create_trigger(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.columns))
    function = f"{quoted(table.schema)}.{scene.new_name('tf')}"
    when = scene.pick(["before", "after"])
    events = scene.pick(["insert", "update", "delete", "insert or update or delete",
                         f"update of {scene.column(table).sql}"])  # fmt: skip
    level = scene.pick(["row", "row", "statement"])
    constraint, deferred = "", ""
    if when == "after" and level == "row" and scene.chance(0.2):
        constraint, deferred = "constraint ", "deferrable initially deferred "
    condition = scene.maybe("when (pg_trigger_depth() = 0) ", 0.2)
    return (
        f"create or replace function {function}() returns trigger language plpgsql as"
        f" {dollars(_trigger_body(scene, table))};"
        f" create {constraint}trigger {scene.new_name('tr')} {when} {events} on {table.sql}"
        f" {deferred}for each {level} {condition}execute function {function}()"
    )


@statement(1.5)
def change_trigger(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.triggers))
    name = quoted(scene.pick(table.triggers))
    on = f"alter table {table.sql}"
    return scene.pick([
        f"drop trigger {name} on {table.sql}", f"{on} disable trigger {name}",
        f"{on} enable always trigger {name}", f"{on} enable replica trigger {name}",
        f"{on} disable trigger all", f"{on} disable trigger user", f"{on} enable trigger all",
        f"alter trigger {name} on {table.sql} rename to {scene.new_name('tr')}",
        f"comment on trigger {name} on {table.sql} is 'fires'",
    ])  # fmt: skip


@statement(0.8)
def rule(scene: Scene) -> str:
    table = scene.relation("rv", lambda t: bool(t.columns))
    if table.rules and scene.chance(0.5):
        name = quoted(scene.pick(table.rules))
        return scene.pick([
            f"drop rule {name} on {table.sql}",
            f"alter rule {name} on {table.sql} rename to {scene.new_name('ru')}",
            f"alter table {table.sql} disable rule {name}",
        ])
    other = scene.relation("r", lambda t: t.oid != table.oid)
    event = scene.pick(["insert", "update", "delete"])
    condition = scene.maybe(" where current_setting('x.y', true) is not null", 0.5)
    action = scene.pick(["nothing", f"({insertion(scene, other, 1)})", "notify something"])
    if table.kind == "v":
        condition, action = "", "nothing"
    kind = scene.pick(["also", "instead"])
    replace = scene.maybe("or replace ")
    return (
        f"create {replace}rule {scene.new_name('ru')} as on {event} to {table.sql}{condition}"
        f" do {kind} {action}"
    )


@statement(0.25)
def event_trigger(scene: Scene) -> str:
    """One of the application's own: event triggers do not fire for them, so nobody captures it."""
    if scene.model.event_triggers and scene.chance(0.6):
        name = quoted(scene.pick(scene.model.event_triggers))
        return scene.pick([
            f"drop event trigger {name}", f"drop event trigger {name}",
            f"alter event trigger {name} {scene.pick(['disable', 'enable always', 'enable'])}",
        ])  # fmt: skip
    log = "create table if not exists public.ddl_log (tag text, at timestamptz default now());"
    body = "begin insert into public.ddl_log values (tg_tag); end"
    if scene.chance(0.3):
        log, body = "", "begin perform 1 from pg_event_trigger_ddl_commands(); end"
    if scene.chance(0.02):  # one that changes the schema itself
        log = "create table if not exists public.ddl_log (tag text, at timestamptz default now());"
        body = (
            "begin if tg_tag <> 'COMMENT' then comment on table public.ddl_log is 'changed';"
            " end if; end"
        )
    return (
        f"{log} create or replace function public.app_ddl() returns event_trigger"
        f" language plpgsql as {dollars(body)}; create event trigger {scene.new_name('ev ')}"
        f" on ddl_command_end execute function public.app_ddl()"
    )


@statement(1.5, ddl=False)
def call_function(scene: Scene) -> str:
    name, arguments = scene.function(lambda f: f[2] == "f" and "trigger" not in f[3] and f[1] == "")
    return f"select {name}({arguments})"


def wrapped(scene: Scene, statements: list[str], *, stored: bool) -> str:
    """Return a DO block that runs the statements; or a function or procedure, if `stored`."""
    lines = []
    for statement_ in statements:
        way = scene.rng.random()
        # as it stands it is parsed when it is reached, and may hold no statement of its own
        dynamic = ";" in statement_ or way < 0.5 or statement_.startswith("select")
        line = f"execute {dollars(statement_)};" if dynamic else f"{statement_};"
        if scene.chance(0.35):
            line = f"begin {line} exception when others then null; end;"
        lines.append(line)
    if scene.chance(0.2):
        lines = [f"for i in 1..2 loop begin {' '.join(lines)} exception when others then null;"
                 " end; end loop;"]  # fmt: skip
    body = "begin " + " ".join(lines) + " end"
    kind = scene.rng.random()
    if kind < 0.5 or not stored:
        return f"do {dollars(body)}"
    name = f"public.{quoted('tf run')}"
    if kind < 0.798:
        definer = scene.maybe(" security definer", 0.3)
        return (
            f"create or replace function {name}() returns void language plpgsql{definer}"
            f" as {dollars(body)}; select {name}()"
        )
    if kind < 0.8:
        simple = [s for s in statements if ";" not in s and not s.startswith("select")]
        if not simple:
            raise Impossible
        sql_body = "; ".join([*simple, "select null::void"])
        name = f"public.{quoted('tf sql')}()"
        return (
            f"set local check_function_bodies to off; create or replace function {name}"
            f" returns void language sql as {dollars(sql_body)}; select {name};"
            f" drop function {name}"
        )
    ends = scene.pick(["", " commit;", " rollback;"])
    body = f"begin {lines[0]}{ends} {' '.join(lines[1:])} end"
    return (
        f"create or replace procedure public.{quoted('tp run')}() language plpgsql"
        f" as {dollars(body)};\0call public.{quoted('tp run')}()"
    )


def with_comments(scene: Scene, statements: list[str]) -> str:
    """Return one string of several statements, with what else people write between them."""
    between = [";", "; ", ";\n-- a comment; with 'quotes\n", "; /* ; /* nested; */ */ ", ";;\n"]
    made = statements[0]
    for one in statements[1:]:
        made += scene.pick(between) + one
    if scene.chance(0.1):
        made = f"select {literal('not; a statement')}; " + made
    return made + scene.pick(["", ";", " -- the end"])
