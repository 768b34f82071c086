"""From what was captured to what a replay runs: exactly the same, or a reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from include.respaldo.model.schema_change import (
    CapturedCommand,
    FailedCapture,
    NotReplayable,
    ReplayCommand,
    TouchedObject,
)
from include.respaldo.querylog.ddl import rewritten_rows
from include.respaldo.querylog.ddl.carried_out import (
    leaves_no_trace,
    refusal_of_statement,
    refusal_of_tag,
)
from include.respaldo.querylog.ddl.edited_text import (
    with_no_data,
    without_concurrently,
)
from include.respaldo.querylog.ddl.extension_scripts import script_commands, script_tables
from include.respaldo.querylog.ddl.nesting import Order
from include.respaldo.querylog.ddl.pairing import StatementFinder
from include.respaldo.querylog.ddl.rebuilt_text import created_table, dropped_objects
from include.respaldo.querylog.ddl.statements import Statement
from include.respaldo.querylog.ddl.syntax import Node, Unreadable, enum_name, kind, walk
from include.respaldo.querylog.ddl.targets import split_name

#: run in place of a command of which only a note is to be kept
NOTHING: Final = "SELECT"
_FROM_QUERY: Final = frozenset({"CREATE TABLE AS", "SELECT INTO"})
#: name of the schema and of the publication with which the log itself is captured
_OWN: Final = "respaldo"


def replay_commands(
    captured: Sequence[CapturedCommand | FailedCapture],
) -> list[ReplayCommand | NotReplayable]:
    """Return what carries out the commands of one transaction, in order.

    Fewer than were captured where there is nothing to do for some.
    """
    return [item for _, item in replay_commands_at(captured)]


def replay_commands_at(
    captured: Sequence[CapturedCommand | FailedCapture],
) -> list[tuple[int, ReplayCommand | NotReplayable]]:
    """Return the same as `replay_commands`, each with the index of what it carries out.

    The order is that in which to run them: an index may be smaller than the one before it. A
    command is to be run where the last of those up to it stands in the log.
    """
    scripts = script_commands(captured)
    parts = {part for indices in scripts.values() for part in indices}
    commands = {
        index: item
        for index, item in enumerate(captured)
        if isinstance(item, CapturedCommand) and index not in parts and not _is_own(item)
    }
    finder = StatementFinder(commands)
    order = Order(commands, finder)
    found: list[tuple[int, ReplayCommand | NotReplayable]] = []
    for index in order.indices:
        command = commands[index]
        reason = order.unknown.get(index)
        if reason is not None:
            found.append((index, NotReplayable(command.what, reason)))
            continue
        script = [
            c for i in scripts.get(index, ()) if isinstance(c := captured[i], CapturedCommand)
        ]
        item = _carried_out(command, finder[index], script)
        if item is not None:
            found.append((index, item))
    found = _compared_later(found, order.moved)
    return _with_failures(found, captured)


def _is_own(command: CapturedCommand) -> bool:
    """Return whether it changed only what the capture itself is made of."""
    touched = [
        *((o.address, o.schema) for o in command.objects),
        *((d.address, d.schema) for d in command.dropped if d.original),
    ]
    return bool(touched) and all(
        schema == _OWN
        or (address.type in {"publication", "schema"} and address.names == (_OWN,))
        or (address.type.startswith("publication ") and address.args == (_OWN,))
        for address, schema in touched
    )


def _carried_out(
    command: CapturedCommand, statement: Statement | str, script: Sequence[CapturedCommand]
) -> ReplayCommand | NotReplayable | None:
    reason = refusal_of_tag(command.tag)
    if command.tag == "REINDEX":
        return None  # an index holds the same before and after
    if isinstance(statement, Statement) and leaves_no_trace(statement.node):
        return None
    if reason is None and isinstance(statement, Statement):
        reason = refusal_of_statement(statement.node)
    if reason is None:
        node = statement.node if isinstance(statement, Statement) else None
        reason = rewritten_rows.refusal(command, node)
    if reason is not None:
        return NotReplayable(command.what, reason)
    if command.tag in _FROM_QUERY:
        return _table_from_query(command)
    if isinstance(statement, str):
        return NotReplayable(command.what, statement)
    try:
        return _adapted(_as_written(command, statement), command, statement, script)
    except Unreadable as e:
        return NotReplayable(command.what, str(e))


def _as_written(command: CapturedCommand, statement: Statement) -> ReplayCommand:
    there = {o.address for o in command.objects}
    return ReplayCommand(
        sql=statement.text,
        what=command.what,
        caller=command.caller,
        roles=_roles(statement.node) | {command.caller.role},
        at=command.statement_at,
        # one that runs concurrently has several
        snapshot=None if getattr(statement.node, "concurrent", False) else command.snapshot,
        expected=_comparable(command.objects),
        gone=tuple(
            d.address for d in command.dropped if not d.temporary and d.address not in there
        ),
        missing_values=command.missing_values,
    )


def _comparable(objects: Sequence[TouchedObject]) -> tuple[TouchedObject, ...]:
    return tuple(o for o in objects if o.fingerprint is not None)


def _roles(node: Node) -> frozenset[str]:
    """Return the roles that a statement names; PUBLIC, CURRENT_USER and the like are no names."""
    return frozenset(
        n.rolename
        for n in walk(node)
        if kind(n) == "RoleSpec" and enum_name(n.roletype) == "ROLESPEC_CSTRING"
    )


def _table_from_query(command: CapturedCommand) -> ReplayCommand | NotReplayable:
    if len(command.created) != 1:
        return NotReplayable(
            command.what, f"expected the columns of one table, found {len(command.created)}"
        )
    (table,) = command.created
    return ReplayCommand(
        sql=created_table(table),
        what=command.what,
        caller=command.caller,
        roles=frozenset({command.caller.role}),
        at=command.statement_at,
        snapshot=command.snapshot,
        expected=_comparable(command.objects),
        created_oids=frozenset({table.oid}),
    )


def _adapted(
    written: ReplayCommand,
    command: CapturedCommand,
    statement: Statement,
    script: Sequence[CapturedCommand],
) -> ReplayCommand:
    """Return the command as a replay can run it.

    :raises Unreadable: it cannot be changed so that it can.
    """
    node, text = statement.node, statement.text
    match kind(node):
        case "IndexStmt" if node.concurrent:
            return replace(written, sql=without_concurrently(text))
        case "DropStmt":
            return replace(written, sql=_drop(command, node, text))
        case "AlterTableStmt" if any(_needs_own_transactions(c) for c in node.cmds):
            raise Unreadable(
                "detached concurrently, a partition is left with a constraint that PostgreSQL "
                "makes of its bounds, unless its own imply them"
            )
        case "CreateTableAsStmt":
            views = () if node.into.skipData else _views(command)
            sql = with_no_data(text, node.into.skipData)
            return replace(written, sql=sql, populates=views)
        case "RefreshMatViewStmt" if node.skipData:
            return replace(written, empties=_views(command))
        case "RefreshMatViewStmt":
            return replace(written, sql=NOTHING, populates=_views(command))
        case "CreateExtensionStmt":
            tables = script_tables(script)
            return replace(
                written,
                refilled=tuple(_table_name(t) for t in tables),
                created_oids=frozenset(t.oid for t in tables),
            )
    return written


def _needs_own_transactions(command: Node) -> bool:
    subtype = enum_name(command.subtype)
    return subtype == "AT_DetachPartitionFinalize" or (
        subtype == "AT_DetachPartition" and bool(command.def_.concurrent)
    )


def _drop(command: CapturedCommand, node: Node, text: str) -> str:
    if node.concurrent:
        text = without_concurrently(text)
    originals = [d for d in command.dropped if d.original]
    if any(d.temporary for d in originals) or len(originals) < len(node.objects):
        cascade = enum_name(node.behavior) == "DROP_CASCADE"
        rebuilt = dropped_objects(command.tag, originals, cascade=cascade)
        if rebuilt is not None:
            return rebuilt
        if any(d.temporary for d in originals):
            raise Unreadable("it dropped temporary objects as well")
    return text


def _views(command: CapturedCommand) -> tuple[tuple[str, str], ...]:
    """:raises Unreadable: the capture names no materialized view."""
    views = tuple(_table_name(o) for o in command.objects if o.address.type == "materialized view")
    if not views:
        raise Unreadable("the capture does not say which materialized view it was")
    return views


def _table_name(touched: TouchedObject) -> tuple[str, str]:
    names = touched.address.names
    if len(names) != 2:
        names = split_name(touched.identity)
    if len(names) != 2:
        raise Unreadable(f"expected a schema and a name, found {touched.identity}")
    return names[0], names[1]


def _compared_later(
    found: list[tuple[int, ReplayCommand | NotReplayable]], moved: dict[int, int]
) -> list[tuple[int, ReplayCommand | NotReplayable]]:
    """Compare what a moved command touched after those that it moved before.

    Its fingerprints were taken when it ended, and that was after them.
    """
    items = dict(found)
    for outer, last in moved.items():
        first, then = items.get(outer), items.get(last)
        if isinstance(first, ReplayCommand) and isinstance(then, ReplayCommand):
            newer = {(o.catalog, o.oid) for o in first.expected}
            kept = tuple(o for o in then.expected if (o.catalog, o.oid) not in newer)
            items[outer] = replace(first, expected=())
            items[last] = replace(then, expected=kept + first.expected)
    return [(index, items[index]) for index, _ in found]


def _with_failures(
    found: list[tuple[int, ReplayCommand | NotReplayable]],
    captured: Sequence[CapturedCommand | FailedCapture],
) -> list[tuple[int, ReplayCommand | NotReplayable]]:
    failed: list[tuple[int, ReplayCommand | NotReplayable]] = [
        (index, NotReplayable(item.what, "the capture failed"))
        for index, item in enumerate(captured)
        if isinstance(item, FailedCapture)
    ]
    # the order among the others matters, and that of these does not
    return failed + found
