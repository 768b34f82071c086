"""What S3 services do to a vault: refuse, ignore, stop, rot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from embedded.s3 import S3Server
from embedded.swift import SwiftServer
from include.respaldo.connections import Connection
from include.respaldo.errors import (
    ConfigurationError,
    CorruptObject,
    KeyTaken,
    VaultError,
    VaultUnreachable,
)
from include.respaldo.ports import Vault
from include.respaldo.vault import s3, s3_copy
from include.respaldo.vault.digests import sha256_of, sha256_of_file
from include.respaldo.vault.s3 import S3Vault, connect_s3_vault
from tests.contract.conftest import vault_of

HELLO = b"hello"
ALL = timedelta(seconds=-2)  # Swift rounds the time an upload began up to whole seconds
NewVault = Callable[[str], Vault]
ROOT = Path(__file__).resolve().parents[2]


def put(vault: Vault, key: str, data: bytes) -> None:
    vault.put(key, data, sha256=sha256_of(data))


def test_the_service_refuses_bytes_damaged_on_their_way(
    s3_vault: S3Vault, big_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = s3.digest_header
    monkeypatch.setattr(s3, "digest_header", lambda data: honest(bytes(data) + b"!"))

    with pytest.raises(VaultUnreachable, match="BadDigest"):
        put(s3_vault, "small", HELLO)
    with pytest.raises(VaultUnreachable, match="BadDigest"):
        s3_vault.put("big", big_file, sha256=sha256_of_file(big_file))

    assert list(s3_vault.list("")) == []
    assert s3_vault.abort_incomplete(ALL) == 0


def test_the_services_keep_the_write_once_promise_themselves(s3_vault: S3Vault) -> None:
    put(s3_vault, "k", HELLO)

    assert s3_vault._conditional is True


def test_a_service_that_ignores_conditions_is_noticed_and_nothing_is_overwritten(
    s3_vault: S3Vault, big_file: Path
) -> None:
    def ignore(params: dict[str, Any], **_: object) -> None:
        params.pop("IfNoneMatch", None)

    for operation in ("PutObject", "CompleteMultipartUpload"):
        s3_vault.client.meta.events.register(f"before-parameter-build.s3.{operation}", ignore)

    put(s3_vault, "k", HELLO)
    assert s3_vault._conditional is False
    with pytest.raises(KeyTaken):
        put(s3_vault, "k", b"other")
    with pytest.raises(KeyTaken):
        s3_vault.put("k", big_file, sha256=sha256_of_file(big_file))
    put(s3_vault, "k", HELLO)

    assert s3_vault.read("k") == HELLO


def test_an_object_that_another_program_stored_is_known_by_its_bytes(s3_vault: S3Vault) -> None:
    s3_vault.client.put_object(Bucket=s3_vault.bucket, Key=s3_vault.path("k"), Body=HELLO)

    put(s3_vault, "k", HELLO)
    with pytest.raises(KeyTaken, match=sha256_of(HELLO)):
        put(s3_vault, "k", b"other")


def test_a_missing_bucket_is_not_taken_for_a_missing_object(s3_vault: S3Vault) -> None:
    vault = S3Vault(s3_vault.client, "no-such-bucket", "", region="replica")

    for attempt in (
        lambda: vault.find("k"),
        lambda: put(vault, "k", HELLO),
        lambda: list(vault.list("")),
        lambda: vault.copy_from(s3_vault, "k", sha256=sha256_of(HELLO)),
    ):
        put(s3_vault, "k", HELLO)
        with pytest.raises(VaultError, match=r"replica vault.*NoSuchBucket") as refused:
            attempt()
        assert "create the bucket" in refused.value.hint


def test_wrong_credentials_are_refused_with_the_next_step(swift: SwiftServer) -> None:
    swift.create_bucket("locked")
    connection = Connection(
        "vault",
        "aws",
        login=swift.access_key,
        password="wrong",
        extra={"endpoint_url": swift.endpoint_url, "region_name": swift.region},
    )
    vault = connect_s3_vault("s3://locked", connection, "primary")

    with pytest.raises(VaultError, match="SignatureDoesNotMatch") as refused:
        put(vault, "k", HELLO)
    vault.client.close()

    assert "login and password" in refused.value.hint
    assert not refused.value.retryable


def test_a_connection_that_asks_for_the_unsupported_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="role_arn"):
        connect_s3_vault("s3://b", Connection("v", "aws", extra={"role_arn": "x"}), "primary")
    with pytest.raises(ConfigurationError, match="s3://bucket"):
        connect_s3_vault("http://b/c", Connection("v", "aws"), "primary")
    with pytest.raises(ConfigurationError, match="endpoint"):
        connect_s3_vault(
            "s3://b",
            Connection("v", "aws", extra={"endpoint_url": "nonsense", "region_name": "x"}),
            "primary",
        )


@pytest.mark.parametrize("service", [S3Server, SwiftServer])
def test_a_stopped_service_is_unreachable_and_keeps_its_objects(
    service: type[S3Server], tmp_path: Path
) -> None:
    with service(tmp_path / "server") as server:
        vault = vault_of(server, "bucket-1")
        server.create_bucket("empty")
        put(vault, "k", HELLO)
        server.stop()

        for attempt in (
            lambda: vault.find("k"),
            lambda: vault.read("k"),
            lambda: put(vault, "k", HELLO),
            lambda: list(vault.list("")),
            lambda: vault.delete("k"),
            lambda: vault.abort_incomplete(ALL),
        ):
            with pytest.raises(VaultUnreachable, match="the primary vault"):
                attempt()

        server.start()
        assert vault.read("k") == HELLO
        server.kill9()
        service.attach(tmp_path / "server").start()
        assert vault.read("k") == HELLO
        assert {b["Name"] for b in vault.client.list_buckets()["Buckets"]} == {"bucket-1", "empty"}
        vault.client.close()


@pytest.mark.parametrize("service", ["ministack", "swift"])
def test_within_one_service_the_bytes_of_a_big_copy_stay_there(
    service: str, new_vault: NewVault, big_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = new_vault(service), new_vault(service)
    digest = sha256_of_file(big_file)
    source.put("big", big_file, sha256=digest)
    monkeypatch.setattr(source, "open", lambda key: pytest.fail("streamed"))

    target.copy_from(source, "big", sha256=digest)

    assert sha256_of(target.read("big")) == digest


@pytest.mark.parametrize("service", ["ministack", "swift"])
def test_a_service_that_cannot_copy_is_helped(
    service: str, new_vault: NewVault, big_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise VaultError("403 AccessDenied")

    source, target = new_vault(service), new_vault(service)
    digest = sha256_of_file(big_file)
    source.put("big", big_file, sha256=digest)
    monkeypatch.setattr(s3_copy, "_copy_parts", refuse)

    target.copy_from(source, "big", sha256=digest)

    assert sha256_of(target.read("big")) == digest
    assert target.abort_incomplete(ALL) == 0


def test_a_byte_rotten_on_the_services_disk_is_never_copied(
    ministack: S3Server, new_vault: NewVault, big_file: Path
) -> None:
    source, target = new_vault("ministack"), new_vault("ministack")
    digest = sha256_of_file(big_file)
    source.put("rotten", big_file, sha256=digest)
    (file,) = (ministack.folder / "objects").glob("*/*/kept/rotten")
    with file.open("r+b") as f:
        f.seek(20 << 20)
        f.write(b"\xff")

    with pytest.raises(CorruptObject, match="rotten"):
        target.copy_from(source, "rotten", sha256=digest)

    assert list(target.list("")) == []
    assert target.abort_incomplete(ALL) == 0


def test_an_upload_whose_last_answer_got_lost_is_done(
    s3_vault: S3Vault, big_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = s3_vault.client.complete_multipart_upload

    def twice(**arguments: object) -> object:
        complete(**arguments)
        return complete(**arguments)

    monkeypatch.setattr(s3_vault.client, "complete_multipart_upload", twice)
    digest = sha256_of_file(big_file)

    s3_vault.put("big", big_file, sha256=digest)

    assert sha256_of(s3_vault.read("big")) == digest


MEASURED = r"""
import re, sys
from pathlib import Path
from include.respaldo.connections import from_environment
from include.respaldo.vault.digests import sha256_of_file
from include.respaldo.vault.s3 import connect_s3_vault
near, far = (connect_s3_vault(f"s3://{b}", from_environment(b), b) for b in ("near", "far"))
path = Path(sys.argv[1])
digest = sha256_of_file(path)
near.put("big", path, sha256=digest)
far.copy_from(near, "big", sha256=digest)
far.download("big", path.with_name("back"), sha256=digest)
# not getrusage: its maximum counts the memory of the process that started this one, too
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_a_file_bigger_than_the_memory_allowed_passes(
    ministack: S3Server, ministack_far: S3Server, tmp_path: Path
) -> None:
    path = tmp_path / "300 MB"
    with path.open("wb") as f:
        f.truncate(300 << 20)
    ministack.create_bucket("near")
    ministack_far.create_bucket("far")

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "AIRFLOW_CONN_NEAR": ministack.connection_uri(),
            "AIRFLOW_CONN_FAR": ministack_far.connection_uri(),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 256, f"{done.stdout} MiB"
