"""Changes of rows."""

from __future__ import annotations

from tests.oracle.workload.catalog import Relation
from tests.oracle.workload.names import quoted
from tests.oracle.workload.scene import Impossible, Scene, statement


def some_rows(scene: Scene, table: Relation, most: int = 3) -> str:
    """Return a condition that a few rows meet; the same ones more often."""
    if table.key and scene.chance(0.3):
        key = next(c for c in table.columns if c.name == table.key[0])
        return f"{key.sql} = {scene.value(key.type)}"
    order = scene.maybe(" order by random()", 0.6)
    limit = scene.rng.randint(1, most)
    return f"ctid = any (array(select ctid from {table.sql}{order} limit {limit}))"


def insertion(scene: Scene, table: Relation, most: int = 4) -> str:
    """Return an insert of random values for random columns."""
    columns = [
        c
        for c in table.writable
        if c.identity != "a"
        and (
            scene.chance(0.05 if c.identity else 0.25)
            if c.identity or c.has_default
            else c.not_null or c.name in table.key or scene.chance(0.75)
        )
    ]
    if not columns:
        return f"insert into {table.sql} default values"
    names = ", ".join(c.sql for c in columns)
    ending = scene.maybe(" on conflict do nothing", 0.5)
    if scene.chance(0.3):
        values = ", ".join(_varying(scene, c.type) for c in columns)
        source = f"select {values} from generate_series(1, {scene.rng.randint(1, most * 3)}) i"
    else:
        rows = (
            "(" + ", ".join(scene.value(c.type) for c in columns) + ")"
            for _ in range(scene.rng.randint(1, most))
        )
        source = "values " + ", ".join(rows)
    return f"insert into {table.sql} ({names}) {source}{ending}"


def _varying(scene: Scene, type_: str) -> str:
    if type_ in {"integer", "bigint", "numeric"}:
        return scene.pick(["i", "(random() * 1000)::integer", "i % 3", scene.value(type_)])
    if type_ in {"text", "character varying"}:
        return scene.pick(["md5(random()::text)", "'v' || i", scene.value(type_)])
    if type_ == "timestamp with time zone":
        return scene.pick(["now()", "clock_timestamp()"])
    return scene.value(type_)


@statement(30, ddl=False)
def insert(scene: Scene) -> str:
    return insertion(scene, scene.table())


@statement(30, ddl=False)
def update(scene: Scene) -> str:
    table = scene.table()
    columns = [c for c in table.writable if c.identity != "a"]
    chosen = {scene.pick(columns) for _ in range(scene.rng.randint(1, 3))}
    sets = ", ".join(
        f"{c.sql} = {_new_value(scene, c.sql, c.type)}"
        for c in sorted(chosen, key=lambda c: c.name)
    )
    return f"update {table.sql} set {sets} where {some_rows(scene, table)}"


def _new_value(scene: Scene, column: str, type_: str) -> str:
    if scene.chance(0.1):
        return column
    if type_ in {"integer", "bigint", "numeric", "smallint"} and scene.chance(0.3):
        return scene.pick([f"{column} + 1", f"-{column}", f"{column} + 1000"])
    if type_ == "text" and scene.chance(0.2):
        return f"{column} || 'x'"
    return scene.pick([scene.value(type_)] * 6 + ["default"])


@statement(12, ddl=False)
def delete(scene: Scene) -> str:
    table = scene.table()
    return f"delete from {table.sql} where {some_rows(scene, table, 2)}"


@statement(1.5, ddl=False)
def swap_keys(scene: Scene) -> str:
    """The keys of two rows change hands, in one statement or in three."""
    table = scene.relation("r", lambda t: len(t.key) == 1)
    key = next(c for c in table.columns if c.name == table.key[0])
    if key.type not in {"integer", "bigint"} or key.identity == "a":
        raise Impossible
    a, b = scene.rng.sample(range(1, 20), 2)
    if scene.chance(0.4):
        return (
            f"update {table.sql} set {key.sql} = {a + b} - {key.sql} where {key.sql} in ({a}, {b})"
        )
    return "; ".join(
        f"update {table.sql} set {key.sql} = {new} where {key.sql} = {old}"
        for old, new in ((a, -777), (b, a), (-777, b))
    )


@statement(0.7, ddl=False)
def update_all(scene: Scene) -> str:
    table = scene.table()
    column = scene.column(table, lambda c: not c.generated and c.identity != "a")
    return f"update {table.sql} set {column.sql} = {_new_value(scene, column.sql, column.type)}"


@statement(1, ddl=False)
def truncate(scene: Scene) -> str:
    table = scene.relation("rp")
    also = ", " + scene.relation("rp").sql if scene.chance(0.2) else ""
    only = scene.maybe("only ", 0.1) if table.kind == "r" else ""
    restart = scene.pick(["", "", " restart identity", " continue identity"])
    return f"truncate {only}{table.sql}{also}{restart}{scene.maybe(' cascade', 0.4)}"


@statement(1.5, ddl=False)
def upsert(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.key))
    changed = scene.column(table, lambda c: not c.generated and c.identity != "a")
    keys = ", ".join(quoted(name) for name in table.key)
    made = insertion(scene, table).removesuffix(" on conflict do nothing")
    return (
        f"{made} on conflict ({keys}) do update set {changed.sql} = excluded.{changed.sql}"
        if not made.endswith("default values")
        else made
    )


@statement(1.5, ddl=False)
def copy_rows(scene: Scene) -> str:
    """Rows of one table to another, or to itself, in one statement."""
    source, target = scene.table(), scene.table()
    pairs = []
    for column in target.writable:
        same = [c for c in source.columns if c.type == column.type]
        if same and column.identity != "a":
            pairs.append((column.sql, scene.pick(same).sql))
    if not pairs:
        raise Impossible
    return (
        f"insert into {target.sql} ({', '.join(p[0] for p in pairs)})"
        f" select {', '.join(p[1] for p in pairs)} from {source.sql} limit 5"
        f" on conflict do nothing"
    )


@statement(1, ddl=False)
def merge(scene: Scene) -> str:
    table = scene.relation("r", lambda t: bool(t.key))
    key = next(c for c in table.columns if c.name == table.key[0])
    other = scene.column(table, lambda c: not c.generated and c.identity != "a")
    return (
        f"merge into {table.sql} t using (select {scene.value(key.type)} as k) s"
        f" on t.{key.sql} = s.k when matched and random() < 0.5 then delete"
        f" when matched then update set {other.sql} = {scene.value(other.type)}"
    )


@statement(1, ddl=False)
def numbers_taken(scene: Scene) -> str:
    """Numbers are handed out, some of them to nobody; now and then one is set ahead."""
    sequence = scene.relation("S")
    name = sequence.sql.replace("'", "''")
    if scene.chance(0.2):
        return f"select setval('{name}', (select last_value + 50 from {sequence.sql}))"
    return f"select nextval('{name}') from generate_series(1, {scene.rng.randint(1, 40)})"


@statement(0.4, ddl=False)
def message(scene: Scene) -> str:
    """An application's own logical messages."""
    inside = scene.pick(["true", "false"])
    return f"select pg_logical_emit_message({inside}, 'app', 'hello')"


@statement(0.6, ddl=False)
def row_lock(scene: Scene) -> str:
    return f"select count(*) from (select from {scene.table().sql} limit 3 for update) x"


@statement(0.5, ddl=False)
def temporary_rows(scene: Scene) -> str:
    """A temporary table lives and dies; nothing of it is anybody's business."""
    name = quoted(f"temp {scene.rng.randint(1, 3)}")
    drops = scene.pick([" on commit drop", "", " on commit delete rows"])
    return scene.pick([
        f"create temp table {name} (a int primary key, b text){drops}",
        f"create temp table if not exists {name} (a serial, b text default now()){drops}",
        f"insert into pg_temp.{name} (b) values ('x')",
        f"alter table pg_temp.{name} add column c{scene.rng.randint(1, 9)} int default random()",
        f"drop table pg_temp.{name}",
        f"create temp table {name} as select * from {scene.table().sql}",
        f"select * into temp {name} from {scene.table().sql}",
        f"create index on pg_temp.{name} (b)",
        f"update pg_temp.{name} set b = 'y'",
    ])  # fmt: skip
