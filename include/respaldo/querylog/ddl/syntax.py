"""PostgreSQL's own parser, and the only place that knows pglast: it comes without types.

Positions are characters of the text, not bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias, cast

from pglast import parse_sql, parser
from pglast.ast import Node as _Node
from pglast.error import Error

#: a node of a parse tree; its fields are those of PostgreSQL's parsenodes.h
Node: TypeAlias = Any

_COMMENTS = frozenset({"SQL_COMMENT", "C_COMMENT"})
#: what the grammar says of a word; of one that does not end, the scanner says something else
_MISPLACED = "syntax error at or near "
#: fields that say where in the text something stands
_POSITIONS = frozenset({
    "location",
    "arg_location",
    "list_start",
    "list_end",
    "rexpr_list_start",
    "rexpr_list_end",
    "stmt_location",
    "stmt_len",
    "name_location",
    "last_field_name_location",
})


class Unreadable(ValueError):
    """Text that the parser refuses.

    :param at: the word that fits nowhere after those before it; None: it is not that.
    """

    def __init__(self, reason: str, at: int | None = None) -> None:
        super().__init__(reason)
        self.at = at


class Token(NamedTuple):
    """One word, sign or literal; comments and blanks are none."""

    #: of its first character
    start: int
    #: behind its last one
    end: int
    #: ``CONCURRENTLY``, ``IDENT``, ``SCONST``, ``ASCII_59`` …
    name: str


def _checked(text: str) -> str:
    if "\0" in text:
        raise Unreadable("a character that no text can hold")
    return text


def split(text: str) -> list[str]:
    """Return the statements of a string, each as it is written, without what separates them.

    :raises Unreadable: the parser refuses the string.
    """
    try:
        slices = parser.split(_checked(text), only_slices=True)
    except parser.ParseError as e:
        reason, at = e.args
        raise Unreadable(str(e), at if reason.startswith(_MISPLACED) else None) from e
    except (Error, UnicodeError) as e:
        raise Unreadable(str(e)) from e
    return [text[s].strip() for s in slices]


def parse(text: str) -> Node:
    """Return the tree of a text that is one statement.

    :raises Unreadable: it is not.
    """
    try:
        trees = cast("tuple[Node, ...]", parse_sql(_checked(text)))
    except (Error, UnicodeError, RecursionError) as e:
        raise Unreadable(str(e)) from e
    if len(trees) != 1:
        raise Unreadable(f"expected one statement, found {len(trees)}")
    return trees[0].stmt


def tokens(text: str) -> list[Token]:
    """:raises Unreadable: the text cannot be cut into words."""
    try:
        found = parser.scan(_checked(text))
    except (Error, UnicodeError) as e:
        raise Unreadable(str(e)) from e
    return [Token(t.start, t.end + 1, t.name) for t in found if t.name not in _COMMENTS]


def kind(node: Node) -> str:
    """Return the name of the node's class, as in parsenodes.h."""
    return type(node).__name__


def is_node(value: object) -> bool:
    """Return whether the value is a node, not a list, a text, a number or nothing."""
    return isinstance(value, _Node)


def fields(node: Node) -> Iterator[tuple[str, Any]]:
    """Yield each field of the node with its value."""
    for name in node.__slots__:
        yield name, getattr(node, name)


def walk(tree: Node) -> Iterator[Node]:
    """Yield every node of the tree; its depth is no matter."""
    waiting: list[Any] = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, tuple | list):
            waiting += value
        elif isinstance(value, _Node):
            yield value
            waiting += [v for _, v in fields(value)]


def shape(value: Any, ignoring: frozenset[str] = frozenset()) -> Any:
    """Return what the tree means, without where its parts stand and without some fields."""
    if isinstance(value, tuple | list):
        return tuple(shape(v, ignoring) for v in value)
    if isinstance(value, _Node):
        skipped = _POSITIONS | ignoring
        return kind(value), *((n, shape(v, ignoring)) for n, v in fields(value) if n not in skipped)
    return value


def enum_name(value: Any) -> str:
    """Return the C name of an enumeration's value: ``OBJECT_TABLE``."""
    return str(value.name)
