"""What a transaction snapshot sees, and 64-bit transaction ids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

_EPOCH = 1 << 32


@dataclass(frozen=True)
class Snapshot:
    """A snapshot as ``pg_current_snapshot()`` writes it: ``xmin:xmax:xip_list``.

    Ids are full 64-bit ids (xid8). Source: PostgreSQL documentation, "Transaction ID and
    Snapshot Information Functions".
    """

    xmin: int
    xmax: int
    in_progress: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """:raises ValueError: `text` is not ``xmin:xmax:xid,xid,…``."""
        try:
            xmin, xmax, xip = text.split(":")
            ids = tuple(int(x) for x in xip.split(",") if x)
            return cls(int(xmin), int(xmax), ids)
        except ValueError as e:
            raise ValueError(f"not a snapshot (xmin:xmax:xip_list): {text!r}") from e

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.in_progress))}"

    @cached_property
    def _in_progress(self) -> frozenset[int]:
        return frozenset(self.in_progress)

    def sees(self, xid: int) -> bool:
        """Return whether the effects of the committed transaction `xid` (64 bits) are visible."""
        if xid < self.xmin:
            return True
        return xid < self.xmax and xid not in self._in_progress

    def includes(self, other: Snapshot) -> bool:
        """Return whether everything that `other` sees is visible here, too."""
        return self.xmax >= other.xmax and all(
            xid >= other.xmax or xid in other._in_progress for xid in self.in_progress
        )

    def both_see(self, other: Snapshot) -> Snapshot:
        """Return a snapshot that sees what both see."""
        xmax = min(self.xmax, other.xmax)
        running = self._in_progress | other._in_progress
        return Snapshot(
            min(self.xmin, other.xmin), xmax, tuple(sorted(xid for xid in running if xid < xmax))
        )

    def widen(self, xid32: int) -> int:
        """Return the 64-bit id of a 32-bit id that lies less than 2**31 ids from this snapshot.

        pgoutput sends 32-bit ids; PostgreSQL never lets ids in use be 2**31 or more apart.
        """
        near = self.xmax
        candidate = (near & ~(_EPOCH - 1)) | xid32
        if candidate - near > _EPOCH // 2:
            candidate -= _EPOCH
        elif near - candidate > _EPOCH // 2:
            candidate += _EPOCH
        return candidate if candidate >= 0 else candidate + _EPOCH

    def sees_xid32(self, xid32: int) -> bool:
        """Return `sees` of a 32-bit id near this snapshot."""
        return self.sees(self.widen(xid32))
