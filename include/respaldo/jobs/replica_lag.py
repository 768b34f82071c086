"""What the replica vault did not take yet of a server's query logs: archiving goes on without it.

The primary holds it, so it can be copied when the replica answers again. What an earlier process
left behind is found by comparing listings.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo.errors import CorruptObject, VaultError, VaultUnreachable
from include.respaldo.model import keys
from include.respaldo.model.sealed import unseal

if TYPE_CHECKING:
    from include.respaldo.vault.mirror import MirroredVault

log = logging.getLogger(__name__)

#: a replica that did not answer is not asked again for this many seconds
_ASK_AGAIN_AFTER = 15.0


class ReplicaLag:
    """Keys that the primary vault has and the replica lacks; safe for threads."""

    def __init__(self, vaults: MirroredVault) -> None:
        self._vaults = vaults
        self._lock = threading.Lock()
        #: in the order in which they were written
        self._lacking: dict[str, None] = {}
        #: key -> why the replica, or the primary's copy, does not allow it
        self._refused: dict[str, str] = {}
        self._silent_until = 0.0
        self._why = ""

    def __len__(self) -> int:
        return len(self._lacking)

    @property
    def note(self) -> str | None:
        """What people should know; None while the replica has everything."""
        if self._refused:
            key, why = next(iter(self._refused.items()))
            return f"the replica vault lacks {len(self._refused)} objects, {key} for one: {why}"
        if self._lacking:
            return (
                f"the replica vault lags behind by {len(self)} objects, and is caught up with "
                f"when it answers again: {self._why}"
            )
        return None

    def put(self, key: str, data: bytes | Path, *, sha256: str) -> None:
        """Store in the replica what the primary has already; or remember that it lacks it."""
        if time.monotonic() >= self._silent_until:
            try:
                self._vaults.replica.put(key, data, sha256=sha256)
            except (VaultUnreachable, VaultError) as error:
                self._silence(error)
            else:
                return
        with self._lock:
            self._lacking[key] = None

    def compare(self, prefix: str, written: Iterable[str], *, after: str = "") -> None:
        """Remember what the replica lacks of the keys below a prefix (past `after`)."""
        try:
            there = {o.key for o in self._vaults.replica.list(prefix, after=after)}
        except (VaultUnreachable, VaultError) as error:
            # how much it lacks is not known: the next process compares again
            self._silence(error)
            return
        with self._lock:
            self._lacking |= dict.fromkeys(key for key in written if key not in there)

    def catch_up(self, within: float) -> None:
        """Copy what the replica lacks, for at most so many seconds."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and time.monotonic() >= self._silent_until:
            with self._lock:
                key = next(iter(self._lacking), None)
            if key is None:
                return
            try:
                self._copy(key)
            except VaultUnreachable as error:
                self._silence(error)
                return
            except VaultError as error:
                log.warning("the replica vault does not take %s: %s", key, error.message)
                self._refused[key] = error.message
            with self._lock:
                self._lacking.pop(key, None)

    def _copy(self, key: str) -> None:
        primary, replica = self._vaults.primary, self._vaults.replica
        segment = keys.parse_segment_key(key)
        if segment is not None:
            replica.copy_from(primary, key, sha256=segment.sha256)
            return
        data = primary.read(key)
        try:
            unseal(data)
        except ValueError as error:
            raise CorruptObject(f"the primary's copy is damaged: {error}") from error
        replica.put(key, data, sha256=sha256(data).hexdigest())

    def _silence(self, error: VaultUnreachable | VaultError) -> None:
        log.warning("the replica vault lags: %s", error.message)
        self._why = error.message
        self._silent_until = time.monotonic() + _ASK_AGAIN_AFTER
