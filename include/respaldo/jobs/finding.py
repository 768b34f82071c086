"""What `check` says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass

from include.respaldo.errors import RespaldoError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    #: what was found, or what is wrong
    text: str
    ok: bool = True
    #: the next step, where it is not ok
    hint: str = ""

    @classmethod
    def of(cls, subject: str, error: RespaldoError) -> Finding:
        """Return what an error means for `check`."""
        return cls(subject, error.message, False, error.hint)
