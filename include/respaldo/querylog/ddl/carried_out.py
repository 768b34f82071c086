"""Which kinds of commands are carried out again, and why others are not."""

from __future__ import annotations

from typing import Final

from include.respaldo.querylog.ddl.syntax import Node, enum_name, kind

_MADE_CHANGED_DROPPED: Final = (
    "AGGREGATE",
    "COLLATION",
    "CONVERSION",
    "DOMAIN",
    "EXTENSION",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "INDEX",
    "LANGUAGE",
    "MATERIALIZED VIEW",
    "OPERATOR",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "POLICY",
    "PROCEDURE",
    "PUBLICATION",
    "ROUTINE",
    "RULE",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "TABLE",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "TRIGGER",
    "TYPE",
    "USER MAPPING",
    "VIEW",
)

#: tags of the commands that are carried out; every other one closes the window
CARRIED_OUT: Final = frozenset({
    *(f"{verb} {what}" for verb in ("CREATE", "ALTER", "DROP") for what in _MADE_CHANGED_DROPPED),
    "ALTER DEFAULT PRIVILEGES",
    "COMMENT",
    "CREATE ACCESS METHOD",
    "CREATE CAST",
    "CREATE TABLE AS",
    "CREATE TRANSFORM",
    "DROP ACCESS METHOD",
    "DROP CAST",
    "DROP TRANSFORM",
    "GRANT",
    "REFRESH MATERIALIZED VIEW",
    "REVOKE",
    "SECURITY LABEL",
    "SELECT INTO",
})

_OUTSIDE: Final = "it reaches outside the database"
#: why a known kind of command is not
_REFUSED: Final = {
    "ALTER LARGE OBJECT": "large objects are restored as of the full backup",
    "ALTER SUBSCRIPTION": "a copy must not connect to where the original was replicated from",
    "CREATE SUBSCRIPTION": "a copy must not connect to where the original was replicated from",
    "DROP OWNED": "what it does depends on all that its roles own and were granted",
    "DROP SUBSCRIPTION": "a copy must not connect to where the original was replicated from",
    "IMPORT FOREIGN SCHEMA": "what it makes depends on another server",
    "REASSIGN OWNED": "what it does depends on all that its roles own",
}
_SHARED: Final = frozenset({
    "OBJECT_DATABASE",
    "OBJECT_EVENT_TRIGGER",
    "OBJECT_PARAMETER_ACL",
    "OBJECT_ROLE",
    "OBJECT_SUBSCRIPTION",
    "OBJECT_TABLESPACE",
})


def refusal_of_tag(tag: str) -> str | None:
    """Return why commands of this tag are not carried out; None: they are."""
    if tag in CARRIED_OUT:
        return None
    return _REFUSED.get(tag, f"no command of the kind {tag} is known to be exact at a replay")


def refusal_of_statement(node: Node) -> str | None:
    """Return why this statement is not carried out, though others of its tag are."""
    name = kind(node)
    if name == "AlterTableMoveAllStmt":
        return _OUTSIDE + ": what it moves depends on who owns it where"
    if name == "AlterExtensionStmt":
        return (
            "the script of an extension's new version may have changed rows, which are in the log "
            "as well"
        )
    for field in ("objtype", "objectType", "renameType"):
        value = getattr(node, field, None)
        if value is not None and enum_name(value) in _SHARED:
            return _OUTSIDE
    return None


def leaves_no_trace(node: Node) -> bool:
    """Return whether a replay has nothing to do: no definition and no row changes.

    Large objects are restored as of the full backup, and so is what is said of them.
    """
    return (
        kind(node) in {"CommentStmt", "SecLabelStmt", "GrantStmt"}
        and enum_name(node.objtype) == "OBJECT_LARGEOBJECT"
    )
