"""Which command tag PostgreSQL gives a statement (CreateCommandTag in utility.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from include.respaldo.querylog.ddl.syntax import Node, enum_name, kind

#: words for the kinds of objects, where they are not simply the constant's own
_WORDS: Final = {
    "ATTRIBUTE": "TYPE",
    "COLUMN": "TABLE",
    "DOMCONSTRAINT": "DOMAIN",
    "FDW": "FOREIGN DATA WRAPPER",
    "FOREIGN_SERVER": "SERVER",
    "LARGEOBJECT": "LARGE OBJECT",
    "MATVIEW": "MATERIALIZED VIEW",
    "OPCLASS": "OPERATOR CLASS",
    "OPFAMILY": "OPERATOR FAMILY",
    "STATISTIC_EXT": "STATISTICS",
    "TABCONSTRAINT": "TABLE",
    "TSCONFIGURATION": "TEXT SEARCH CONFIGURATION",
    "TSDICTIONARY": "TEXT SEARCH DICTIONARY",
    "TSPARSER": "TEXT SEARCH PARSER",
    "TSTEMPLATE": "TEXT SEARCH TEMPLATE",
}


def object_words(object_type: object) -> str:
    """Return the words of an ObjectType: OBJECT_TSPARSER is ``TEXT SEARCH PARSER``."""
    name = enum_name(object_type).removeprefix("OBJECT_")
    return _WORDS.get(name) or name.replace("_", " ")


_FIXED: Final = {
    "AlterCollationStmt": "ALTER COLLATION",
    "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES",
    "AlterDomainStmt": "ALTER DOMAIN",
    "AlterEnumStmt": "ALTER TYPE",
    "AlterExtensionContentsStmt": "ALTER EXTENSION",
    "AlterExtensionStmt": "ALTER EXTENSION",
    "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER",
    "AlterForeignServerStmt": "ALTER SERVER",
    "AlterOpFamilyStmt": "ALTER OPERATOR FAMILY",
    "AlterOperatorStmt": "ALTER OPERATOR",
    "AlterPolicyStmt": "ALTER POLICY",
    "AlterPublicationStmt": "ALTER PUBLICATION",
    "AlterSeqStmt": "ALTER SEQUENCE",
    "AlterStatsStmt": "ALTER STATISTICS",
    "AlterSubscriptionStmt": "ALTER SUBSCRIPTION",
    "AlterTSConfigurationStmt": "ALTER TEXT SEARCH CONFIGURATION",
    "AlterTSDictionaryStmt": "ALTER TEXT SEARCH DICTIONARY",
    "AlterTypeStmt": "ALTER TYPE",
    "AlterUserMappingStmt": "ALTER USER MAPPING",
    "CommentStmt": "COMMENT",
    "CompositeTypeStmt": "CREATE TYPE",
    "CreateAmStmt": "CREATE ACCESS METHOD",
    "CreateCastStmt": "CREATE CAST",
    "CreateConversionStmt": "CREATE CONVERSION",
    "CreateDomainStmt": "CREATE DOMAIN",
    "CreateEnumStmt": "CREATE TYPE",
    "CreateExtensionStmt": "CREATE EXTENSION",
    "CreateFdwStmt": "CREATE FOREIGN DATA WRAPPER",
    "CreateForeignServerStmt": "CREATE SERVER",
    "CreateForeignTableStmt": "CREATE FOREIGN TABLE",
    "CreateOpClassStmt": "CREATE OPERATOR CLASS",
    "CreateOpFamilyStmt": "CREATE OPERATOR FAMILY",
    "CreatePLangStmt": "CREATE LANGUAGE",
    "CreatePolicyStmt": "CREATE POLICY",
    "CreatePublicationStmt": "CREATE PUBLICATION",
    "CreateRangeStmt": "CREATE TYPE",
    "CreateSchemaStmt": "CREATE SCHEMA",
    "CreateSeqStmt": "CREATE SEQUENCE",
    "CreateStatsStmt": "CREATE STATISTICS",
    "CreateStmt": "CREATE TABLE",
    "CreateSubscriptionStmt": "CREATE SUBSCRIPTION",
    "CreateTransformStmt": "CREATE TRANSFORM",
    "CreateTrigStmt": "CREATE TRIGGER",
    "CreateUserMappingStmt": "CREATE USER MAPPING",
    "DropOwnedStmt": "DROP OWNED",
    "DropSubscriptionStmt": "DROP SUBSCRIPTION",
    "DropUserMappingStmt": "DROP USER MAPPING",
    "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA",
    "IndexStmt": "CREATE INDEX",
    "ReassignOwnedStmt": "REASSIGN OWNED",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "ReindexStmt": "REINDEX",
    "RuleStmt": "CREATE RULE",
    "SecLabelStmt": "SECURITY LABEL",
    "ViewStmt": "CREATE VIEW",
}


def into_clause(node: Node) -> Node | None:
    """Return the INTO of a SELECT: that of the leftmost part of a UNION."""
    while node.larg is not None and node.intoClause is None:
        node = node.larg
    return node.intoClause


def _table_as(node: Node) -> str:
    if enum_name(node.objtype) == "OBJECT_MATVIEW":
        return "CREATE MATERIALIZED VIEW"
    return "SELECT INTO" if node.is_select_into else "CREATE TABLE AS"


def _rename(node: Node) -> str:
    column = enum_name(node.renameType) in {"OBJECT_COLUMN", "OBJECT_ATTRIBUTE"}
    return "ALTER " + object_words(node.relationType if column else node.renameType)


_BY_FIELDS: Final[dict[str, Callable[[Node], str | None]]] = {
    "AlterFunctionStmt": lambda n: "ALTER " + object_words(n.objtype),
    "AlterObjectDependsStmt": lambda n: "ALTER " + object_words(n.objectType),
    "AlterObjectSchemaStmt": lambda n: "ALTER " + object_words(n.objectType),
    "AlterOwnerStmt": lambda n: "ALTER " + object_words(n.objectType),
    "AlterTableMoveAllStmt": lambda n: "ALTER " + object_words(n.objtype),
    "AlterTableStmt": lambda n: "ALTER " + object_words(n.objtype),
    "CreateFunctionStmt": lambda n: "CREATE PROCEDURE" if n.is_procedure else "CREATE FUNCTION",
    "CreateTableAsStmt": _table_as,
    "DefineStmt": lambda n: "CREATE " + object_words(n.kind),
    "DropStmt": lambda n: "DROP " + object_words(n.removeType),
    "GrantStmt": lambda n: "GRANT" if n.is_grant else "REVOKE",
    "RenameStmt": _rename,
    "SelectStmt": lambda n: "SELECT INTO" if into_clause(n) is not None else None,
}


def command_tag(node: Node) -> str | None:
    """Return the tag that event triggers see; None: the statement fires none."""
    name = kind(node)
    if name in _FIXED:
        return _FIXED[name]
    by_fields = _BY_FIELDS.get(name)
    return by_fields(node) if by_fields else None
