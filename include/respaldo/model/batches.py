"""Batches of sources: big ones alone, small ones together; the unit that one task works on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from include.respaldo.model.backup import Category, Source


@dataclass(frozen=True)
class Batch:
    """Sources of one server that are backed up by the same task, one after the other."""

    number: int
    backup_id: str
    sources: tuple[Source, ...]
    #: estimated bytes of all of them
    size: int

    @property
    def label(self) -> str:
        """What a person sees of it: the name of a lone source, else the first and how many more."""
        first = self.sources[0]
        more = len(self.sources) - 1
        return f"{first} (+{more} more)" if more else str(first)

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "backup_id": self.backup_id,
            "sources": [[s.category.value, s.server, s.name] for s in self.sources],
            "size": self.size,
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> Batch:
        return cls(
            number=d["number"],
            backup_id=d["backup_id"],
            sources=tuple(Source(Category(c), s, n) for c, s, n in d["sources"]),
            size=d["size"],
        )


def pack(
    sizes: Iterable[tuple[Source, int]], backup_id: str, *, batch_size: int, batch_sources: int
) -> tuple[Batch, ...]:
    """Pack sources into batches of at most `batch_size` bytes and `batch_sources` sources.

    Big ones first, so that the longest work starts first; a source larger than `batch_size` is
    alone. Sources of different servers never share a batch. The same input gives the same batches.
    """
    open_batches: list[tuple[list[Source], int]] = []
    by_size = sorted(sizes, key=lambda item: (-item[1], item[0]))
    for source, size in by_size:
        for i, (members, total) in enumerate(open_batches):
            fits = total + size <= batch_size and len(members) < batch_sources
            if fits and members[0].server == source.server:
                members.append(source)
                open_batches[i] = (members, total + size)
                break
        else:
            open_batches.append(([source], size))
    return tuple(
        Batch(number, backup_id, tuple(members), total)
        for number, (members, total) in enumerate(open_batches)
    )
