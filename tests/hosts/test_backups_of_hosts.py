"""Backups of what is not on this machine: hosts over SSH, and a bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.host import Host
from embedded.installation import BUCKET, Installation
from embedded.postgres import PostgresServer
from include.respaldo.errors import HostUnreachable, SomeFailed
from include.respaldo.filetree.file_list import read_list
from include.respaldo.filetree.verification import differences
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.take_backup import plan_batches, take_backup
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source, backup_id
from include.respaldo.model.file_tree import StoredTree


@pytest.fixture
def installation(
    host: Host, remote: Path, postgres: PostgresServer, tmp_path: Path
) -> Iterator[Installation]:
    """Everything of the host, and a bucket, is kept; no database is asked for anything."""
    root = host.root / remote.relative_to("/")
    for name in ("uploads", "erp"):
        (root / name).mkdir()
    (root / "uploads/ñ.txt").write_text("upload")
    (root / "uploads/ñ.txt").chmod(0o640)
    (root / "erp/VERSION").write_text("4.2\n")
    place = {"host": "web1"}
    folder = Path(tempfile.mkdtemp(prefix="respaldo-trees-", dir=tmp_path))
    made = Installation(
        folder,
        postgres=postgres,
        hosts={"web1": host},
        settings={
            "files": [
                {"name": "uploads", "path": str(remote / "uploads"), **place},
                {
                    "name": "images",
                    "bucket": f"s3://{BUCKET}/images",
                    "connection": "respaldo_vault_primary",
                },
            ],
            "applications": [
                {
                    "name": "erp",
                    "path": str(remote / "erp"),
                    "version": {"command": ["sed", "s/^/erp /", "VERSION"]},
                    **place,
                }
            ],
            "server_configuration": [{"host": "web1"}],
        },
    )
    with made:
        client = made.primary.client()
        for name in ("a.png", "folder/b.png"):
            client.put_object(Bucket=BUCKET, Key=f"images/{name}", Body=name.encode())
        client.close()
        yield made


def back_up(deployment: Deployment, category: Category) -> str:
    run = backup_id(deployment.clock.now())
    take_backup(deployment, plan_batches(deployment, category, run))
    return run


def tree(deployment: Deployment, source: Source, run: str) -> StoredTree:
    found = deployment.vaults.read_verified(keys.manifest_key(source, run), Manifest.from_bytes)
    assert found.tree is not None
    return found.tree


def assert_comes_back(deployment: Deployment, source: Source, run: str, to: Path) -> None:
    manifest = deployment.vaults.read_verified(keys.manifest_key(source, run), Manifest.from_bytes)
    assert manifest.tree is not None
    listed = to.with_suffix(".parquet")
    key = keys.backup_prefix(source, run) + keys.FILE_LIST
    deployment.vaults.download(key, listed, sha256=manifest.files[0].sha256)
    repository = deployment.repository(source.category, "replica")
    repository.restore(manifest.tree.snapshot, manifest.tree.root, [], to, deployment.progress)
    assert differences(read_list(listed), to) == []


def test_a_host_and_a_bucket_are_kept_whole_and_the_next_day_by_what_changed(
    installation: Installation, host: Host, remote: Path, tmp_path: Path
) -> None:
    uploads = Source(Category.FILES, "web1", "uploads")
    images = Source(Category.FILES, "respaldo_vault_primary", "images")
    erp = Source(Category.APPLICATIONS, "web1", "erp")
    system = Source(Category.SERVER_CONFIGURATION, "web1", "configuration")
    first: dict[Category, str] = {}
    for category in (Category.FILES, Category.APPLICATIONS, Category.SERVER_CONFIGURATION):
        first[category] = back_up(installation.deployment(), category)
    deployment = installation.deployment()
    for number, source in enumerate((uploads, images, erp, system)):
        run = first[source.category]
        assert_comes_back(deployment, source, run, tmp_path / f"restored {number}")
        assert tree(deployment, source, run).problem_counts == {}
    assert tree(deployment, images, first[Category.FILES]).files == 2
    assert tree(deployment, erp, first[Category.APPLICATIONS]).version == "erp 4.2"
    assert (tmp_path / "restored 0/ñ.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "restored 3/host.json").exists()

    changed = host.root / remote.relative_to("/") / "uploads/new.txt"
    changed.write_text("new")
    run = back_up(installation.deployment(), Category.FILES)
    found = tree(deployment, uploads, run).changes
    assert (found.added, found.modified, found.removed, found.unchanged) == (1, 0, 0, 1)
    assert_comes_back(deployment, uploads, run, tmp_path / "restored again")


def test_a_host_that_does_not_answer_fails_alone_and_a_retry_can_help(
    installation: Installation, host: Host
) -> None:
    host.stop()
    try:
        with pytest.raises(SomeFailed) as failed:
            back_up(installation.deployment(), Category.FILES)
    finally:
        host.start()
    assert set(failed.value.failures) == {"web1/uploads"}
    assert isinstance(failed.value.failures["web1/uploads"], HostUnreachable)
    assert failed.value.retry_can_help
    deployment = installation.deployment()
    source = Source(Category.FILES, "respaldo_vault_primary", "images")
    assert list(deployment.vaults.replica.list(keys.backups_prefix(source)))
