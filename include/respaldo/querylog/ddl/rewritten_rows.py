"""Whether a replay gives rewritten rows the values that the server gave them."""

from __future__ import annotations

import re
from typing import Any, Final

from include.respaldo.model.schema_change import CapturedCommand, Rewrite, RewrittenRows
from include.respaldo.querylog.ddl.syntax import Node, enum_name, kind, walk

#: bits of PostgreSQL's reason
_DEFAULT_VALUE, _COLUMN_TYPE = 2, 4
#: persistence and access method: each row stays what it was
_SAME_VALUES: Final = 1 | 8

#: nodes that compute the same from the same row, whoever asks and when
_STEADY: Final = frozenset({
    "A_ArrayExpr",
    "A_Const",
    "A_Expr",
    "A_Indices",
    "A_Indirection",
    "BitString",
    "BoolExpr",
    "Boolean",
    "BooleanTest",
    "CaseExpr",
    "CaseWhen",
    "CoalesceExpr",
    "CollateClause",
    "ColumnRef",
    "Float",
    "FuncCall",
    "Integer",
    "MinMaxExpr",
    "NullTest",
    "String",
    "TypeCast",
    "TypeName",
})
_OPERATORS: Final = frozenset([
    "BETWEEN",
    "NOT BETWEEN",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "=",
    "<>",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "||",
    "~",
    "~*",
    "!~",
    "!~*",
    "~~",
    "~~*",
    "!~~",
    "!~~*",
    "&",
    "|",
    "#",
    "<<",
    ">>",
    "->",
    "->>",
    "#>",
    "#>>",
])
_FUNCTIONS: Final = frozenset([
    "abs",
    "array_length",
    "array_to_string",
    "btrim",
    "cardinality",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "chr",
    "coalesce",
    "concat",
    "concat_ws",
    "date_part",
    "date_trunc",
    "decode",
    "div",
    "encode",
    "extract",
    "floor",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "mod",
    "nullif",
    "octet_length",
    "overlay",
    "position",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "sign",
    "split_part",
    "string_to_array",
    "strpos",
    "substr",
    "substring",
    "timezone",
    "to_date",
    "to_number",
    "to_timestamp",
    "translate",
    "trunc",
    "upper",
])
#: a cast to a date or time is not among them: the text may be ``now``
_TYPES: Final = frozenset([
    "bigint",
    "bit",
    "bool",
    "boolean",
    "bpchar",
    "bytea",
    "char",
    "cidr",
    "decimal",
    "float",
    "float4",
    "float8",
    "inet",
    "int",
    "int2",
    "int4",
    "int8",
    "integer",
    "interval",
    "json",
    "jsonb",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "oid",
    "real",
    "smallint",
    "text",
    "uuid",
    "varbit",
    "varchar",
    "xml",
])
_DATES: Final = frozenset({"date", "time", "timetz", "timestamp", "timestamptz"})
#: of dates and times they depend on when it is asked
_TIMELY: Final = re.compile(r"\b(now|today|tomorrow|yesterday)\b", re.IGNORECASE)


def refusal(command: CapturedCommand, node: Node | None) -> str | None:
    """Return why the rows that the command wrote anew cannot be had; None: they can.

    :param node: of its statement, where that is known.
    """
    for rewrite in command.rewritten:
        if rewrite.rows is not RewrittenRows.NOT_SENT or not rewrite.reason & ~_SAME_VALUES:
            continue
        if not _is_steady(rewrite, node):
            return (
                f"it wrote the rows of {rewrite.schema}.{rewrite.table} anew with values that only "
                "the server knew, and they were too many to be kept in the log"
            )
    return None


def _is_steady(rewrite: Rewrite, node: Node | None) -> bool:
    if node is None or kind(node) != "AlterTableStmt":
        return False
    if rewrite.reason & ~(_SAME_VALUES | _DEFAULT_VALUE | _COLUMN_TYPE):
        return False  # a reason that PostgreSQL has now, and had not when this was written
    for command in node.cmds:
        match enum_name(command.subtype):
            case "AT_AddColumn":
                if rewrite.reason & _DEFAULT_VALUE and not _adds_steadily(command.def_):
                    return False
            case "AT_AlterColumnType":
                using = command.def_.raw_default
                if using is not None and not is_steady(using):
                    return False
            case "AT_SetExpression" | "AT_DropExpression" | "AT_AddIdentity":
                return False
    return True


def _adds_steadily(column: Node) -> bool:
    """Return whether a new column gets the same values in every row whenever it is added."""
    constraints = {enum_name(c.contype): c for c in column.constraints or ()}
    if "CONSTR_GENERATED" in constraints:
        return True  # PostgreSQL takes nothing there that is not immutable
    if "CONSTR_IDENTITY" in constraints or not _is_plain_type(column.typeName, _TYPES | _DATES):
        return False  # the type may be a domain with a default of its own
    default = constraints.get("CONSTR_DEFAULT")
    return default is None or is_steady(default.raw_expr)


def is_steady(expression: Node) -> bool:
    """Return whether it is made only of what computes the same from the same row."""
    return all(_is_steady_node(node) for node in walk(expression))


def _is_steady_node(node: Node) -> bool:
    name = kind(node)
    if name not in _STEADY:
        return False
    if name == "A_Expr":
        return _last(node.name, "pg_catalog") in _OPERATORS
    if name == "FuncCall":
        return _last(node.funcname, "pg_catalog") in _FUNCTIONS and not node.func_variadic
    if name == "TypeName":
        return _is_plain_type(node)
    if name == "String":
        return not _TIMELY.search(node.sval)
    return True


def _last(names: Any, schema: str) -> str | None:
    """Return the name, if it is not said to be in another schema."""
    parts = [n.sval for n in names]
    return parts[-1] if len(parts) == 1 or parts[:-1] == [schema] else None


def _is_plain_type(node: Node, wanted: frozenset[str] = _TYPES) -> bool:
    return _last(node.names, "pg_catalog") in wanted
