"""The objects that a statement names as what it makes, changes or drops.

A target is the end of an object's qualified name: ``("orders",)`` as well as ``("public",
"orders")``, or ``("orders", "a_trigger")``. It tells the statements of a string apart; it proves
nothing, as an unqualified name may mean another object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from include.respaldo.model.schema_change import CapturedCommand, ObjectAddress
from include.respaldo.querylog.ddl.command_tags import into_clause
from include.respaldo.querylog.ddl.syntax import Node, enum_name, is_node, kind

Name: TypeAlias = tuple[str, ...]

_QUOTED_PART: Final = re.compile(r'"((?:[^"]|"")*)"|([^".\[\]]+)')
#: objects of which a name has its access method before it
_WITH_METHOD: Final = {"OBJECT_OPCLASS", "OBJECT_OPFAMILY"}
#: objects of which several parts of a name stand apart: not worth telling them
_UNTOLD: Final = {
    "OBJECT_CAST",
    "OBJECT_DOMCONSTRAINT",
    "OBJECT_TRANSFORM",
    "OBJECT_USER_MAPPING",
    "OBJECT_LARGEOBJECT",
}


def _relation(node: Node, *more: str) -> Name:
    schema = (node.schemaname,) if node.schemaname else ()
    return (*schema, node.relname, *more)


def _name(value: Any) -> Name:
    """Return the name that a field holds, in whichever form the grammar left it there."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, tuple | list):
        return tuple(part for item in value for part in _name(item))
    if not is_node(value):
        return ()
    match kind(value):
        case "String":
            return (value.sval,)
        case "RangeVar":
            return _relation(value)
        case "TypeName":
            return _name(value.names)
        case "ObjectWithArgs":
            return _name(value.objname)
    return ()


def _of_type(object_type: Any, value: Any) -> Name | None:
    wanted = enum_name(object_type)
    if wanted in _UNTOLD:
        return None
    name = _name(value)
    return name[1:] if wanted in _WITH_METHOD else name


def _one(name: Name | None) -> list[Name] | None:
    return [name] if name else None


def _index(node: Node) -> list[Name] | None:
    if not node.idxname:
        return None  # the server made a name up
    schema = (node.relation.schemaname,) if node.relation.schemaname else ()
    return [(*schema, node.idxname)]


def _renamed(node: Node) -> list[Name] | None:
    renamed = enum_name(node.renameType)
    if renamed in {"OBJECT_DOMCONSTRAINT"} | _UNTOLD:
        return None
    if node.relation is not None:
        base = _relation(node.relation)
        if node.subname is not None:
            return [(*base, node.newname), base]
        return [(*base[:-1], node.newname)]
    name = _of_type(node.renameType, node.object)
    return [(*name[:-1], node.newname)] if name else None


def _moved(node: Node) -> list[Name] | None:
    name = _name(node.relation) or _of_type(node.objectType, node.object)
    return [(node.newschema, name[-1]), (name[-1],)] if name else None


def _owned(node: Node) -> list[Name] | None:
    return _one(_name(node.relation) or _of_type(node.objectType, node.object))


def _dropped(node: Node) -> list[Name] | None:
    names = [_of_type(node.removeType, item) for item in node.objects]
    return None if None in names else [n for n in names if n]


def _granted(node: Node) -> list[Name] | None:
    if enum_name(node.targtype) != "ACL_TARGET_OBJECT":
        return None
    return [n for n in (_name(item) for item in node.objects) if n] or None


def _depends(node: Node) -> list[Name] | None:
    return _one((*_name(node.relation), *_name(node.object)))


def _schema(node: Node) -> list[Name] | None:
    name = node.schemaname or (node.authrole.rolename if node.authrole else None)
    return _one((name,) if name else None)


def _field(*path: str) -> Callable[[Node], list[Name] | None]:
    """Return a finder of the name that stands in one field, or in fields one below the other."""

    def find(node: Node) -> list[Name] | None:
        value = node
        for field in path:
            value = getattr(value, field)
            if value is None:
                return None
        return _one(_name(value))

    return find


_FINDERS: Final[dict[str, Callable[[Node], list[Name] | None]]] = {
    "AlterCollationStmt": _field("collname"),
    "AlterDomainStmt": _field("typeName"),
    "AlterEnumStmt": _field("typeName"),
    "AlterExtensionContentsStmt": _field("extname"),
    "AlterExtensionStmt": _field("extname"),
    "AlterFdwStmt": _field("fdwname"),
    "AlterForeignServerStmt": _field("servername"),
    "AlterFunctionStmt": _field("func"),
    "AlterObjectDependsStmt": _depends,
    "AlterObjectSchemaStmt": _moved,
    "AlterOpFamilyStmt": _field("opfamilyname"),
    "AlterOperatorStmt": _field("opername"),
    "AlterOwnerStmt": _owned,
    "AlterPolicyStmt": lambda n: [_relation(n.table, n.policy_name)],
    "AlterSeqStmt": _field("sequence"),
    "AlterStatsStmt": _field("defnames"),
    "AlterTSConfigurationStmt": _field("cfgname"),
    "AlterTSDictionaryStmt": _field("dictname"),
    "AlterTableStmt": _field("relation"),
    "AlterTypeStmt": _field("typeName"),
    "CommentStmt": lambda n: _one(_of_type(n.objtype, n.object)),
    "CompositeTypeStmt": _field("typevar"),
    "CreateAmStmt": _field("amname"),
    "CreateConversionStmt": _field("conversion_name"),
    "CreateDomainStmt": _field("domainname"),
    "CreateEnumStmt": _field("typeName"),
    "CreateExtensionStmt": _field("extname"),
    "CreateFdwStmt": _field("fdwname"),
    "CreateForeignServerStmt": _field("servername"),
    "CreateForeignTableStmt": _field("base", "relation"),
    "CreateFunctionStmt": _field("funcname"),
    "CreateOpClassStmt": _field("opclassname"),
    "CreateOpFamilyStmt": _field("opfamilyname"),
    "CreatePLangStmt": _field("plname"),
    "CreatePolicyStmt": lambda n: [_relation(n.table, n.policy_name)],
    "CreatePublicationStmt": _field("pubname"),
    "CreateRangeStmt": _field("typeName"),
    "CreateSchemaStmt": _schema,
    "CreateSeqStmt": _field("sequence"),
    "CreateStatsStmt": _field("defnames"),
    "CreateStmt": _field("relation"),
    "CreateTableAsStmt": _field("into", "rel"),
    "CreateTrigStmt": lambda n: [_relation(n.relation, n.trigname)],
    "DefineStmt": _field("defnames"),
    "DropStmt": _dropped,
    "GrantStmt": _granted,
    "IndexStmt": _index,
    "RefreshMatViewStmt": _field("relation"),
    "RenameStmt": _renamed,
    "RuleStmt": lambda n: [_relation(n.relation, n.rulename)],
    "SecLabelStmt": lambda n: _one(_of_type(n.objtype, n.object)),
    "SelectStmt": lambda n: _one(_name(into_clause(n).rel)),  # type: ignore[union-attr]
    "ViewStmt": _field("view"),
}


def targets(node: Node) -> list[Name] | None:
    """Return what the statement names; None: that cannot be told."""
    finder = _FINDERS.get(kind(node))
    return finder(node) if finder else None


def makes_temporary(node: Node) -> bool:
    """Return whether the statement says itself that what it makes or changes is temporary."""
    match kind(node):
        case "CreateTableAsStmt":
            relation = node.into.rel
        case "SelectStmt":
            into = into_clause(node)
            relation = into.rel if into is not None else None
        case "CreateStmt" | "AlterTableStmt":
            relation = node.relation
        case "ViewStmt":
            relation = node.view
        case "CreateSeqStmt" | "AlterSeqStmt":
            relation = node.sequence
        case _:
            return False
    return relation is not None and (
        relation.relpersistence == "t" or relation.schemaname == "pg_temp"
    )


def split_name(text: str) -> Name:
    """Return the parts of a name as PostgreSQL quotes it: ``public."Mood"``."""
    return tuple(plain or quoted.replace('""', '"') for quoted, plain in _QUOTED_PART.findall(text))


def object_name(address: ObjectAddress) -> Name:
    """Return the parts of an object's name; a type's stand in one text."""
    if address.type == "type" and len(address.names) == 1:
        return split_name(address.names[0])
    return address.names


def touched_names(command: CapturedCommand) -> list[Name]:
    """Return the names of what the command itself touched; empty where PostgreSQL tells none."""
    own = [o for o in command.objects if o.tag == command.tag] or list(command.objects)
    names: Iterable[Name] = [
        *(object_name(o.address) for o in own),
        *(object_name(d.address) for d in command.dropped if d.original),
    ]
    return [n for n in names if n]


def fits(command: CapturedCommand, tag: str | None, node: Node) -> bool:
    """Return whether the command can be the statement."""
    if tag != command.tag or makes_temporary(node):
        return False
    named, touched = targets(node), touched_names(command)
    if named is None or not touched:
        return True
    return any(t[-len(n) :] == n for n in named for t in touched)
