"""Where a replay stops. One rule, PostgreSQL's own: commits in the order of their log positions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.respaldo.model.lsn import Lsn
from include.respaldo.model.moments import iso


@dataclass(frozen=True)
class TargetTime:
    """Stop at the first commit, in log order, that is later than `at`.

    A commit at exactly `at` is included, as with ``recovery_target_inclusive = on``. Clocks may
    step back: a commit before `at` that follows one after it in the log is left out.
    """

    at: datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError(f"a time without an offset is no moment: {self.at.isoformat()!r}")

    def includes(self, lsn: Lsn, at: datetime) -> bool:  # noqa: ARG002 - one shape for all targets
        """Return whether replay goes on past the commit that is at position `lsn`."""
        return at <= self.at

    def __str__(self) -> str:
        return iso(self.at)


@dataclass(frozen=True)
class TargetLsn:
    """Stop after the commit whose record starts at `lsn`, or the last one before it."""

    lsn: Lsn

    @classmethod
    def before(cls, lsn: Lsn) -> TargetLsn:
        """Return the target that leaves out the commit at `lsn` and all that follow."""
        return cls(Lsn(lsn - 1))

    def includes(self, lsn: Lsn, at: datetime) -> bool:  # noqa: ARG002 - one shape for all targets
        """Return whether replay goes on past the commit that is at position `lsn`."""
        return lsn <= self.lsn

    def __str__(self) -> str:
        return f"position {self.lsn}"


Target = TargetTime | TargetLsn
