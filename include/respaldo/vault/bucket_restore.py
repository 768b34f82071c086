"""Restored files as new objects of a bucket: never in place of another one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from include.respaldo.connections import Connection
from include.respaldo.errors import KeyTaken, VaultError, VaultUnreachable
from include.respaldo.ports import Progress
from include.respaldo.vault.bucket_tree import AT_ONCE, attributes_of
from include.respaldo.vault.digests import BLOCK
from include.respaldo.vault.s3_client import bucket_and_prefix, connect
from include.respaldo.vault.s3_errors import Answers, Reader

#: the answers to ``If-None-Match: *`` when there is one, or one is being written
_IS_TAKEN = {412, 409}


def _never_replacing(params: dict[str, Any], **_: Any) -> dict[str, Any]:
    return {**params, "IfNoneMatch": "*"}


class BucketWriter:
    """A bucket, open; names are ``s3://bucket/key``."""

    def __init__(self, uri: str, connection: Connection) -> None:
        self._uri = uri
        self._name, self._prefix = bucket_and_prefix(uri)
        self._client = connect(connection)
        # upload_fileobj takes no condition of its own
        for call in ("PutObject", "CompleteMultipartUpload"):
            self._client.meta.events.register(f"provide-client-params.s3.{call}", _never_replacing)

    @property
    def root(self) -> str:
        """Name of the prefix, as it is."""
        return f"s3://{self._name}/{self._prefix}".rstrip("/")

    def holds(self, name: str) -> bool:
        """Return whether an object has this name, or is below it.

        :raises VaultUnreachable: the service does not answer now.
        """
        key = self._key(name)
        first = self._first(key)
        return first == key or self._first(f"{key}/") != ""

    def put_new(self, files: Sequence[tuple[Path, str]], progress: Progress) -> None:
        """Store files under names; an object that is there already must have the same bytes.

        Those that were stored go again where one of them fails.

        :raises KeyTaken: an object of that name holds other bytes.
        :raises VaultUnreachable: the service does not answer now.
        """
        stored: list[str] = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                put = pool.map(lambda f: self._put(f[0], f[1], stored), files)
                for number, _ in enumerate(put, 1):
                    progress.advance(number, len(files), "files")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                self._remove(stored)
                raise

    def _put(self, path: Path, name: str, stored: list[str]) -> None:
        key = self._key(name)
        if self._first(key) != key and self._write(path, name):
            stored.append(name)
        elif self._differs(key, path):
            raise KeyTaken(
                f"there is another object at {name} by now",
                hint="plan the restore again: it takes another name",
            )

    def _write(self, path: Path, name: str) -> bool:
        """Return False if an object of that name has come meanwhile."""
        from botocore.exceptions import ClientError

        with self._answers("write", name), path.open("rb") as file:
            try:
                self._client.upload_fileobj(
                    file, self._name, self._key(name), ExtraArgs=attributes_of(path) or None
                )
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _IS_TAKEN:
                    raise
                return False
        return True

    def _differs(self, key: str, path: Path) -> bool:
        with self._answers("read", key):
            body = self._client.get_object(Bucket=self._name, Key=key)["Body"]
        reader = Reader(body, self._answers("read", key))
        try:
            with path.open("rb") as file:
                while ours := file.read(BLOCK):
                    theirs = b""
                    while more := reader.read(len(ours) - len(theirs)):
                        theirs += more
                        if len(theirs) == len(ours):
                            break
                    if theirs != ours:
                        return True
            return bool(reader.read(1))
        finally:
            body.close()

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                with self._answers("delete", name):
                    self._client.delete_object(Bucket=self._name, Key=self._key(name))
            except (VaultError, VaultUnreachable):
                return  # what stays is whole, and the same restore takes it

    def _first(self, prefix: str) -> str:
        with self._answers("list", prefix):
            page = self._client.list_objects_v2(Bucket=self._name, Prefix=prefix, MaxKeys=1)
        return next((str(entry["Key"]) for entry in page.get("Contents", ())), "")

    def _key(self, name: str) -> str:
        return name.removeprefix(f"s3://{self._name}/")

    def _answers(self, action: str, key: str = "") -> Answers:
        return Answers(f"the bucket ({self._uri})", action, key)
