"""What the jobs need of the world: a vault, a stream of changes, a clock, progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from include.respaldo.model.lsn import Lsn


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it."""

    key: str
    size: int
    modified_at: datetime
    #: what the store calls these bytes, without quotes; two that are equal mean the same bytes,
    #: two that differ need not mean others; "": it says nothing
    etag: str = field(default="", compare=False)


@dataclass(frozen=True)
class Recorded:
    """What a store keeps of an object's bytes, in hexadecimal; "" where it keeps nothing.

    :ivar sha256: the digest that was checked when the object was written.
    :ivar md5: of the bytes as they are stored.
    """

    sha256: str = ""
    md5: str = ""


class Vault(Protocol):
    """A write-once store in one region.

    Promises: an object appears whole or not at all; nothing is overwritten; `put` and `copy_from`
    of the same bytes under the same key succeed again (a crash may repeat them); every method
    raises `VaultUnreachable` where trying later can help, and only then.
    """

    @property
    def region(self) -> str:
        """Short name for people: ``primary`` or ``replica``, and in messages."""

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix`` or ``memory://name``; holds no secret."""

    def put(self, key: str, data: bytes | Path, *, sha256: str) -> None:
        """Store bytes, or a file of any size in bounded memory.

        The store checks the digest of what it received.

        :param sha256: hexadecimal digest of all the bytes; what is stored has it.
        :raises KeyTaken: other bytes stand under the key.
        :raises CorruptObject: the bytes offered do not have this digest.
        """

    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Return a reader of the object's bytes from its beginning (``read(n)``), not verified.

        :raises KeyNotFound: no such object.
        """

    def read(self, key: str) -> bytes:
        """Return a small object's bytes, not verified.

        :raises KeyNotFound: no such object.
        """

    def download(self, key: str, to: Path, *, sha256: str) -> None:
        """Write the object to a file, in bounded memory, and check its digest.

        :raises KeyNotFound: no such object.
        :raises CorruptObject: the digest does not fit; `to` is removed.
        """

    def find(self, key: str) -> StoredObject | None:
        """Return the object, or None where there is none."""

    def recorded(self, key: str) -> Recorded:
        """Return what the store keeps of an object's bytes: asked for, nothing is downloaded.

        :raises KeyNotFound: no such object.
        """

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects below a prefix in the order of their keys, those past `after` only."""

    def copy_from(self, other: Vault, key: str, *, sha256: str) -> None:
        """Copy an object of another vault under the same key.

        Within one service the copy happens on the server's side; otherwise the bytes stream through
        here, in bounded memory. Digest and errors as in `put`.
        """

    def delete(self, key: str) -> None:
        """Remove an object; no error where there is none."""

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, in no particular order; no error where there is none."""

    def abort_incomplete(self, older_than: timedelta) -> int:
        """Discard uploads that were begun longer ago and never completed; return how many."""


class Progress(Protocol):
    """Where long work reports how far it is."""

    def step(self, message: str) -> None:
        """Say what is being done now, in words."""

    def advance(self, done: int, total: int | None, unit: str) -> None:
        """Report `done` of `total` (None: unknown) in ``bytes``, ``changes``, ``segments`` …"""


class Clock(Protocol):
    """The time, replaceable in tests."""

    def now(self) -> datetime:
        """Return the time now, aware."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One message of the output plugin."""

    data: bytes
    #: of the change that it tells, where that stands in the server's log
    position: Lsn


@dataclass(frozen=True, slots=True)
class Keepalive:
    """All that committed before `position` has been sent."""

    position: Lsn


class ChangeStream(Protocol):
    """The committed changes of one database from a position on, in commit order."""

    def read(self, timeout: float) -> list[Payload | Keepalive]:
        """Return what has arrived, in order; waits at most `timeout` seconds; may be empty.

        :raises ServerUnreachable: the connection broke.
        """

    def ask_position(self) -> None:
        """Ask the server for a `Keepalive` now."""

    def confirm(self, position: Lsn) -> None:
        """Tell the server that everything before `position` is safe: it may drop that log."""

    def close(self) -> None:
        """End the stream; the slot stays."""
