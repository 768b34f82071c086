"""A vault in one bucket of an S3 service."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from include.respaldo.connections import Connection
from include.respaldo.errors import (
    CorruptObject,
    KeyNotFound,
    KeyTaken,
    RespaldoError,
    VaultError,
    VaultUnreachable,
)
from include.respaldo.ports import Recorded, StoredObject, Vault
from include.respaldo.vault.digests import check_digest, receive
from include.respaldo.vault.s3_client import bucket_and_prefix, connect, same_service
from include.respaldo.vault.s3_copy import copy_on_server
from include.respaldo.vault.s3_errors import Answers, Reader
from include.respaldo.vault.s3_recorded import recorded_in
from include.respaldo.vault.s3_upload import SMALL, digest_header, upload_parts

SHA256 = "sha256"
TRIES = 3
#: how many keys one request may name
PAGE = 1000


def connect_s3_vault(uri: str, connection: Connection, region: str) -> S3Vault:
    """Return the vault that a connection opens; nothing is sent yet.

    :param uri: ``s3://bucket/prefix``.
    :param region: its name for people: ``primary`` or ``replica``.
    :raises ConfigurationError: the URI or the connection cannot be used.
    """
    bucket, prefix = bucket_and_prefix(uri)
    return S3Vault(connect(connection), bucket, prefix, region=region)


class S3Vault:
    """A bucket, or a prefix of one.

    The digest of every object stands in its metadata too (``sha256``), so that a repeated `put`
    is recognized without reading. Where the service ignores ``If-None-Match`` (learned at the first
    write), a look before each write takes its place: then two writers at the same instant may
    both succeed.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, *, region: str) -> None:
        self.client = client
        self.bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._region = region
        self._conditional: bool | None = None
        self._bucket_seen = False

    def __repr__(self) -> str:
        return f"S3Vault({self.uri!r}, region={self.region!r})"

    @property
    def region(self) -> str:
        return self._region

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self._prefix}".rstrip("/")

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the {self._region} vault ({self.uri})"

    def path(self, key: str) -> str:
        """Return the key within the bucket."""
        return self._prefix + key

    def answers(self, action: str, key: str = "") -> Answers:
        """Return a context in which the service's errors become ours."""
        return Answers(self.name, action, key)

    # -- writing ------------------------------------------------------------------------------

    def put(self, key: str, data: bytes | Path, *, sha256: str) -> None:
        if isinstance(data, Path):
            size = data.stat().st_size
            if size > SMALL:
                with data.open("rb", buffering=0) as source:
                    self.put_stream(key, cast("BinaryIO", source), size, sha256=sha256)
                return
            data = data.read_bytes()
        check_digest(data, sha256, f"the bytes offered for {key!r}")
        self._put_small(key, data, sha256)

    def put_stream(self, key: str, source: BinaryIO, size: int, *, sha256: str) -> None:
        """Store `size` bytes read from `source`, in parts; promises and errors as in `put`.

        Nothing is sent where the object stands already.
        """
        if self._stands(key, sha256, size):
            return
        upload = self.begin(key, sha256)

        def send(number: int, data: bytes | bytearray) -> dict[str, Any]:
            digest = digest_header(data)
            with self.answers("write", key):
                answer = self.client.upload_part(
                    **self._at(key),
                    UploadId=upload,
                    PartNumber=number,
                    Body=data,
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=digest,
                )
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": digest}

        with self.aborting(key, upload):
            try:
                parts = upload_parts(send, source, size, sha256)
            except CorruptObject as e:
                raise CorruptObject(
                    f"the bytes offered for {key!r}: {e.message}",
                    hint="they changed or were damaged; make them again",
                ) from None
            self.complete(key, upload, parts, sha256, size)

    def begin(self, key: str, sha256: str) -> str:
        """Begin an upload in parts; return its id."""
        with self.answers("write", key):
            answer = self.client.create_multipart_upload(
                **self._at(key), ChecksumAlgorithm="SHA256", Metadata={SHA256: sha256}
            )
        return str(answer["UploadId"])

    def complete(
        self, key: str, upload: str, parts: list[dict[str, Any]], sha256: str, size: int
    ) -> None:
        """Let the parts become the object, if none stands there yet."""

        def write() -> None:
            if self._conditional is not True and self._stands(key, sha256, size):
                self._abort(key, upload)
                return
            self.client.complete_multipart_upload(
                **self._at(key),
                UploadId=upload,
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*",
            )

        if not self._write_once(write, key, sha256, size):
            self._abort(key, upload)

    @contextmanager
    def aborting(self, key: str, upload: str) -> Iterator[None]:
        """Discard the upload when the block fails."""
        try:
            yield
        except BaseException:
            with suppress(RespaldoError):  # `abort_incomplete` will do it
                self._abort(key, upload)
            raise

    def copy_from(self, other: Vault, key: str, *, sha256: str) -> None:
        found = other.find(key)
        if found is None:
            raise KeyNotFound(f"the {other.region} vault ({other.uri}) has no {key!r}")
        if self._stands(key, sha256, found.size):
            return
        if (
            found.size > SMALL  # one request reads and one writes a small one: no less to copy it
            and isinstance(other, S3Vault)
            and same_service(self.client, other.client)
            and copy_on_server(other, self, key, size=found.size, sha256=sha256)
        ):
            return
        with other.open(key) as source:
            if found.size > SMALL:
                self.put_stream(key, source, found.size, sha256=sha256)
                return
            data = source.read()
        check_digest(data, sha256, f"{key!r} in the {other.region} vault ({other.uri})")
        self._put_small(key, data, sha256)

    def delete(self, key: str) -> None:
        with self.answers("delete", key), suppress(KeyNotFound):
            self.client.delete_object(**self._at(key))

    def delete_all(self, keys: Iterable[str]) -> None:
        waiting = iter(keys)
        while some := tuple(islice(waiting, PAGE)):
            # what is left is asked for one by one: a service that knows no batches, or says why not
            for key in self._delete_batch(some):
                self.delete(key)

    def abort_incomplete(self, older_than: timedelta) -> int:
        limit = datetime.now(UTC) - older_than
        with self.answers("abort"):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, **({"Prefix": self._prefix} if self._prefix else {})
            )
            stale = [u for p in pages for u in p.get("Uploads", ()) if u["Initiated"] <= limit]
        for upload in stale:
            self._abort(upload["Key"].removeprefix(self._prefix), upload["UploadId"])
        return len(stale)

    # -- reading ------------------------------------------------------------------------------

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        with self.answers("read", key):
            body = self.client.get_object(**self._at(key))["Body"]
        try:
            yield cast("BinaryIO", Reader(body, self.answers("read", key)))
        finally:
            body.close()

    def read(self, key: str) -> bytes:
        with self.open(key) as source:
            return source.read()

    def download(self, key: str, to: Path, *, sha256: str) -> None:
        with self.open(key) as source:
            receive(source, to, sha256, f"{key!r} in {self.name}")

    def find(self, key: str) -> StoredObject | None:
        head = self.head(key)
        if head is None:
            return None
        etag = str(head.get("ETag", "")).strip('"')
        return StoredObject(key, int(head["ContentLength"]), head["LastModified"], etag)

    def recorded(self, key: str) -> Recorded:
        head = self.head(key, ChecksumMode="ENABLED")
        if head is None:
            raise KeyNotFound(f"{self.name} has no {key!r}")
        return recorded_in(head)

    def head(self, key: str, **more: str) -> dict[str, Any] | None:
        """Return what the service says of an object, or None; ``Metadata`` in lower case."""
        try:
            with self.answers("read", key):
                head = dict(self.client.head_object(**self._at(key), **more))
        except KeyNotFound:
            self._explain()
            return None
        except VaultError:
            self._explain()
            raise
        head["Metadata"] = {k.lower(): v for k, v in head.get("Metadata", {}).items()}
        return head

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        query: dict[str, Any] = {"Bucket": self.bucket, "Prefix": self.path(prefix)}
        if after:
            query["StartAfter"] = self.path(after)
        while True:
            with self.answers("list"):
                page = self.client.list_objects_v2(**query)
            for entry in page.get("Contents", ()):
                key = entry["Key"].removeprefix(self._prefix)
                etag = str(entry.get("ETag", "")).strip('"')
                yield StoredObject(key, int(entry["Size"]), entry["LastModified"], etag)
            if not page.get("IsTruncated"):
                return
            query["ContinuationToken"] = page["NextContinuationToken"]

    # -- inside -------------------------------------------------------------------------------

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.path(key)}

    def _explain(self) -> None:
        """Raise what is wrong with the bucket or the credentials, which HEAD does not tell."""
        if not self._bucket_seen:
            with self.answers("list"):
                self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)
            self._bucket_seen = True

    def _put_small(self, key: str, data: bytes, sha256: str) -> None:
        wanted = {
            **self._at(key),
            "Body": data,
            "ChecksumAlgorithm": "SHA256",  # some services check only what is named as well
            "ChecksumSHA256": digest_header(data),
            "Metadata": {SHA256: sha256},
            "IfNoneMatch": "*",
        }
        if self._conditional is not True and self._stands(key, sha256, len(data)):
            return
        written = self._write_once(lambda: self.client.put_object(**wanted), key, sha256, len(data))
        if written and self._conditional is None:
            # the same bytes again: a service that keeps the promise refuses them
            self._conditional = not self._write_once(
                lambda: self.client.put_object(**wanted), key, sha256, len(data)
            )

    def _write_once(self, write: Any, key: str, sha256: str, size: int) -> bool:
        """Write unless an object stands there; return False where it stood there, the same.

        :raises KeyTaken: another one stood there.
        """
        from botocore.exceptions import ClientError

        for _ in range(TRIES):
            with self.answers("write", key):
                try:
                    write()
                except ClientError as e:
                    status = e.response["ResponseMetadata"]["HTTPStatusCode"]
                    # an upload that is gone was completed by a try whose answer got lost
                    gone = e.response["Error"]["Code"] == "NoSuchUpload"
                    if status not in {409, 412} and not gone:
                        raise
                else:
                    return True
            if self._stands(key, sha256, size):
                return False
        raise VaultUnreachable(
            f"{self.name}: others write {key!r} at the same time",
            hint="try again when they have ended",
        )

    def _stands(self, key: str, sha256: str, size: int) -> bool:
        """Return whether these bytes stand under the key.

        :raises KeyTaken: other bytes do.
        """
        head = self.head(key)
        if head is None:
            return False
        found = head["Metadata"].get(SHA256) or self._digest_of(key)
        if found != sha256 or head["ContentLength"] != size:
            raise KeyTaken(
                f"{self.name}: {key!r} holds {head['ContentLength']} bytes with SHA-256 {found}, "
                f"not the {size} bytes offered with {sha256}",
                hint="a vault never overwrites; see what wrote that object",
            )
        return True

    def _digest_of(self, key: str) -> str:
        """Return the digest of an object that another program stored, by reading it."""
        digest = hashlib.sha256()
        with self.open(key) as source:
            while block := source.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def _delete_batch(self, keys: Sequence[str]) -> Sequence[str]:
        """Delete these with one request; return those that it has not deleted."""
        named = {self.path(key): key for key in keys}
        try:
            with self.answers("delete", keys[0]):
                answer = self.client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": path} for path in named], "Quiet": True},
                )
        except VaultError:
            return keys
        refused = (error.get("Key", "") for error in answer.get("Errors", ()))
        return tuple(named[path] for path in refused if path in named)

    def _abort(self, key: str, upload: str) -> None:
        with suppress(KeyNotFound), self.answers("abort", key):
            try:
                self.client.abort_multipart_upload(**self._at(key), UploadId=upload)
            except self.client.exceptions.NoSuchUpload:
                return
