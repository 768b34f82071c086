"""The replica's repository: a mirror of objects, whole at every moment."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from include.respaldo.errors import Busy, CorruptObject, SourceError, VaultUnreachable
from include.respaldo.jobs.deployment import Silence
from include.respaldo.jobs.mirror_repository import mirror_repository
from include.respaldo.model import keys
from include.respaldo.model.backup import Category
from include.respaldo.ports import Vault
from include.respaldo.vault.memory import MemoryVault
from include.respaldo.vault.mirror import MirroredVault
from tests.jobs.old_trees import CONFIG, named

PREFIX = keys.repository_prefix(Category.FILES)


class Failing:
    """A vault that does not answer any more after so many copies."""

    def __init__(self, vault: Vault, copies: int) -> None:
        self._vault = vault
        self._left = copies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    def copy_from(self, other: Vault, key: str, *, sha256: str) -> None:
        self._count(lambda: self._vault.copy_from(other, key, sha256=sha256))

    def put(self, key: str, data: bytes, *, sha256: str) -> None:
        self._count(lambda: self._vault.put(key, data, sha256=sha256))

    def _count(self, act: Callable[[], None]) -> None:
        self._left -= 1
        if self._left < 0:
            raise VaultUnreachable("gone")
        act()


def put(vault: Vault, key: str, data: bytes) -> None:
    vault.put(key, data, sha256=sha256(data).hexdigest())


@pytest.fixture
def vaults() -> MirroredVault:
    """A primary with three days of a repository, each day's snapshot upon its own objects."""
    found = MirroredVault(MemoryVault("primary"), MemoryVault("replica"))
    put(found.primary, CONFIG, b"config")
    put(found.primary, PREFIX + "locks/" + "0" * 64, b"lock")
    for day in range(3):
        add_day(found.primary, day)
    return found


def add_day(vault: Vault, day: int) -> None:
    for kind in ("keys", "data", "index", "snapshots"):
        data = f"{kind} of day {day}".encode()
        put(vault, named(Category.FILES, kind, data), data)


def listing(vault: Vault) -> set[str]:
    return {o.key for o in vault.list(PREFIX) if "/locks/" not in o.key}


def assert_what_it_lists_is_whole(vault: Vault) -> None:
    found = listing(vault)
    for day in range(3):
        needed = [
            named(Category.FILES, kind, f"{kind} of day {day}".encode())
            for kind in ("snapshots", "keys", "index", "data")
        ]
        if needed[0] in found:
            assert {CONFIG, *needed} <= found
        if needed[2] in found:  # an index without its packs is no less of a lie
            assert needed[3] in found


@pytest.mark.parametrize("copies", range(14))
def test_a_replica_that_goes_away_at_any_copy_lists_no_snapshot_that_is_not_whole(
    vaults: MirroredVault, copies: int
) -> None:
    replica = vaults.replica
    vaults.replica = Failing(replica, copies)  # type: ignore[assignment]
    whole = copies >= 13
    if whole:
        mirror_repository(vaults, Category.FILES, Silence())
    else:
        with pytest.raises(VaultUnreachable):
            mirror_repository(vaults, Category.FILES, Silence())
    assert_what_it_lists_is_whole(replica)
    vaults.replica = replica
    mirror_repository(vaults, Category.FILES, Silence())
    assert listing(replica) == listing(vaults.primary)
    assert mirror_repository(vaults, Category.FILES, Silence()) == 0


def test_locks_are_never_copied_and_nothing_is_ever_removed(vaults: MirroredVault) -> None:
    mirror_repository(vaults, Category.FILES, Silence())
    assert vaults.replica.find(PREFIX + "locks/" + "0" * 64) is None
    old = named(Category.FILES, "data", b"data of day 0")
    vaults.primary.delete(old)
    mirror_repository(vaults, Category.FILES, Silence())
    assert vaults.replica.find(old) is not None


def test_a_prune_meanwhile_stops_the_copy_before_any_snapshot_and_a_retry_can_help(
    vaults: MirroredVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = named(Category.FILES, "data", b"data of day 1")
    listed = list(vaults.primary.list(PREFIX + "data/"))
    primary_list = vaults.primary.list
    vaults.primary.delete(pack)

    def list_as_before(prefix: str, *, after: str = "") -> Any:
        return iter(listed) if prefix.endswith("data/") else primary_list(prefix, after=after)

    monkeypatch.setattr(vaults.primary, "list", list_as_before)
    with pytest.raises(Busy, match="pruned"):
        mirror_repository(vaults, Category.FILES, Silence())
    assert not [key for key in listing(vaults.replica) if "/snapshots/" in key]


def test_a_damaged_pack_of_the_primary_is_not_copied_and_no_snapshot_is(
    vaults: MirroredVault,
) -> None:
    pack = named(Category.FILES, "data", b"data of day 1")
    vaults.primary.delete(pack)
    put(vaults.primary, pack, b"data of day X")
    with pytest.raises(CorruptObject):
        mirror_repository(vaults, Category.FILES, Silence())
    assert not [key for key in listing(vaults.replica) if "/snapshots/" in key]


def test_another_repository_in_the_replica_is_refused_and_left_alone(
    vaults: MirroredVault,
) -> None:
    put(vaults.replica, CONFIG, b"another")
    with pytest.raises(SourceError, match="another repository") as caught:
        mirror_repository(vaults, Category.FILES, Silence())
    assert "prefix of its own" in caught.value.hint
    assert listing(vaults.replica) == {CONFIG}
