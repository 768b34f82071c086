"""Positions in PostgreSQL's write-ahead log."""

from __future__ import annotations

import re

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


class Lsn(int):
    """A log sequence number: a byte position in the write-ahead log, shown as ``16/B374D848``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """Return the position that PostgreSQL writes as ``text``.

        :raises ValueError: `text` is not of the form ``X/Y`` in hexadecimal.
        """
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"not a log sequence number (like 16/B374D848): {text!r}")
        return cls(int(match[1], 16) << 32 | int(match[2], 16))

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits: sorts as text in log order."""
        return f"{int(self):016X}"

    def __str__(self) -> str:
        return f"{int(self) >> 32:X}/{int(self) & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn({str(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
