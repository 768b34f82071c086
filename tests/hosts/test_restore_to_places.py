"""Files brought back beside the original, where that is on a host or in a bucket."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded.host import Host
from embedded.s3 import S3Server
from include.respaldo.config import load_config
from include.respaldo.connections import Connection, from_environment
from include.respaldo.errors import RestoreFailed, RestoreRefused, VaultError
from include.respaldo.jobs import restore_sites
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.restore_files import plan, restore
from include.respaldo.jobs.take_backup import plan_batches, take_backup
from include.respaldo.model.backup import Category, Source, backup_id
from include.respaldo.model.tree_restore_plan import Destination, Place, TreeRestoreRequest
from include.respaldo.vault.bucket_restore import BucketWriter

_numbers = count(1)


class Vendor:
    """Files of one place, and two regions for their backups; one S3 server is both."""

    def __init__(self, folder: Path, server: S3Server, **environ: str) -> None:
        self.folder, self.server = folder, server
        self.number = next(_numbers)
        uri = server.connection_uri()
        self.environ = {
            "AIRFLOW_CONN_VAULT": uri,
            "AIRFLOW_CONN_SHOP": uri,
            "AIRFLOW_CONN_REPOSITORY": json.dumps({"conn_type": "generic", "password": "secret"}),
            **environ,
        }

    def configure(self, **sections: Any) -> None:
        buckets = [f"{region}-{self.number}" for region in ("eu", "us")]
        for bucket in buckets:
            self.server.create_bucket(bucket)
        (self.folder / "respaldo.yaml").write_text(
            yaml.safe_dump({
                "vaults": {
                    region: {"uri": f"s3://{bucket}", "connection": "vault"}
                    for region, bucket in zip(("primary", "replica"), buckets, strict=True)
                },
                "landing_zone": (self.folder / "landing").as_uri(),
                "scratch": str(self.folder / "scratch"),
                "time_zone": "Europe/Madrid",
                "servers": [{"name": "pg1", "connection": "pg1", "tenants": {"pattern": "*"}}],
                "repository": {"connection": "repository"},
                **sections,
            })
        )

    def deployment(self) -> Deployment:
        def lookup(conn_id: str) -> Connection:
            return from_environment(conn_id, self.environ)

        return Deployment(load_config(self.folder / "respaldo.yaml"), lookup)

    def back_up(self) -> None:
        deployment = self.deployment()
        run = backup_id(deployment.clock.now())
        take_backup(deployment, plan_batches(deployment, Category.FILES, run))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3") / "both") as started:
        yield started


def test_beside_the_original_on_its_host_with_owners_and_lost_folders(
    host: Host, remote: Path, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = host.root / str(remote).removeprefix("/") / "uploads"
    folder = root / "2026/11"
    folder.mkdir(parents=True)
    odd = folder / os.fsdecode(b"it's \xff $(x)\nodd.pdf")
    odd.write_bytes(b"odd")
    (folder / "a.pdf").write_text("a")
    (folder / "link").symlink_to("nowhere")
    for path, mode in ((folder, 0o2770), (odd, 0o4750), (root / "2026", 0o751)):
        os.chown(path, 1234, 5678)
        path.chmod(mode)
    os.utime(odd, ns=(1, 1_700_000_000_123_456_789))
    vendor = Vendor(tmp_path, server, AIRFLOW_CONN_WEB1=host.connection_uri())
    vendor.configure(
        hosts=[{"name": "web1", "connection": "web1"}],
        files=[{"name": "uploads", "host": "web1", "path": str(remote / "uploads")}],
    )
    vendor.back_up()
    source = Source(Category.FILES, "web1", "uploads")
    shutil.rmtree(root / "2026")

    planned = plan(vendor.deployment(), TreeRestoreRequest(source, ("2026/11",)))
    assert (planned.free or 0) > 0
    assert f"web1, {remote}/uploads" in planned.text
    assert not (root / "2026").exists()

    with monkeypatch.context() as patched:
        patched.setattr(restore_sites, "remote_differences", lambda *_, **__: ["a.pdf: differs"])
        with pytest.raises(RestoreFailed, match=r"what arrived on web1 differs: a\.pdf"):
            restore(vendor.deployment(), planned)
    assert list(root.iterdir()) == []
    assert [p.name for p in root.parent.iterdir()] == ["uploads"]

    restored = restore(vendor.deployment(), planned)
    (place,) = restored.places
    assert place == f"{remote}/uploads/2026/11.{planned.suffix}"
    found = host.root / place.removeprefix("/")
    assert {p.name for p in found.iterdir()} == {odd.name, "a.pdf", "link"}
    status = (found / odd.name).stat()
    assert (found / odd.name).read_bytes() == b"odd"
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o4750, 1234, 5678)
    assert status.st_mtime_ns == 1_700_000_000_123_456_789
    assert found.stat().st_mode & 0o7777 == 0o2770
    lost = (root / "2026").stat()
    assert (lost.st_mode & 0o7777, lost.st_uid, lost.st_gid) == (0o751, 1234, 5678)
    assert [p.name for p in root.parent.iterdir()] == ["uploads"]
    assert not list((tmp_path / "scratch").glob(".respaldo*"))

    assert "restored before" in restore(vendor.deployment(), planned).text
    (found / "a.pdf").write_text("other")
    with pytest.raises(RestoreRefused, match="something else"):
        restore(vendor.deployment(), planned)
    second = plan(vendor.deployment(), TreeRestoreRequest(source, ("2026/11", "2026/11/a.pdf")))
    assert second.suffix.startswith(f"{planned.suffix}_")

    whole = restore(vendor.deployment(), plan(vendor.deployment(), TreeRestoreRequest(source)))
    assert whole.places == (f"{remote}/uploads.{planned.suffix}",)
    there = host.root / whole.places[0].removeprefix("/")
    assert (there / "2026/11/a.pdf").read_text() == "a"


def test_in_its_bucket_with_what_was_known_of_the_object(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = server.client()
    server.create_bucket("shop")
    for key, kind in (("images/2026/a.jpg", "image/jpeg"), ("images/b.tar.gz", "application/x")):
        client.put_object(
            Bucket="shop", Key=key, Body=key.encode(), ContentType=kind, Metadata={"of": "ana"}
        )
    vendor = Vendor(tmp_path, server)
    vendor.configure(files=[{"name": "images", "bucket": "s3://shop/images", "connection": "shop"}])
    vendor.back_up()
    source = Source(Category.FILES, "shop", "images")

    def stored() -> dict[str, bytes]:
        listed = client.list_objects_v2(Bucket="shop").get("Contents", [])
        return {
            o["Key"]: client.get_object(Bucket="shop", Key=o["Key"])["Body"].read() for o in listed
        }

    before = stored()
    planned = plan(vendor.deployment(), TreeRestoreRequest(source, ("s3://shop/images/b.tar.gz",)))
    assert stored() == before
    (place,) = restore(vendor.deployment(), planned).places
    key = f"images/b.{planned.suffix}.tar.gz"
    assert place == f"s3://shop/{key}"
    answer = client.get_object(Bucket="shop", Key=key)
    assert answer["Body"].read() == b"images/b.tar.gz"
    assert (answer["ContentType"], answer["Metadata"]) == ("application/x", {"of": "ana"})
    assert restore(vendor.deployment(), planned).places == (place,)
    client.put_object(Bucket="shop", Key=key, Body=b"somebody's own")
    with pytest.raises(VaultError, match="another object"):
        restore(vendor.deployment(), planned)
    assert stored()[key] == b"somebody's own"
    with monkeypatch.context() as patched:  # it came after our look
        patched.setattr(BucketWriter, "_first", lambda *_: "")
        with pytest.raises(VaultError, match="another object"):
            restore(vendor.deployment(), planned)
    assert stored()[key] == b"somebody's own"

    whole = plan(vendor.deployment(), TreeRestoreRequest(source))
    (place,) = restore(vendor.deployment(), whole).places
    assert place == f"s3://shop/images.{whole.suffix}"
    found = {k for k in stored() if k.startswith("images.")}
    assert found == {f"images.{whole.suffix}/{n}" for n in ("2026/a.jpg", "b.tar.gz")}

    to = Destination(Place.FOLDER, str(tmp_path / "down"))
    request = TreeRestoreRequest(source, ("2026",), destination=to)
    (place,) = restore(vendor.deployment(), plan(vendor.deployment(), request)).places
    assert (Path(place) / "a.jpg").read_bytes() == b"images/2026/a.jpg"
    vendor.configure()
    assert plan(vendor.deployment(), request).count == 1
    with pytest.raises(RestoreRefused, match="not in the configuration any more"):
        plan(vendor.deployment(), TreeRestoreRequest(source))
    client.close()
