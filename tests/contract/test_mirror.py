"""Reading from two regions while one is lost or damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.s3 import S3Server
from include.respaldo.errors import CorruptObject, KeyNotFound, VaultError, VaultUnreachable
from include.respaldo.model.sealed import seal, unseal
from include.respaldo.ports import StoredObject
from include.respaldo.vault import mirror as mirror_module
from include.respaldo.vault.digests import sha256_of
from include.respaldo.vault.memory import MemoryVault
from include.respaldo.vault.mirror import MirroredVault
from tests.contract.conftest import vault_of

MANIFEST = seal({"tenant": "acme"})
DUMP = b"a dump"


@pytest.fixture
def mirror() -> MirroredVault:
    """Two vaults with the same two objects."""
    vaults = MemoryVault("near", region="primary"), MemoryVault("far", region="replica")
    for vault in vaults:
        vault.put("b/manifest.json", MANIFEST, sha256=sha256_of(MANIFEST))
        vault.put("b/dump", DUMP, sha256=sha256_of(DUMP))
    return MirroredVault(*vaults)


def near(mirror: MirroredVault) -> MemoryVault:
    assert isinstance(mirror.primary, MemoryVault)
    return mirror.primary


def far(mirror: MirroredVault) -> MemoryVault:
    assert isinstance(mirror.replica, MemoryVault)
    return mirror.replica


def test_while_all_is_well_the_primary_is_read_and_nothing_is_noted(
    mirror: MirroredVault, tmp_path: Path
) -> None:
    far(mirror).reachable = False

    assert mirror.read_verified("b/manifest.json", unseal) == {"tenant": "acme"}
    mirror.download("b/dump", tmp_path / "dump", sha256=sha256_of(DUMP))

    assert [o.key for o in mirror.list("b/")] == ["b/dump", "b/manifest.json"]
    assert (tmp_path / "dump").read_bytes() == DUMP
    assert mirror.notes == []


def test_an_unreachable_primary_is_replaced_by_the_replica_and_said_once(
    mirror: MirroredVault, tmp_path: Path
) -> None:
    near(mirror).reachable = False

    assert [o.key for o in mirror.list("b/", after="b/dump")] == ["b/manifest.json"]
    assert mirror.read_verified("b/manifest.json", unseal) == {"tenant": "acme"}
    mirror.download("b/dump", tmp_path / "dump", sha256=sha256_of(DUMP))
    assert mirror.find("b/dump") is not None

    assert mirror.notes == [
        "the primary vault (memory://near) is unreachable: the replica was used"
    ]
    assert mirror.used_replica


def test_a_damaged_object_is_read_from_the_replica(mirror: MirroredVault, tmp_path: Path) -> None:
    near(mirror).tamper("b/manifest.json")
    near(mirror).tamper("b/dump")

    assert mirror.read_verified("b/manifest.json", unseal) == {"tenant": "acme"}
    mirror.download("b/dump", tmp_path / "dump", sha256=sha256_of(DUMP))

    assert (tmp_path / "dump").read_bytes() == DUMP
    assert mirror.notes == [
        "b/manifest.json is damaged in the primary vault (memory://near): "
        "the replica's copy was used",
        "b/dump is damaged in the primary vault (memory://near): the replica's copy was used",
    ]


def test_an_object_missing_in_the_primary_is_read_from_the_replica(mirror: MirroredVault) -> None:
    near(mirror).delete("b/manifest.json")

    assert mirror.read_verified("b/manifest.json", unseal) == {"tenant": "acme"}
    assert "is missing in the primary vault" in mirror.notes[0]


def test_what_is_damaged_in_both_regions_is_refused(mirror: MirroredVault, tmp_path: Path) -> None:
    near(mirror).tamper("b/dump")
    far(mirror).tamper("b/dump")

    with pytest.raises(CorruptObject, match="either vault"):
        mirror.download("b/dump", tmp_path / "dump", sha256=sha256_of(DUMP))

    assert not (tmp_path / "dump").exists()


def test_what_is_in_neither_region_is_missing(mirror: MirroredVault) -> None:
    with pytest.raises(KeyNotFound, match="primary"):
        mirror.read_verified("b/other", json.loads)
    assert mirror.find("b/other") is None


def test_a_lost_primary_is_left_alone_for_a_while_then_asked_again(
    mirror: MirroredVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    near(mirror).reachable = False
    assert mirror.find("b/dump") is not None
    assert mirror.primary_lost is not None

    near(mirror).reachable = True
    far(mirror).reachable = False
    with pytest.raises(VaultUnreachable, match=r"memory://near.*memory://far"):
        mirror.find("b/dump")

    monkeypatch.setattr(mirror_module, "ASK_AGAIN_AFTER", 0.0)
    far(mirror).reachable, near(mirror).reachable = True, False
    again = MirroredVault(near(mirror), far(mirror))
    assert again.find("b/dump") is not None
    near(mirror).reachable, far(mirror).reachable = True, False
    assert again.find("b/dump") is not None
    assert again.primary_lost is None


def test_what_only_a_lost_region_may_have_can_be_tried_again(mirror: MirroredVault) -> None:
    near(mirror).tamper("b/manifest.json")
    far(mirror).reachable = False

    with pytest.raises(VaultUnreachable, match="replica"):
        mirror.read_verified("b/manifest.json", unseal)


def test_two_lost_regions_are_both_named(mirror: MirroredVault) -> None:
    near(mirror).reachable = far(mirror).reachable = False

    with pytest.raises(VaultUnreachable, match=r"memory://near.*memory://far"):
        list(mirror.list("b/"))
    with pytest.raises(VaultUnreachable, match=r"memory://near.*memory://far"):
        mirror.read_verified("b/manifest.json", unseal)


@pytest.mark.parametrize(
    ("error", "said"),
    [(VaultUnreachable("cut"), "is unreachable"), (VaultError("no"), "cannot be used")],
)
def test_a_primary_lost_in_the_middle_of_a_listing_is_continued_by_the_replica(
    mirror: MirroredVault,
    monkeypatch: pytest.MonkeyPatch,
    error: VaultError | VaultUnreachable,
    said: str,
) -> None:
    whole = list(mirror.list("b/"))

    def broken(prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        yield whole[0]
        raise error

    monkeypatch.setattr(mirror.primary, "list", broken)

    assert [o.key for o in mirror.list("b/")] == [o.key for o in whole]
    assert said in mirror.notes[0]


def test_a_stopped_region_is_replaced_by_the_other(tmp_path: Path) -> None:
    with S3Server(tmp_path / "near") as one, S3Server(tmp_path / "far") as two:
        primary = vault_of(one, "primary-1")
        replica = vault_of(two, "replica-1", "replica")
        primary.put("k", MANIFEST, sha256=sha256_of(MANIFEST))
        replica.copy_from(primary, "k", sha256=sha256_of(MANIFEST))
        one.stop()
        mirror = MirroredVault(primary, replica)

        assert [o.key for o in mirror.list("")] == ["k"]
        assert mirror.read_verified("k", unseal) == {"tenant": "acme"}
        assert mirror.notes == [
            "the primary vault (s3://primary-1/kept) is unreachable: the replica was used"
        ]
        for vault in (primary, replica):
            vault.client.close()
