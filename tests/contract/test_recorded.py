"""What a store keeps of an object's bytes, and how a listing marks them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from include.respaldo.errors import KeyNotFound
from include.respaldo.ports import Vault
from include.respaldo.vault.digests import sha256_of, sha256_of_file
from include.respaldo.vault.s3 import S3Vault
from include.respaldo.vault.s3_recorded import recorded_in


def test_the_digest_that_was_checked_is_kept_and_the_mark_is_the_same_everywhere(
    vault: Vault,
) -> None:
    data = b"a segment"
    vault.put("a/b", data, sha256=sha256_of(data))
    found = vault.recorded("a/b")
    assert found.sha256 == sha256_of(data)
    assert found.md5 in {"", hashlib.md5(data).hexdigest()}
    (listed,) = vault.list("a/")
    again = vault.find("a/b")
    assert again is not None
    assert listed.etag == again.etag == hashlib.md5(data).hexdigest()


def test_of_what_is_not_there_nothing_is_kept(vault: Vault) -> None:
    with pytest.raises(KeyNotFound):
        vault.recorded("nothing")


def test_a_big_object_s_digest_is_kept_and_its_mark_is_no_md5(
    s3_vault: S3Vault, big_file: Path
) -> None:
    digest = sha256_of_file(big_file)
    s3_vault.put("big", big_file, sha256=digest)
    found = s3_vault.recorded("big")
    assert found.sha256 == digest
    assert found.md5 == ""


def test_an_etag_of_an_encrypted_object_is_no_md5() -> None:
    head = {"ETag": '"0123456789abcdef0123456789abcdef"', "Metadata": {}}
    assert recorded_in(head).md5 == "0123456789abcdef0123456789abcdef"
    assert recorded_in({**head, "ServerSideEncryption": "AES256"}).md5
    assert not recorded_in({**head, "ServerSideEncryption": "aws:kms"}).md5
    assert not recorded_in({**head, "SSECustomerAlgorithm": "AES256"}).md5
    assert recorded_in({**head, "ChecksumSHA256": "AAAA"}).sha256 == "000000"
    assert recorded_in({**head, "ChecksumSHA256": "AAAA-2"}).sha256 == ""
    assert recorded_in({**head, "ChecksumSHA256": "not base64"}).sha256 == ""
