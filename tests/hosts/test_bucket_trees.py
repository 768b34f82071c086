"""A bucket's objects as files: by what changed, and with every object that no file can be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from embedded.s3 import S3Server
from include.respaldo.connections import Connection, from_environment
from include.respaldo.errors import SourceError, VaultError, VaultUnreachable
from include.respaldo.model.file_tree import Problem
from include.respaldo.vault.bucket_tree import fetch_prefix, put_file

_numbers = count(1)


class Taking:
    """Patterns that leave some out."""

    def __init__(self, *left_out: str) -> None:
        self._left_out = left_out

    def takes(self, relative: str, is_folder: bool) -> bool:
        return relative not in self._left_out


class Watch:
    """Progress that remembers."""

    done = 0

    def step(self, message: str) -> None:
        pass

    def advance(self, done: int, total: int | None, unit: str) -> None:
        self.done = done


class Shop:
    """A prefix with objects."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.client = server.client()
        self.bucket = f"shop-{next(_numbers)}"
        server.create_bucket(self.bucket)
        self.uri = f"s3://{self.bucket}/images"

    @property
    def connection(self) -> Connection:
        return from_environment("shop", {"AIRFLOW_CONN_SHOP": self.server.connection_uri()})

    def put(self, name: str, data: bytes = b"x", **more: Any) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"images/{name}", Body=data, **more)

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=f"images/{name}")

    def fetch(self, to: Path, patterns: Taking | None = None) -> tuple[dict[str, Problem], int]:
        watch = Watch()
        found = fetch_prefix(self.uri, self.connection, to, patterns or Taking(), progress=watch)
        assert len(found) == len({p.path for p in found})
        return {p.path: p.problem for p in found}, watch.done


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3") / "eu") as started:
        yield started


@pytest.fixture
def shop(server: S3Server) -> Iterator[Shop]:
    made = Shop(server)
    yield made
    made.client.close()


def files(to: Path) -> dict[str, bytes]:
    return {str(p.relative_to(to)): p.read_bytes() for p in to.rglob("*") if p.is_file()}


def test_every_object_below_the_prefix_arrives_and_none_beside_it(
    shop: Shop, tmp_path: Path
) -> None:
    names = ["a", "d/b", "d/e/c", "a b", 'say "x"', "$(x)", "ñ/é.jpg", "x" * 255, "e m/"]
    for name in names:
        shop.put(name, b"" if name.endswith("/") else name.encode())
    shop.client.put_object(Bucket=shop.bucket, Key="images-of-others/z", Body=b"z")
    to = tmp_path / "tree"
    assert shop.fetch(to)[0] == {}
    assert files(to) == {name: name.encode() for name in names if not name.endswith("/")}
    assert (to / "e m").is_dir()
    assert (to / "a").stat().st_mode & 0o777 == 0o600


def test_only_what_changed_travels_and_what_went_goes(shop: Shop, tmp_path: Path) -> None:
    to = tmp_path / "tree"
    for name in ("a", "b", "d/c", "d/e/f"):
        shop.put(name, b"first")
    assert shop.fetch(to)[1] == 20
    shop.put("a", b"other")  # of the same size, maybe in the same second
    shop.delete("d/c")
    shop.delete("d/e/f")
    assert shop.fetch(to) == ({}, 5)
    assert files(to) == {"a": b"other", "b": b"first"}
    assert [p.name for p in to.iterdir() if p.is_dir()] == []
    assert shop.fetch(to) == ({}, 0)


def test_what_was_touched_here_or_forgotten_is_brought_again(shop: Shop, tmp_path: Path) -> None:
    to = tmp_path / "tree"
    shop.put("a", b"right")
    shop.put("b", b"right")
    shop.fetch(to)
    (to / "a").write_bytes(b"wrong")
    (to / "stray").write_bytes(b"")
    assert shop.fetch(to) == ({}, 5)
    (tmp_path / "tree.objects").write_bytes(b"no database at all" * 100)
    assert shop.fetch(to) == ({}, 10)
    assert files(to) == {"a": b"right", "b": b"right"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tree", "tree.objects"]


def test_what_is_excluded_today_leaves_the_mirror(shop: Shop, tmp_path: Path) -> None:
    shop.put("a")
    shop.put("b")
    shop.fetch(tmp_path / "tree")
    shop.fetch(tmp_path / "tree", Taking("a"))
    assert files(tmp_path / "tree") == {"b": b"x"}


def test_an_object_whose_name_no_file_can_have_is_named_and_reaches_nothing(
    shop: Shop, tmp_path: Path
) -> None:
    bad = ["../up", "a/../../up", "d//x", "./x", "y" * 256]
    for name in [*bad, "fine"]:
        shop.put(name)
    problems, _ = shop.fetch(tmp_path / "deep" / "tree")
    # some services take such names for what they lead to, and do not keep them below the prefix
    kept = {
        entry["Key"].removeprefix("images/")
        for entry in shop.client.list_objects_v2(Bucket=shop.bucket, Prefix="images/")["Contents"]
    }
    assert kept & set(bad)
    assert problems == dict.fromkeys(kept & set(bad), Problem.UNREADABLE)
    assert files(tmp_path).keys() == {"deep/tree/fine", "deep/tree.objects"}


def test_an_object_within_another_one_s_name_is_named(shop: Shop, tmp_path: Path) -> None:
    to = tmp_path / "tree"
    shop.put("a/b/c", b"deep")
    assert shop.fetch(to)[0] == {}
    shop.put("a", b"file")
    if "images/a/b/c" not in {
        entry["Key"] for entry in shop.client.list_objects_v2(Bucket=shop.bucket)["Contents"]
    }:
        pytest.skip("this service cannot hold both")
    assert shop.fetch(to)[0] == {"a/b/c": Problem.UNREADABLE}
    assert files(to) == {"a": b"file"}
    shop.delete("a")
    assert shop.fetch(to)[0] == {}
    assert files(to) == {"a/b/c": b"deep"}


def test_what_an_owner_says_of_an_object_is_kept_and_put_back(shop: Shop, tmp_path: Path) -> None:
    shop.put("a.jpg", b"jpg", ContentType="image/jpeg", Metadata={"author": "ana"})
    to = tmp_path / "tree"
    shop.fetch(to)
    if os.getxattr(to / "a.jpg", "user.s3.ContentType") != b"image/jpeg":
        pytest.fail("the content type is lost")
    shop.delete("a.jpg")
    put_file(shop.uri, shop.connection, "a.jpg", to / "a.jpg")
    head = shop.client.head_object(Bucket=shop.bucket, Key="images/a.jpg")
    assert (head["ContentType"], head["Metadata"]) == ("image/jpeg", {"author": "ana"})
    assert shop.fetch(to)[0] == {}


def test_an_object_that_is_gone_when_it_is_read_is_named(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put("a")
    shop.put("z")

    class Deleting(Taking):
        def takes(self, relative: str, is_folder: bool) -> bool:
            if relative == "a":
                shop.delete("z")
            return True

    assert shop.fetch(tmp_path / "tree", Deleting())[0] == {"z": Problem.VANISHED}
    assert files(tmp_path / "tree") == {"a": b"x"}


def test_a_bucket_that_is_missing_is_an_error_and_takes_nothing_away(
    shop: Shop, tmp_path: Path
) -> None:
    shop.put("a")
    to = tmp_path / "tree"
    shop.fetch(to)
    shop.delete("a")
    shop.client.delete_bucket(Bucket=shop.bucket)
    with pytest.raises(VaultError, match="NoSuchBucket"):
        shop.fetch(to)
    assert files(to) == {"a": b"x"}


def test_a_service_that_stops_is_unreachable_and_the_next_run_goes_on(
    tmp_path: Path,
) -> None:
    with S3Server(tmp_path / "eu") as server:
        shop = Shop(server)
        for number in range(40):
            shop.put(f"{number:02}", b"x" * 10)

        class Stopping(Taking):
            def takes(self, relative: str, is_folder: bool) -> bool:
                if relative == "30":
                    server.stop()
                return True

        to = tmp_path / "tree"
        with pytest.raises(VaultUnreachable):
            shop.fetch(to, Stopping())
        before = len(files(to))
        server.start()
        problems, done = shop.fetch(to)
        assert problems == {}
        assert len(files(to)) == 40
        # what was under way when it stopped may have arrived without having been noted
        assert done <= (40 - before + 16) * 10
        shop.client.close()


def test_a_full_disk_is_told_with_sizes_and_the_next_step(shop: Shop, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine permits no mounts")
    try:
        shop.put("large", b"x" * 2_000_000)
        with pytest.raises(SourceError, match="is full") as caught:
            shop.fetch(small / "tree")
        assert "make room" in caught.value.hint
    finally:
        subprocess.run(["umount", str(small)], check=True)
