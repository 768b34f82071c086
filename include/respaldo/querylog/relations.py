"""The tables that a stream has described so far: it describes each only once."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from include.respaldo.model.sealed import canonical
from include.respaldo.model.segment import RelationDefinition
from include.respaldo.querylog.pgoutput import MalformedMessage


def relation_key(definition: RelationDefinition) -> str:
    """Return 16 hexadecimal digits that stand for this definition in a segment's rows."""
    return hashlib.sha256(canonical(definition.to_json())).hexdigest()[:16]


class KnownRelation(NamedTuple):
    """A table as the stream describes it at this point."""

    key: str
    definition: RelationDefinition


class RelationMap:
    """What a stream has said of its tables; lives as long as the stream, over many segments."""

    def __init__(self) -> None:
        self._known: dict[int, KnownRelation] = {}

    def learn(self, definition: RelationDefinition) -> None:
        """Take the definition as that of its table from here on."""
        self._known[definition.oid] = KnownRelation(relation_key(definition), definition)

    def __getitem__(self, oid: int) -> KnownRelation:
        """:raises MalformedMessage: the stream has not described this table."""
        try:
            return self._known[oid]
        except KeyError:
            raise MalformedMessage(
                f"expected a change of a table described before, found table {oid}"
            ) from None

    def __len__(self) -> int:
        return len(self._known)
