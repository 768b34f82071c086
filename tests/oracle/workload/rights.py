"""Who may do what, and whose things are."""

from __future__ import annotations

from tests.oracle.workload.names import quoted
from tests.oracle.workload.scene import Scene, statement


@statement(2.5)
def grant(scene: Scene) -> str:
    table = scene.relation("rpvm")
    role = scene.pick([scene.role(), "public"])
    columns = f" ({scene.column(table).sql})" if table.columns and scene.chance(0.3) else ""
    rights = scene.pick([f"select{columns}", f"select, update{columns}", "all", "insert, delete"])
    if scene.chance(0.3):
        return f"revoke {rights} on {table.sql} from {role}{scene.maybe(' cascade')}"
    option = scene.maybe(" with grant option", 0.2) if role != "public" else ""
    return f"grant {rights} on {table.sql} to {role}{option}"


@statement(1)
def grant_other(scene: Scene) -> str:
    role = scene.role()
    verb, to = scene.pick([("grant", "to"), ("grant", "to"), ("revoke", "from")])
    choices = [
        f"{verb} usage, create on schema {scene.schema()} {to} {role}",
        f"{verb} select on all tables in schema {scene.schema()} {to} {role}",
        f"{verb} all on all sequences in schema {scene.schema()} {to} {role}",
        f"{verb} execute on all functions in schema {scene.schema()} {to} {role}",
    ]
    if scene.types:
        choices.append(f"{verb} usage on type {scene.pick(list(scene.types))} {to} {role}")
    if scene.sequences():
        choices.append(f"{verb} usage on sequence {scene.pick(scene.sequences())} {to} {role}")
    return scene.pick(choices)


@statement(1)
def default_privileges(scene: Scene) -> str:
    for_role = scene.maybe(f"for role {scene.role()} ", 0.4)
    inside = scene.maybe(f"in schema {scene.schema()} ", 0.4)
    what = scene.pick(["select on tables", "all on sequences", "execute on functions",
                       "usage on types"])  # fmt: skip
    verb, to = scene.pick([("grant", "to"), ("grant", "to"), ("revoke", "from")])
    return f"alter default privileges {for_role}{inside}{verb} {what} {to} {scene.role()}"


@statement(1.5)
def owner(scene: Scene) -> str:
    table = scene.relation("rp")
    return f"alter table {table.sql} owner to {scene.role()}"


@statement(0.1)
def reassign_owned(scene: Scene) -> str:
    return f"reassign owned by {scene.role()} to {scene.role()}"


@statement(0.1)
def drop_owned(scene: Scene) -> str:
    return f"drop owned by {scene.role()}"


@statement(1.5)
def policy(scene: Scene) -> str:
    table = scene.relation("rp", lambda t: bool(t.columns))
    if table.policies and scene.chance(0.5):
        name = quoted(scene.pick(table.policies))
        return scene.pick([
            f"drop policy {name} on {table.sql}",
            f"alter policy {name} on {table.sql} rename to {scene.new_name('po')}",
            f"alter policy {name} on {table.sql} to {scene.role()} using (true)",
        ])
    if scene.chance(0.4):
        how = scene.pick(["enable", "disable", "force", "no force"])
        return f"alter table {table.sql} {how} row level security"
    column = scene.column(table).sql
    kind = scene.pick(["", " as restrictive"])
    command = scene.pick(["", " for select", " for update", " for all"])
    to = scene.pick(["", f" to {scene.role()}", " to public", " to current_user"])
    return (
        f"create policy {scene.new_name('po')} on {table.sql}{kind}{command}{to}"
        f" using ({column} is not null or current_user = 'x;')"
    )


@statement(0.3)
def security_label(scene: Scene) -> str:
    """No provider is loaded: it fails, and must fail as it would without us."""
    return f"security label on table {scene.relation('rp').sql} is 'secret'"
