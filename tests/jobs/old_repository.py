"""A repository that behaves as restic's does, over the objects of `old_trees`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from include.respaldo.errors import Busy, CorruptObject
from include.respaldo.filetree.restic import SnapshotInfo
from include.respaldo.model import keys
from include.respaldo.model.backup import Category
from include.respaldo.ports import Vault
from tests.jobs.old_trees import named


@dataclass
class OldRepository:
    """A snapshot holds one pack and one index of its own; prune writes all indexes anew.

    :ivar moments: snapshot -> when it was taken.
    """

    vault: Vault
    category: Category
    moments: dict[str, datetime]
    busy: bool = False
    done: list[str] = field(default_factory=list)

    def _objects(self, kind: str) -> dict[str, str]:
        """Return key -> what it holds, without the kind that its bytes begin with."""
        prefix = f"{keys.repository_prefix(self.category)}{kind}/"
        found = {o.key: self.vault.read(o.key).decode() for o in self.vault.list(prefix)}
        return {key: text.removeprefix(f"{kind} of ") for key, text in found.items()}

    def _reach(self, what: str) -> None:
        self.done.append(what)
        if self.busy:
            raise Busy("the repository is locked by somebody else")

    def unlock(self) -> None:
        self.done.append("unlock")

    def snapshots(self) -> list[SnapshotInfo]:
        there = [key.rpartition("/")[2] for key in self._objects("snapshots")]
        return [SnapshotInfo(s, self.moments[s], "local", (), ("/srv",)) for s in there]

    def forget(self, ids: Sequence[str]) -> None:
        self._reach("forget")
        prefix = keys.repository_prefix(self.category) + "snapshots/"
        self.vault.delete_all(prefix + snapshot for snapshot in ids)

    def prune(self) -> None:
        self._reach("prune")
        wanted = set(self._objects("snapshots").values())
        packs, indexes = self._objects("data"), self._objects("index")
        if not set(packs.values()) - wanted:
            return
        written = "\n".join(sorted(wanted)).encode()
        key = named(self.category, "index", b"index of " + written)
        self.vault.put(key, b"index of " + written, sha256=key.rpartition("/")[2])
        self.vault.delete_all(k for k in indexes if k != key)
        self.vault.delete_all(k for k, name in packs.items() if name not in wanted)

    def check(self) -> None:
        self._reach("check")
        for kind in ("data", "index", "snapshots"):
            for key in self._objects(kind):
                if sha256(self.vault.read(key)).hexdigest() != key.rpartition("/")[2]:
                    raise CorruptObject(f"{key} is damaged")
        indexed = {name for text in self._objects("index").values() for name in text.splitlines()}
        packs = set(self._objects("data").values())
        for name in self._objects("snapshots").values():
            if name not in indexed & packs:
                raise CorruptObject(f"no pack holds {name}")
