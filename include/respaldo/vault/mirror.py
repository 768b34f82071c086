"""The two regions read as one: the primary vault, and the replica where that fails."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from include.respaldo.errors import (
    CorruptObject,
    KeyNotFound,
    VaultError,
    VaultUnreachable,
)
from include.respaldo.ports import StoredObject, Vault

T = TypeVar("T")

#: seconds for which a primary that did not answer is not asked again
ASK_AGAIN_AFTER = 30.0


class MirroredVault:
    """Reads verified bytes from whichever region has them.

    Once the primary was unreachable it is not asked again for half a minute: every question would
    wait for it.

    :ivar notes: sentences for people about what was not read from the primary, each once.
    """

    def __init__(self, primary: Vault, replica: Vault) -> None:
        self.primary = primary
        self.replica = replica
        self.notes: list[str] = []
        self._lost: VaultUnreachable | VaultError | None = None
        self._lost_until = 0.0

    @property
    def primary_lost(self) -> VaultUnreachable | VaultError | None:
        """Why the primary is not asked now; None: it is."""
        if self._lost is not None and time.monotonic() >= self._lost_until:
            self._lost = None
        return self._lost

    @property
    def used_replica(self) -> bool:
        """Whether anything was read from the replica."""
        return bool(self.notes)

    def read_verified(self, key: str, check: Callable[[bytes], T]) -> T:
        """Return what `check` makes of a small object's bytes.

        :param check: raises ValueError or CorruptObject where the bytes are damaged.
        :raises KeyNotFound: no region has it.
        :raises CorruptObject: no region has it whole.
        :raises VaultUnreachable: the region that may have it does not answer.
        """

        def read(vault: Vault) -> T:
            data = vault.read(key)
            try:
                return check(data)
            except ValueError as e:
                raise CorruptObject(f"{key!r} in {_name(vault)} is damaged: {e}") from e

        return self._from_either(key, read)

    def download(self, key: str, to: Path, *, sha256: str) -> None:
        """Write an object to a file and check its digest; errors as in `read_verified`."""
        self._from_either(key, lambda vault: vault.download(key, to, sha256=sha256))

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """Yield the primary's objects in the order of keys; the replica's where it is lost.

        A primary lost on the way is continued by the replica after the last key seen.

        :raises VaultUnreachable: neither answers.
        """
        last = after
        if self.primary_lost is None:
            try:
                for found in self.primary.list(prefix, after=after):
                    yield found
                    last = found.key
            except (VaultUnreachable, VaultError) as e:
                self._lose_primary(e)
            else:
                return
        with self._no_more():
            yield from self.replica.list(prefix, after=last)

    def list_either(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects that at least one region has, in the order of keys, each once.

        A region that does not answer is passed over.

        :raises VaultUnreachable: neither answers.
        """
        try:
            replica = list(self.replica.list(prefix))
        except VaultUnreachable as e:
            if self.primary_lost is not None:
                self._last_resort(lambda: iter(self.replica.list(prefix)))
            self._note(f"{_name(self.replica)} is unreachable: {e.message}")
            replica = []
        last = None
        for found in heapq.merge(self.list(prefix), replica, key=lambda o: o.key):
            if found.key != last:
                yield found
            last = found.key

    def find(self, key: str) -> StoredObject | None:
        """Return the object as the primary has it, or else the replica; None where none has it."""
        if self.primary_lost is None:
            try:
                found = self.primary.find(key)
            except (VaultUnreachable, VaultError) as e:
                self._lose_primary(e)
            else:
                if found is not None:
                    return found
        return self._last_resort(lambda: self.replica.find(key))

    def _from_either(self, key: str, read: Callable[[Vault], T]) -> T:
        if self.primary_lost is not None:
            return self._last_resort(lambda: read(self.replica))
        try:
            return read(self.primary)
        except VaultUnreachable as e:
            self._lose_primary(e)
            return self._last_resort(lambda: read(self.replica))
        except VaultError as first:
            try:
                result = read(self.replica)
            except KeyNotFound:
                raise first from None  # the primary's answer says more
            except CorruptObject as second:
                if isinstance(first, KeyNotFound):
                    raise
                raise CorruptObject(
                    f"{key!r} cannot be read whole from either vault: {first.message}; "
                    f"{second.message}",
                    hint="use another backup, and find out what damages the vaults",
                ) from second
            what = {KeyNotFound: "is missing", CorruptObject: "is damaged"}.get(
                type(first), "cannot be read"
            )
            self._note(f"{key} {what} in {_name(self.primary)}: the replica's copy was used")
            return result

    def _lose_primary(self, error: VaultUnreachable | VaultError) -> None:
        self._lost, self._lost_until = error, time.monotonic() + ASK_AGAIN_AFTER
        how = "is unreachable" if isinstance(error, VaultUnreachable) else "cannot be used"
        self._note(f"{_name(self.primary)} {how}: the replica was used")

    def _last_resort(self, read: Callable[[], T]) -> T:
        with self._no_more():
            return read()

    @contextmanager
    def _no_more(self) -> Iterator[None]:
        """Name both vaults when the replica does not answer either."""
        try:
            yield
        except VaultUnreachable as e:
            lost = self._lost
            if lost is None:
                raise
            raise VaultUnreachable(
                f"neither vault can be used: {lost.message}; {e.message}",
                hint="check the network of this machine; trying again can help",
            ) from e

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _name(vault: Vault) -> str:
    return f"the {vault.region} vault ({vault.uri})"
