"""Copies of big objects that an S3 service makes by itself, proven before they can be seen.

The object is copied in the parts in which it was uploaded. The service reports a digest of each
part as copied; put together they must give what it reported when the object was uploaded (and had
been checked against SHA-256). CopyObject would be one request, but the copy would be visible,
and known by its metadata, before anybody has compared it.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from include.respaldo.errors import KeyTaken, VaultError, VaultUnreachable
from include.respaldo.vault.s3_upload import part_size

if TYPE_CHECKING:
    from include.respaldo.vault.s3 import S3Vault

AT_ONCE = 8


def copy_on_server(source: S3Vault, target: S3Vault, key: str, *, size: int, sha256: str) -> bool:
    """Copy a big object within one service; return False where the bytes must stream instead.

    That is so when the service refuses (another account, not supported), or reports nothing
    that proves the copy.

    :raises KeyTaken: other bytes stand there.
    """
    head = source.head(key, ChecksumMode="ENABLED")
    if head is None or head["Metadata"].get("sha256") != sha256:
        return False
    try:
        upload = target.begin(key, sha256)
        with target.aborting(key, upload):
            parts = _copy_parts(source, target, key, upload, size)
            _prove(parts, head, source, key)
            target.complete(key, upload, [_entry(p) for p in parts], sha256, size)
    except (VaultUnreachable, KeyTaken):
        raise
    except VaultError:
        return False
    return True


def _copy_parts(
    source: S3Vault, target: S3Vault, key: str, upload: str, size: int
) -> list[dict[str, Any]]:
    width = part_size(size)

    def copy(number: int) -> dict[str, Any]:
        start = (number - 1) * width
        with target.answers("write", key):
            answer = target.client.upload_part_copy(
                Bucket=target.bucket,
                Key=target.path(key),
                UploadId=upload,
                PartNumber=number,
                CopySource={"Bucket": source.bucket, "Key": source.path(key)},
                CopySourceRange=f"bytes={start}-{min(start + width, size) - 1}",
            )
        return {"PartNumber": number, **answer["CopyPartResult"]}

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="copy") as pool:
        futures = [pool.submit(copy, n) for n in range(1, -(-size // width) + 1)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _prove(parts: list[dict[str, Any]], head: dict[str, Any], source: S3Vault, key: str) -> None:
    """:raises VaultError: neither the SHA-256 nor the MD5 of the parts prove the copy."""
    try:
        digests = b"".join(b64decode(p.get("ChecksumSHA256", ""), validate=True) for p in parts)
        if len(digests) == 32 * len(parts):
            composite = b64encode(hashlib.sha256(digests).digest()).decode()
            if head.get("ChecksumSHA256") == f"{composite}-{len(parts)}":
                return
        sums = b"".join(bytes.fromhex(p["ETag"].strip('"')) for p in parts)
        composite = hashlib.md5(sums, usedforsecurity=False).hexdigest()
        if head["ETag"].strip('"') == f"{composite}-{len(parts)}":
            return
    except (ValueError, NotBase64):
        pass  # an ETag need not be a digest
    raise VaultError(f"{source.name}: nothing proves a copy of {key!r} made by the service")


def _entry(part: dict[str, Any]) -> dict[str, Any]:
    return {k: part[k] for k in ("PartNumber", "ETag", "ChecksumSHA256") if k in part}
