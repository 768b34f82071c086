"""restic repositories in a folder and on an S3 server, and trees of all that a tree can hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from embedded.s3 import S3Server
from include.respaldo.connections import from_environment
from include.respaldo.filetree.location import RepositoryLocation
from include.respaldo.filetree.restic import Repository
from tests.restic_keys import make_folder, new_repository

PASSWORD = "the repository's password"
BUCKET = "trees"
AT = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
_numbers = count(1)


class Silent:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.done: list[tuple[int, int | None, str]] = []

    def step(self, message: str) -> None:
        self.steps.append(message)

    def advance(self, done: int, total: int | None, unit: str) -> None:
        self.done.append((done, total, unit))


@pytest.fixture
def progress() -> Silent:
    return Silent()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("s3")
    with S3Server(folder) as server:
        server.create_bucket(BUCKET)
        yield server
    shutil.rmtree(folder)


def on_s3(server: S3Server, prefix: str) -> RepositoryLocation:
    connection = from_environment("vault", {"AIRFLOW_CONN_VAULT": server.connection_uri()})
    return RepositoryLocation.s3(f"s3://{BUCKET}/kept", prefix, connection, PASSWORD)


@pytest.fixture(params=["folder", "s3"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    """A new repository, of each kind."""
    if request.param == "folder":
        make_folder(tmp_path / "repository", PASSWORD)
        location = RepositoryLocation.folder(tmp_path / "repository", PASSWORD)
    else:
        server, prefix = request.getfixturevalue("s3"), f"restic/number-{next(_numbers)}/"
        location = on_s3(server, prefix)
        client = server.client()
        for name, data in new_repository(PASSWORD).items():
            client.put_object(Bucket=BUCKET, Key=f"kept/{prefix}{name}", Body=data)
        client.close()
    return Repository(location, tmp_path / "cache")


@pytest.fixture
def local(tmp_path: Path) -> Repository:
    """A new repository in a folder."""
    make_folder(tmp_path / "repository", PASSWORD)
    location = RepositoryLocation.folder(tmp_path / "repository", PASSWORD)
    return Repository(location, tmp_path / "cache")


LONGEST = "ñ" * 127 + "x"  # 255 bytes


@pytest.fixture
def odd_tree(tmp_path: Path) -> Path:
    """A tree with everything that a tree can hold; needs root only for owners."""
    root = tmp_path / "odd tree"
    make_odd_tree(root)
    return root


def make_odd_tree(root: Path) -> None:
    root.mkdir()
    (root / "plain.txt").write_text("plain\n" * 1000)
    (root / "empty").touch()
    (root / "noise").write_bytes(os.urandom(200_000))
    folder = root / "folder"
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "file").write_text("below")
    (root / "folder-and").write_text("sorts between a folder and what is in it")
    (root / "a new\nline").write_text("1")
    (root / "star*[x]?\\$HOME").write_text("2")
    (root / " blanks ").write_text("3")
    (root / "#!-o").write_text("4")
    (root / LONGEST).write_text("5")
    odd = os.fsencode(root) + b"/not \xff\xfe utf-8"
    Path(os.fsdecode(odd)).mkdir()
    Path(os.fsdecode(odd + b"/\x80in")).write_text("6")
    (root / "link").symlink_to("plain.txt")
    (root / "dangling").symlink_to(b"nowhere \xff".decode(errors="surrogateescape"))
    (root / "link to folder").symlink_to("folder")
    os.link(root / "plain.txt", folder / "another name")
    os.mkfifo(root / "fifo", 0o620)
    with (root / "sparse").open("wb") as file:
        file.truncate(5_000_000)
        file.seek(2_000_000)
        file.write(b"in the middle")
    (root / "modes").write_text("x")
    (root / "modes").chmod(0o6751)
    folder.chmod(0o1770)
    os.setxattr(root / "noise", "user.note", b"a\0b")
    os.setxattr(folder, "user.folder", b"yes")
    if os.geteuid() == 0:
        os.chown(root / "plain.txt", 1234, 4321)
        os.chown(root / "link", 77, 78, follow_symlinks=False)
    long_ago = 981_173_106_123_456_789
    os.utime(root / "empty", ns=(long_ago, long_ago))
    os.utime(root / "link", ns=(long_ago, long_ago + 1), follow_symlinks=False)
    os.utime(folder, ns=(long_ago, long_ago + 2))
