"""Tables that belong together: partitions and inheritance."""

from __future__ import annotations

from tests.oracle.workload.columns import column_definition
from tests.oracle.workload.names import quoted
from tests.oracle.workload.rows import insertion
from tests.oracle.workload.scene import Impossible, Scene, statement


@statement(1)
def create_inheriting(scene: Scene) -> str:
    parent = scene.relation("r", lambda t: not t.is_partition)
    name = scene.new_table()
    own = column_definition(scene, scene.new_column())
    return scene.pick([
        f"create table {name} ({own}) inherits ({parent.sql})",
        f"create table {name} () inherits ({parent.sql})",
        f"create table {name} (like {parent.sql}); alter table {name} inherit {parent.sql}",
    ])


@statement(0.5)
def inherit(scene: Scene) -> str:
    child = scene.relation("r", lambda t: bool(t.parents) and not t.is_partition)
    parent = scene.model.by_oid.get(child.parents[0])
    if parent is None:
        raise Impossible
    return f"alter table {child.sql} no inherit {parent.sql}"


@statement(2.5)
def create_partitioned(scene: Scene) -> str:
    name = scene.new_table()
    kind = scene.rng.random()
    keyed = scene.pick([", primary key (k)", "", ", unique (k, v)"])
    body = f"(k integer not null, v text, at timestamptz default now(){keyed})"
    schema = name.split(".", 1)[0]
    part = scene.rng.randint(1, 99)
    if kind < 0.5:
        ranges = [f"from ({a}) to ({b})" for a, b in (("minvalue", 10), (10, 20), (20, 100))]
        strategy = "range (k)"
    elif kind < 0.75:
        ranges, strategy = ["in (1, 2, 3)", "in (4, 5, 6, null)"], "list (k)"
        body = body.replace(" not null", "")
    else:
        ranges = [f"with (modulus 3, remainder {i})" for i in range(3)]
        strategy = "hash (k)"
    parts = "".join(
        f"; create table {schema}.p{part}_{i} partition of {name} for values {r}"
        for i, r in enumerate(ranges)
    )
    if kind < 0.75 and scene.chance(0.5):
        parts += f"; create table {schema}.p{part}_d partition of {name} default"
    fill = f"; insert into {name} (k, v) select i, 'v' || i from generate_series(1, 6) i"
    return f"create table {name} {body} partition by {strategy}{parts}{fill}"


@statement(1.5)
def create_partition(scene: Scene) -> str:
    parent = scene.relation("p")
    part = f"{quoted(parent.schema)}.{quoted('part ' + str(scene.rng.randint(1, 40)))}"
    start = scene.rng.randint(10, 40) * 10
    bounds = {
        "r": f"for values from ({start}) to ({start + 10})",
        "l": f"for values in ({start})",
        "h": f"for values with (modulus 3, remainder {start % 3})",
    }[parent.strategy or "r"]
    if scene.chance(0.15):
        bounds = "default"
    if scene.chance(0.4):
        key = scene.maybe(", primary key (k)", 0.3)
        return (
            f"create table {part} (k integer not null, v text, at timestamptz{key});"
            f" insert into {part} values ({start}, 'before', now());"
            f" alter table {parent.sql} attach partition {part} {bounds}"
        )
    more = scene.maybe(f" partition by hash ({scene.pick(['k', 'v'])})", 0.1)
    return f"create table {part} partition of {parent.sql} {bounds}{more}"


@statement(1.2)
def detach_partition(scene: Scene) -> str:
    child = scene.relation("rp", lambda t: t.is_partition)
    parent = scene.model.by_oid.get(child.parents[0]) if child.parents else None
    if parent is None:
        raise Impossible
    made = f"alter table {parent.sql} detach partition {child.sql}"
    if scene.chance(0.3):
        made += f"; {insertion(scene, child)}; drop table {child.sql}"
    return made
