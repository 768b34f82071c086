"""Constraints and indexes."""

from __future__ import annotations

from tests.oracle.workload.catalog import Relation
from tests.oracle.workload.names import quoted
from tests.oracle.workload.scene import Impossible, Scene, statement

_KEYS = {
    "integer",
    "bigint",
    "text",
    "uuid",
    "date",
    "numeric",
    "character varying(20)",
    "smallint",
}


def _key_column(scene: Scene, table: Relation) -> str:
    # PostgreSQL's stream does not carry generated columns: such a key says nothing
    return scene.column(table, lambda c: c.type in _KEYS and not c.generated).sql


def _deferrable(scene: Scene) -> str:
    return scene.pick(["", "", " deferrable", " deferrable initially deferred", " not deferrable"])


@statement(3)
def add_key(scene: Scene) -> str:
    """A primary key, now and then over rows that do not allow it."""
    table = scene.relation("rp", lambda t: not t.key and bool(t.columns))
    name = scene.maybe(f"constraint {scene.new_name('pk ')} ", 0.3)
    column = _key_column(scene, table)
    if scene.chance(0.3):
        return (
            f"alter table {table.sql} add column key_{scene.rng.randint(1, 9)} bigserial"
            f" primary key"
        )
    using = [n for n, unique, constraint, _ in table.indexes if unique and not constraint]
    if using and scene.chance(0.5):
        return f"alter table {table.sql} add {name}primary key using index {quoted(using[0])}"
    clean = scene.maybe(
        f"delete from {table.sql} a using {table.sql} b where a.{column} = b.{column}"
        f" and a.ctid < b.ctid; delete from {table.sql} where {column} is null; ",
        0.6,
    )
    return f"{clean}alter table {table.sql} add {name}primary key ({column}){_deferrable(scene)}"


@statement(2)
def drop_key(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.key))
    name = next(n for n, kind in table.constraints if kind == "p")
    return f"alter table {table.sql} drop constraint {quoted(name)}{scene.maybe(' cascade', 0.7)}"


@statement(2)
def add_unique(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.columns))
    columns = _key_column(scene, table)
    nulls = scene.maybe(" nulls not distinct", 0.1)
    name = scene.maybe(f"constraint {scene.new_name('u ')} ")
    return f"alter table {table.sql} add {name}unique{nulls} ({columns}){_deferrable(scene)}"


@statement(2)
def add_check(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.columns))
    column = scene.column(table).sql
    test = scene.pick([
        f"{column} is not null", f"{column}::text <> 'never ;'", f"length({column}::text) < 900000",
        f"{column} is distinct from null or now() is not null",
    ])  # fmt: skip
    return (
        f"alter table {table.sql} add constraint {scene.new_name('c ')} check ({test})"
        f"{scene.pick(['', '', ' not valid', ' no inherit'])}"
    )


@statement(2.5)
def add_reference(scene: Scene) -> str:
    parent = scene.relation("rp", lambda t: len(t.key) == 1)
    target = next(c for c in parent.columns if c.name == parent.key[0])
    child = scene.relation("rp")
    actions = scene.pick([
        "", "", " on delete cascade", " on delete set null on update cascade",
        " on update cascade on delete cascade", " on delete set default",
    ])  # fmt: skip
    ending = f"references {parent.sql}{actions}{_deferrable(scene)}"
    same = [c for c in child.columns if c.type == target.type and c.name not in child.key]
    if same and scene.chance(0.6):
        valid = scene.maybe(" not valid", 0.5) if child.kind == "r" else ""
        return (
            f"alter table {child.sql} add constraint {scene.new_name('fk ')}"
            f" foreign key ({scene.pick(same).sql}) {ending}{valid}"
        )
    return f"alter table {child.sql} add column {scene.new_column()} {target.type} {ending}"


@statement(0.8)
def add_exclusion(scene: Scene) -> str:
    table = scene.relation("r", lambda t: bool(t.columns))
    ranges = [c for c in table.columns if c.type in {"int4range", "tstzrange"}]
    if ranges:
        what = f"using gist ({scene.pick(ranges).sql} with &&)"
    else:
        what = f"({_key_column(scene, table)} with =)"
    where = scene.maybe(" where (1 = 2)", 0.4)
    return (
        f"alter table {table.sql} add constraint {scene.new_name('x ')} exclude {what}{where}"
        f"{_deferrable(scene)}"
    )


@statement(2)
def change_constraint(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.constraints))
    name, kind = scene.pick(table.constraints)
    choices = [
        f"drop constraint {quoted(name)} cascade",
        f"drop constraint {quoted(name)}",
        f"rename constraint {quoted(name)} to {scene.new_name('r ')}",
    ]
    if kind in "cf":
        choices += [f"validate constraint {quoted(name)}"] * 2
    if kind == "f":
        choices += [f"alter constraint {quoted(name)} deferrable initially deferred"]
    return f"alter table {table.sql} {scene.pick(choices)}"


@statement(0.7, ddl=False)
def set_constraints(scene: Scene) -> str:
    return f"set constraints all {scene.pick(['deferred', 'deferred', 'immediate'])}"


def _index(scene: Scene, concurrently: str) -> str:
    table = scene.relation("rpm", lambda t: bool(t.columns))
    column = scene.column(table)
    text = column.type in {"text", "character varying", "character varying(20)"}
    what = [column.sql, f"{column.sql} desc nulls last", f"({column.sql} is null)"]
    if text:
        what += [f"lower({column.sql}) text_pattern_ops", f"md5({column.sql})"]
    unique = scene.maybe("unique ", 0.25)
    using = ""
    chosen = scene.pick(what)
    if not unique and text and "pg_trgm" in scene.model.extensions and scene.chance(0.5):
        using, chosen = "using gin ", f"{column.sql} public.gin_trgm_ops"
    elif not unique and scene.chance(0.15):
        using, chosen = f"using {scene.pick(['hash', 'brin', 'btree'])} ", column.sql
    name = scene.maybe(scene.new_name("i ") + " ", 0.6)
    exists = "if not exists " if name and scene.chance(0.2) else ""
    include = scene.maybe(f" include ({scene.column(table).sql})", 0.1) if not using else ""
    where = scene.maybe(f" where {column.sql} is not null", 0.15)
    on = f"on {table.sql} {using}({chosen}){include}{where}"
    return f"create {unique}index {concurrently}{exists}{name}{on}"


@statement(5)
def create_index(scene: Scene) -> str:
    return _index(scene, "")


@statement(3, alone=True)
def create_index_concurrently(scene: Scene) -> str:
    return _index(scene, "concurrently ")


@statement(2)
def change_index(scene: Scene) -> str:
    table = scene.relation("rpm", lambda t: bool(t.indexes))
    name, _, constraint, _ = scene.pick(table.indexes)
    index = f"{quoted(table.schema)}.{quoted(name)}"
    choices = [
        f"drop index {index} cascade",
        f"alter index {index} rename to {scene.new_name('i ')}",
        f"alter index {index} set (fillfactor = 60)",
        f"comment on index {index} is 'an index'",
        f"reindex index {index}",
        f"alter table {table.sql} cluster on {quoted(name)}",
    ]
    if constraint:
        choices = choices[1:]
    return scene.pick(choices)


@statement(1.5, alone=True)
def maintain(scene: Scene) -> str:
    """What rewrites or cleans, and changes nothing that anybody sees."""
    table = scene.relation("rpm", lambda t: bool(t.columns))
    choices = [
        f"vacuum {table.sql}", f"vacuum (full, analyze) {table.sql}", f"analyze {table.sql}",
        f"reindex table concurrently {table.sql}", "checkpoint",
    ]  # fmt: skip
    indexes = [n for n, _, _, valid in table.indexes if valid]
    if indexes and table.kind == "r":
        one = scene.pick(indexes)
        choices += [f"cluster {table.sql} using {quoted(one)}"] * 2
        choices += [f"drop index concurrently {quoted(table.schema)}.{quoted(one)}"] * 2
    return scene.pick(choices)


@statement(0.3, alone=True)
def detach_concurrently(scene: Scene) -> str:
    child = scene.relation("rp", lambda t: t.is_partition)
    parent = scene.model.by_oid.get(child.parents[0]) if child.parents else None
    if parent is None:
        raise Impossible
    return f"alter table {parent.sql} detach partition {child.sql} concurrently"


@statement(0.5)
def statistics(scene: Scene) -> str:
    table = scene.relation("r", lambda t: len(t.columns) > 1)
    a, b = scene.rng.sample([c.sql for c in table.columns], 2)
    name = scene.new_object("st ")
    return scene.pick([
        f"create statistics {name} on {a}, {b} from {table.sql}",
        f"create statistics {name} (mcv, ndistinct) on {a}, {b} from {table.sql}",
        f"drop statistics {name}",
        f"alter statistics {name} set statistics 50",
    ])
