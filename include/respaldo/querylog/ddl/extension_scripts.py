"""Commands that an extension's script ran: the command that made the extension repeats them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.respaldo.model.schema_change import CapturedCommand, FailedCapture, TouchedObject

_EXTENSION_TAGS = frozenset({"CREATE EXTENSION", "ALTER EXTENSION"})


def script_commands(
    captured: Sequence[CapturedCommand | FailedCapture],
) -> Mapping[int, tuple[int, ...]]:
    """Return for each command on an extension the indices of the commands that its script ran.

    A script's commands end before the command that runs it. Those that only drop something, which
    PostgreSQL does not mark as an extension's, are known by standing between others of the script.
    """
    scripts: dict[int, tuple[int, ...]] = {}
    pending: list[int] = []
    run: object = None
    for index, command in enumerate(captured):
        if not isinstance(command, CapturedCommand):
            continue
        if (command.query, command.statement_at) != run:
            pending, run = [], (command.query, command.statement_at)
        if command.tag in _EXTENSION_TAGS and not _in_extension(command) and pending:
            scripts[index] = tuple(pending)
            pending = []
        elif pending or _in_extension(command):
            pending.append(index)
    return scripts


def _in_extension(command: CapturedCommand) -> bool:
    if "\nextension script file " in command.context:  # PostgreSQL 18 says so itself
        return True
    return bool(command.objects) and all(o.in_extension for o in command.objects)


def script_tables(parts: Sequence[CapturedCommand]) -> tuple[TouchedObject, ...]:
    """Return the tables that a script made and left there: it may have filled them."""
    tables = {
        o.oid: o
        for part in parts
        for o in part.objects
        if o.address.type == "table" and o.tag.startswith(("CREATE TABLE", "SELECT INTO"))
    }
    gone = {d.address.names for part in parts for d in part.dropped if d.address.type == "table"}
    return tuple(t for t in tables.values() if t.address.names not in gone)
