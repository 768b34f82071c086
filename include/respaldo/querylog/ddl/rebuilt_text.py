"""Statements written anew from what the capture saw, where the original text does not serve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from include.respaldo.model.schema_change import CreatedTable, DroppedObject
from include.respaldo.querylog.ddl.targets import object_name

#: of these an object's name is all that DROP needs
_DROPPED_BY_NAME: Final = frozenset({
    "DROP COLLATION",
    "DROP CONVERSION",
    "DROP DOMAIN",
    "DROP EXTENSION",
    "DROP FOREIGN DATA WRAPPER",
    "DROP FOREIGN TABLE",
    "DROP INDEX",
    "DROP MATERIALIZED VIEW",
    "DROP PUBLICATION",
    "DROP SCHEMA",
    "DROP SEQUENCE",
    "DROP SERVER",
    "DROP STATISTICS",
    "DROP TABLE",
    "DROP TEXT SEARCH CONFIGURATION",
    "DROP TEXT SEARCH DICTIONARY",
    "DROP TEXT SEARCH PARSER",
    "DROP TEXT SEARCH TEMPLATE",
    "DROP TYPE",
    "DROP VIEW",
})
_DROPPED_WITH_ARGUMENTS: Final = frozenset({"DROP FUNCTION", "DROP PROCEDURE", "DROP ROUTINE"})


def quoted(name: str) -> str:
    """Return the name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def qualified(*names: str) -> str:
    """Return the parts of a name as SQL."""
    return ".".join(quoted(name) for name in names)


def literal(value: str) -> str:
    """Return the text as an SQL literal, whatever ``standard_conforming_strings`` is."""
    text = value.replace("'", "''")
    return "E'" + text.replace("\\", "\\\\") + "'" if "\\" in text else f"'{text}'"


def created_table(table: CreatedTable) -> str:
    """Return CREATE TABLE with the columns that the query gave: its rows are in the log."""
    unlogged = "UNLOGGED " if table.persistence == "u" else ""
    columns = ", ".join(
        f"{quoted(name)} {type_}" + (f" COLLATE {collation}" if collation else "")
        for name, type_, collation in table.columns
    )
    sql = f"CREATE {unlogged}TABLE {qualified(table.schema, table.table)} ({columns})"
    if table.access_method:
        sql += f" USING {quoted(table.access_method)}"
    if table.options:
        sql += f" WITH ({', '.join(_option(o) for o in table.options)})"
    if table.tablespace:
        sql += f" TABLESPACE {quoted(table.tablespace)}"
    return sql


def _option(option: str) -> str:
    name, _, value = option.partition("=")
    return f"{qualified(*name.split('.', 1))}={literal(value)}"


def dropped_objects(tag: str, dropped: Sequence[DroppedObject], *, cascade: bool) -> str | None:
    """Return a DROP of those objects that the command named and that were not temporary.

    None: objects of this kind cannot be named by what the capture saw.
    """
    wanted = [d for d in dropped if d.original and not d.temporary]
    if tag in _DROPPED_BY_NAME:
        names: Iterable[str] = (qualified(*object_name(d.address)) for d in wanted)
    elif tag in _DROPPED_WITH_ARGUMENTS:
        names = (f"{qualified(*d.address.names)}({', '.join(d.address.args)})" for d in wanted)
    else:
        return None
    return f"{tag} {', '.join(names)}" + (" CASCADE" if cascade else "")
