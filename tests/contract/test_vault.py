"""What every vault promises, on memory and on two independent S3 services."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.respaldo.errors import CorruptObject, KeyNotFound, KeyTaken
from include.respaldo.model.keys import encode_name
from include.respaldo.ports import Vault
from include.respaldo.vault.digests import sha256_of, sha256_of_file
from include.respaldo.vault.memory import MemoryVault
from include.respaldo.vault.s3 import S3Vault
from tests.contract.conftest import SWIFT_REGION

HELLO = b"hello"
ALL = timedelta(seconds=-2)  # Swift rounds the time an upload began up to whole seconds
NewVault = Callable[[str], Vault]


def put(vault: Vault, key: str, data: bytes) -> None:
    vault.put(key, data, sha256=sha256_of(data))


def keys(vault: Vault, prefix: str = "", after: str = "") -> list[str]:
    return [found.key for found in vault.list(prefix, after=after)]


def test_what_was_put_is_read_back(vault: Vault) -> None:
    put(vault, "a/hello", HELLO)

    assert vault.read("a/hello") == HELLO
    with vault.open("a/hello") as source:
        assert (source.read(2), source.read(), source.read(1)) == (b"he", b"llo", b"")
    found = vault.find("a/hello")
    assert found is not None
    assert (found.key, found.size) == ("a/hello", 5)
    assert abs(datetime.now(UTC) - found.modified_at) < timedelta(minutes=5)
    assert [(o.key, o.size) for o in vault.list("")] == [("a/hello", 5)]


def test_an_empty_object_is_an_object(vault: Vault) -> None:
    put(vault, "empty", b"")
    put(vault, "empty", b"")

    assert vault.read("empty") == b""


def test_the_same_bytes_can_be_put_again(vault: Vault) -> None:
    put(vault, "k", HELLO)
    first = vault.find("k")

    put(vault, "k", HELLO)

    assert vault.find("k") == first


@pytest.mark.parametrize("other", [b"other", b"longer than that"], ids=["same size", "longer"])
def test_other_bytes_under_a_taken_key_are_refused(vault: Vault, other: bytes) -> None:
    put(vault, "k", HELLO)

    with pytest.raises(KeyTaken, match="'k' holds 5 bytes"):
        put(vault, "k", other)

    assert vault.read("k") == HELLO


def test_bytes_without_the_digest_given_are_refused_and_leave_nothing(
    vault: Vault, big_file: Path
) -> None:
    wrong = sha256_of(b"something else")

    with pytest.raises(CorruptObject, match=wrong):
        vault.put("small", HELLO, sha256=wrong)
    with pytest.raises(CorruptObject, match=wrong):
        vault.put("big", big_file, sha256=wrong)

    assert keys(vault) == []
    assert vault.find("big") is None
    assert vault.abort_incomplete(ALL) == 0


def test_a_big_file_goes_there_and_back(vault: Vault, big_file: Path, tmp_path: Path) -> None:
    digest = sha256_of_file(big_file)

    vault.put("big", big_file, sha256=digest)
    vault.put("big", big_file, sha256=digest)

    vault.download("big", tmp_path / "back", sha256=digest)
    assert sha256_of_file(tmp_path / "back") == digest
    with pytest.raises(KeyTaken):
        put(vault, "big", HELLO)


def test_a_big_file_does_not_replace_a_small_object(vault: Vault, big_file: Path) -> None:
    put(vault, "k", HELLO)

    with pytest.raises(KeyTaken):
        vault.put("k", big_file, sha256=sha256_of_file(big_file))

    assert vault.read("k") == HELLO
    assert vault.abort_incomplete(ALL) == 0


def test_a_missing_object_is_said_to_be_missing(vault: Vault, tmp_path: Path) -> None:
    assert vault.find("no") is None
    with pytest.raises(KeyNotFound, match="'no'"):
        vault.read("no")
    with pytest.raises(KeyNotFound):
        vault.download("no", tmp_path / "no", sha256=sha256_of(b""))
    assert not (tmp_path / "no").exists()


def test_a_download_that_differs_from_its_digest_is_removed(vault: Vault, tmp_path: Path) -> None:
    put(vault, "k", HELLO)

    with pytest.raises(CorruptObject, match="'k'"):
        vault.download("k", tmp_path / "k", sha256=sha256_of(b"other"))

    assert not (tmp_path / "k").exists()


def test_a_listing_is_in_the_order_of_keys(vault: Vault) -> None:
    names = ["b/2", "b/10", "b/1", "b-", "b0", "a", "c/x/y", "b/é", "b/~", "b/Z"]
    for name in names:
        put(vault, name, HELLO)

    assert keys(vault) == sorted(names)
    assert keys(vault, "b/") == sorted(n for n in names if n.startswith("b/"))
    assert keys(vault, "b/", after="b/10") == ["b/2", "b/Z", "b/~", "b/é"]
    assert keys(vault, "b/", after="b/15") == ["b/2", "b/Z", "b/~", "b/é"]
    assert keys(vault, "nothing/") == []


def test_a_listing_of_many_pages_is_one(s3_vault: S3Vault) -> None:
    names = [f"p/{n:02}" for n in range(7)]
    for name in names:
        put(s3_vault, name, HELLO)

    def small_pages(params: dict[str, object], **_: object) -> None:
        params["MaxKeys"] = 2

    s3_vault.client.meta.events.register("before-parameter-build.s3.ListObjectsV2", small_pages)

    assert keys(s3_vault, "p/") == names
    assert keys(s3_vault, "p/", after="p/02") == names[3:]


@pytest.mark.parametrize(
    "name", ['we"ird; drop--$(x)', "100%", "%2e", "..", "a b+c", "naïve/Ж", "a&b=c?d#e"]
)
def test_odd_names_keep_their_place(vault: Vault, name: str) -> None:
    key = f"backups/tenant/{encode_name(name)}/manifest.json"

    put(vault, key, HELLO)

    assert vault.read(key) == HELLO
    assert keys(vault, "backups/tenant/") == [key]
    assert keys(vault, f"backups/tenant/{encode_name(name)}/") == [key]
    assert vault.find(key) is not None
    vault.delete(key)
    assert keys(vault) == []


def test_deleting_twice_is_no_error(vault: Vault) -> None:
    put(vault, "k", HELLO)

    vault.delete("k")
    vault.delete("k")

    assert vault.find("k") is None
    put(vault, "k", b"after a deletion the key is free")


@pytest.mark.parametrize("name", ["k", "ñ %2F&<x>", "a\nb"])
def test_many_are_deleted_and_others_stay(vault: Vault, name: str) -> None:
    for number in range(5):
        put(vault, f"{name}/{number}", HELLO)

    vault.delete_all(f"{name}/{number}" for number in (0, 2, 3, 7))
    vault.delete_all([])

    assert keys(vault) == [f"{name}/1", f"{name}/4"]


def leave_an_upload_behind(vault: Vault, key: str) -> None:
    """Begin an upload and send a part, as a process does that is killed then."""
    if isinstance(vault, MemoryVault):
        vault.begin_upload(key)
        return
    assert isinstance(vault, S3Vault)
    upload = vault.begin(key, sha256_of(HELLO))
    vault.client.upload_part(
        Bucket=vault.bucket, Key=vault.path(key), UploadId=upload, PartNumber=1, Body=HELLO
    )


def test_a_half_finished_upload_is_not_seen_and_is_discarded_when_old(vault: Vault) -> None:
    leave_an_upload_behind(vault, "half")

    assert vault.find("half") is None
    assert keys(vault) == []
    assert vault.abort_incomplete(timedelta(days=1)) == 0
    assert vault.abort_incomplete(ALL) == 1
    assert vault.abort_incomplete(ALL) == 0
    put(vault, "half", HELLO)


def is_atomic(vault: Vault) -> bool:
    """Return whether the service looks and writes in one step.

    Swift looks first: of two that write at the same instant both may be told that they won. The
    object is whole, and later writers are refused; see docs/decisions.
    """
    return not (isinstance(vault, S3Vault) and vault.client.meta.region_name == SWIFT_REGION)


def test_of_many_who_put_at_once_one_wins(vault: Vault) -> None:
    def attempt(number: int) -> bytes | None:
        data = b"writer %d" % number
        try:
            put(vault, "contested", data)
        except KeyTaken:
            return None
        return data

    with ThreadPoolExecutor(8) as pool:
        winners = [data for data in pool.map(attempt, range(16)) if data]

    assert vault.read("contested") in winners
    assert len(winners) == 1 or not is_atomic(vault)


def test_of_two_big_uploads_at_once_one_wins(vault: Vault, big_file: Path) -> None:
    other = big_file.with_name("other")
    other.write_bytes(big_file.read_bytes()[::-1])

    def attempt(path: Path) -> str | None:
        digest = sha256_of_file(path)
        try:
            vault.put("contested", path, sha256=digest)
        except KeyTaken:
            return None
        return digest

    with ThreadPoolExecutor(2) as pool:
        winners = [digest for digest in pool.map(attempt, [big_file, other]) if digest]

    assert sha256_of(vault.read("contested")) in winners
    assert len(winners) == 1 or not is_atomic(vault)
    assert vault.abort_incomplete(ALL) == 0


COPIES = [
    ("memory", "memory"),
    ("ministack", "ministack"),
    ("swift", "swift"),
    ("ministack", "ministack_far"),
    ("ministack", "swift"),
    ("swift", "ministack"),
    ("memory", "ministack"),
    ("ministack", "memory"),
]


@pytest.fixture(params=COPIES, ids=" to ".join)
def pair(request: pytest.FixtureRequest, new_vault: NewVault) -> tuple[Vault, Vault]:
    """Two vaults: of one service, and of different ones."""
    source, target = request.param
    return new_vault(source), new_vault(target)


def test_objects_are_copied_to_another_vault(pair: tuple[Vault, Vault], big_file: Path) -> None:
    source, target = pair
    digest = sha256_of_file(big_file)
    put(source, "a/%22small", HELLO)
    source.put("a/%22big", big_file, sha256=digest)

    for _ in range(2):
        target.copy_from(source, "a/%22small", sha256=sha256_of(HELLO))
        target.copy_from(source, "a/%22big", sha256=digest)

    assert target.read("a/%22small") == HELLO
    assert sha256_of(target.read("a/%22big")) == digest
    assert target.abort_incomplete(ALL) == 0


def test_a_copy_never_replaces_other_bytes(pair: tuple[Vault, Vault], big_file: Path) -> None:
    source, target = pair
    digest = sha256_of_file(big_file)
    put(source, "small", HELLO)
    source.put("big", big_file, sha256=digest)
    put(target, "small", b"other")
    put(target, "big", b"other")

    with pytest.raises(KeyTaken):
        target.copy_from(source, "small", sha256=sha256_of(HELLO))
    with pytest.raises(KeyTaken):
        target.copy_from(source, "big", sha256=digest)

    assert target.read("small") == target.read("big") == b"other"


def test_a_copy_of_bytes_without_their_digest_leaves_nothing(
    pair: tuple[Vault, Vault], big_file: Path
) -> None:
    source, target = pair
    wrong = sha256_of(b"something else")
    put(source, "small", HELLO)
    source.put("big", big_file, sha256=sha256_of_file(big_file))

    for key in ("small", "big"):
        with pytest.raises(CorruptObject, match=wrong):
            target.copy_from(source, key, sha256=wrong)
    with pytest.raises(KeyNotFound):
        target.copy_from(source, "missing", sha256=wrong)

    assert keys(target) == []
    assert target.abort_incomplete(ALL) == 0
