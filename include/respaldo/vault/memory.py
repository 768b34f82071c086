"""A vault in memory: for tests, and for trying things without a service."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from include.respaldo.errors import CorruptObject, KeyNotFound, KeyTaken, VaultUnreachable
from include.respaldo.ports import Recorded, StoredObject, Vault
from include.respaldo.vault.digests import check_digest, receive, sha256_of


class MemoryVault:
    """Keeps the promises of a vault for as long as the process lives.

    Set `reachable` to False to see what others do when a region is lost; `tamper` damages an
    object as a failing disk would.
    """

    def __init__(self, name: str = "vault", *, region: str = "primary") -> None:
        self.reachable = True
        self._name = name
        self._region = region
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        #: key -> digest when it was written
        self._written: dict[str, str] = {}
        self._incomplete: list[tuple[str, datetime]] = []
        self._lock = Lock()

    @property
    def region(self) -> str:
        return self._region

    @property
    def uri(self) -> str:
        return f"memory://{self._name}"

    def put(self, key: str, data: bytes | Path, *, sha256: str) -> None:
        self._reach()
        if isinstance(data, Path):
            data = data.read_bytes()
        check_digest(data, sha256, f"the bytes offered for {key!r}")
        with self._lock:
            standing = self._objects.setdefault(key, (data, datetime.now(UTC)))[0]
            self._written.setdefault(key, sha256)
        if standing != data:
            raise KeyTaken(
                f"the {self._region} vault ({self.uri}): {key!r} holds {len(standing)} bytes with "
                f"SHA-256 {sha256_of(standing)}, not the {len(data)} bytes offered with {sha256}",
                hint="a vault never overwrites; see what wrote that object",
            )

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        self._reach()
        if key not in self._objects:
            raise KeyNotFound(f"the {self._region} vault ({self.uri}) has no {key!r}")
        yield io.BytesIO(self._objects[key][0])

    def read(self, key: str) -> bytes:
        with self.open(key) as source:
            return source.read()

    def download(self, key: str, to: Path, *, sha256: str) -> None:
        with self.open(key) as source:
            receive(source, to, sha256, f"{key!r} in the {self._region} vault ({self.uri})")

    def find(self, key: str) -> StoredObject | None:
        self._reach()
        if key not in self._objects:
            return None
        return self._listed(key)

    def recorded(self, key: str) -> Recorded:
        self._reach()
        if key not in self._objects:
            raise KeyNotFound(f"the {self._region} vault ({self.uri}) has no {key!r}")
        return Recorded(self._written[key], _md5(self._objects[key][0]))

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        self._reach()
        # S3 sorts by the bytes of UTF-8, which is the order of code points
        for key in sorted(k for k in self._objects if k.startswith(prefix) and k > after):
            yield self._listed(key)

    def copy_from(self, other: Vault, key: str, *, sha256: str) -> None:
        self._reach()
        data = other.read(key)
        check_digest(data, sha256, f"{key!r} in the {other.region} vault ({other.uri})")
        self.put(key, data, sha256=sha256)

    def delete(self, key: str) -> None:
        self._reach()
        self._objects.pop(key, None)
        self._written.pop(key, None)

    def delete_all(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.delete(key)

    def abort_incomplete(self, older_than: timedelta) -> int:
        self._reach()
        limit = datetime.now(UTC) - older_than
        young = [(key, at) for key, at in self._incomplete if at > limit]
        aborted = len(self._incomplete) - len(young)
        self._incomplete = young
        return aborted

    # -- what goes wrong ----------------------------------------------------------------------

    def begin_upload(self, key: str) -> None:
        """Leave an upload behind that nobody completes."""
        self._incomplete.append((key, datetime.now(UTC)))

    def tamper(self, key: str, data: bytes | None = None) -> None:
        """Replace an object's bytes; without `data`, flip one bit in their middle."""
        old, at = self._objects[key]
        if data is None:
            if not old:
                raise CorruptObject(f"{key!r} is empty: no bit can be flipped")
            flipped = bytearray(old)
            flipped[len(old) // 2] ^= 1
            data = bytes(flipped)
        self._objects[key] = (data, at)

    def _listed(self, key: str) -> StoredObject:
        data, at = self._objects[key]
        return StoredObject(key, len(data), at, _md5(data))

    def _reach(self) -> None:
        if not self.reachable:
            raise VaultUnreachable(
                f"the {self._region} vault ({self.uri}) does not answer",
                hint="set reachable to True",
            )


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
