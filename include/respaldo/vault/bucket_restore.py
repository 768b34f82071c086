"""Restored files as new objects of a bucket: never in place of another one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from include.respaldo.connections import Connection
from include.respaldo.errors import KeyTaken, VaultError, VaultUnreachable
from include.respaldo.ports import Progress
from include.respaldo.vault.bucket_tree import AT_ONCE, attributes_of
from include.respaldo.vault.digests import BLOCK
from include.respaldo.vault.s3_client import bucket_and_prefix, connect
from include.respaldo.vault.s3_errors import Answers, Reader


class BucketWriter:
    """A bucket, open; names are ``s3://bucket/key``."""

    def __init__(self, uri: str, connection: Connection) -> None:
        self._uri = uri
        self._name, self._prefix = bucket_and_prefix(uri)
        self._client = connect(connection)

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
        if self._first(key) == key:
            if self._differs(key, path):
                raise KeyTaken(
                    f"there is another object at {name} by now",
                    hint="plan the restore again: it takes another name",
                )
            return
        with self._answers("write", name):
            self._client.upload_file(
                str(path), self._name, key, ExtraArgs=attributes_of(path) or None
            )
        stored.append(name)

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
