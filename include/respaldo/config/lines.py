"""YAML with the lines its values stand on, so that a mistake can be pointed at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Unreadable(Exception):
    """The text is no YAML.

    :param line: counted from 1.
    """

    line: int
    problem: str


class Document:
    """One YAML document: its plain value, and where each part of it is written.

    :raises Unreadable: the text is no YAML, or not made of plain values.
    """

    def __init__(self, text: str) -> None:
        try:
            loader = yaml.SafeLoader(text)
            root = loader.get_single_node()
            #: keys as they are written, before YAML merges and overwrites
            self.repeated = tuple(_repeated(root, ())) if root is not None else ()
            self.value: Any = loader.construct_document(root) if root is not None else None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            # Never the mark's own text: it quotes the file
            raise Unreadable(
                mark.line + 1 if mark else 1, error.problem or error.context or "not YAML"
            ) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise Unreadable(1, f"not YAML ({type(error).__name__})") from None
        self._root: yaml.Node | None = root

    def line(self, place: Sequence[str | int]) -> int:
        """Return the line where a value's key (or list item) stands, counted from 1.

        Where it is not written, that of the nearest part around it that is.
        """
        node, line = self._root, 1
        for step in place:
            found = _child(node, step)
            if found is None:
                break
            node, line = found
        return line


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):  # the last one wins, as in the value
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return value, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark.line + 1
    return None


def _repeated(node: yaml.Node, place: Place, depth: int = 0) -> Iterator[tuple[Place, int, int]]:
    """Yield (place, line, first line) of each key written a second time in its mapping."""
    if depth > 50:  # an alias may hold itself
        return
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in first:
                yield (*place, name), line, first[name]
            first.setdefault(name, line)
            yield from _repeated(value, (*place, name), depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _repeated(item, (*place, i), depth + 1)
