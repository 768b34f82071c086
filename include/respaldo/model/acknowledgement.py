"""A person has looked at a suspicious backup: who, when, and what they found."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from include.respaldo.model.backup import Manifest
from include.respaldo.model.moments import iso, parse_iso
from include.respaldo.model.sealed import seal, unseal

FORMAT = "respaldo-acknowledged/1"


@dataclass(frozen=True)
class Acknowledgement:
    """What is stored beside the manifest, in both regions; written once."""

    backup_id: str
    by: str
    at: datetime
    note: str = ""

    def to_bytes(self) -> bytes:
        return seal({
            "format": FORMAT,
            "backup_id": self.backup_id,
            "by": self.by,
            "at": iso(self.at),
            "note": self.note,
        })

    @classmethod
    def from_bytes(cls, data: bytes) -> Acknowledgement:
        """:raises ValueError: damaged, or of an unknown format."""
        d = unseal(data)
        if d.get("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}, found {d.get('format')!r}")
        return cls(d["backup_id"], d["by"], parse_iso(d["at"]), d["note"])


def is_suspicious(backup: Manifest) -> bool:
    """Return whether something unusual changed in it."""
    return backup.tree is not None and bool(backup.tree.suspicions)


def unacknowledged(
    backups: Iterable[Manifest], acknowledged: Collection[str]
) -> tuple[Manifest, ...]:
    """Return the suspicious ones that nobody has looked at.

    :param acknowledged: ids of backups.
    """
    return tuple(b for b in backups if is_suspicious(b) and b.backup_id not in acknowledged)
