"""A bucket's objects as a tree of files: brought here by what changed, and put back."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from include.respaldo.connections import Connection
from include.respaldo.errors import (
    CorruptObject,
    KeyNotFound,
    SourceError,
    VaultError,
)
from include.respaldo.model.file_tree import Problem, ReadProblem
from include.respaldo.model.units import size_text
from include.respaldo.ports import Progress
from include.respaldo.vault.bucket_record import BucketRecord, Version
from include.respaldo.vault.digests import BLOCK
from include.respaldo.vault.s3_client import bucket_and_prefix, connect
from include.respaldo.vault.s3_errors import Answers, Reader

#: how many objects are brought at the same time
AT_ONCE = 8
_NAME_MAX = 255
#: what is kept of an object besides its bytes, in extended attributes of the file
_HEADERS = (
    "ContentType",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
)
_ATTRIBUTE, _METADATA = "user.s3.", "user.s3.meta."
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.EPERM})
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Takes(Protocol):
    """Which objects are wanted, by their names below the prefix."""

    def takes(self, relative: str, is_folder: bool) -> bool: ...


@dataclass(frozen=True)
class _Listed:
    key: str
    #: below the prefix; a folder's ends with a slash
    relative: str
    version: Version


def fetch_prefix(
    uri: str, connection: Connection, to: Path, patterns: Takes, *, progress: Progress
) -> tuple[ReadProblem, ...]:
    """Make `to` equal to what is below a prefix; what has not changed there does not travel.

    An object that is gone or refused when it is read, or whose name no file can have, is left out
    and returned. Times are those of the last change; content type and such, and the metadata of
    its owner, become extended attributes where the filesystem has them. What is known of the
    objects is kept beside `to`; where this is cut short, the next run goes on.

    :param uri: ``s3://bucket/prefix``.
    :raises VaultUnreachable: the service does not answer now.
    :raises VaultError: there is no such bucket, or it may not be listed.
    :raises SourceError: the disk here is full.
    """
    bucket = _Bucket(uri, connection)
    arriving = to.with_name(to.name + ".partial")
    shutil.rmtree(arriving, ignore_errors=True)
    for folder in (to, arriving):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    progress.step(f"bringing {bucket.uri}")
    problems: list[ReadProblem] = []
    try:
        with BucketRecord(to.with_name(to.name + ".objects")) as record:
            _bring(bucket, to, arriving, patterns, record, problems, progress)
            _remove_others(to, record)
    except (OSError, sqlite3.OperationalError) as error:
        if not _is_disk_full(error):
            raise
        disk = shutil.disk_usage(to)
        raise SourceError(
            f"the disk of {to} is full: {size_text(disk.free)} of {size_text(disk.total)} free",
            hint="make room there (the whole tree must fit), or move the landing zone to a larger "
            "disk; the next run goes on with what is there",
        ) from None
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
    return tuple(problems)


def holds_objects(uri: str, connection: Connection) -> bool:
    """Return whether there is anything below a prefix; errors as of `fetch_prefix`."""
    bucket = _Bucket(uri, connection)
    with bucket.answers("list"):
        page = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=bucket.prefix, MaxKeys=1)
    return bool(page.get("Contents"))


def put_file(uri: str, connection: Connection, relative: str, path: Path) -> None:
    """Store a file as the object of that name below a prefix, with what its attributes say of it.

    Replaces what stands there.

    :raises VaultUnreachable: the service does not answer now.
    :raises VaultError: it may not be written.
    """
    bucket = _Bucket(uri, connection)
    with bucket.answers("write", relative):
        bucket.client.upload_file(
            str(path), bucket.name, bucket.prefix + relative, ExtraArgs=attributes_of(path) or None
        )


def attributes_of(path: Path) -> dict[str, Any]:
    """Return what a file's attributes say of its object, as an upload takes it."""
    extra: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    with suppress(OSError):
        for name in os.listxattr(path):
            if name.startswith(_METADATA):
                value = os.getxattr(path, name).decode("utf-8", "replace")
                metadata[name.removeprefix(_METADATA)] = value
            elif name.removeprefix(_ATTRIBUTE) in _HEADERS:
                extra[name.removeprefix(_ATTRIBUTE)] = os.getxattr(path, name).decode()
    if metadata:
        extra["Metadata"] = metadata
    return extra


class _Bucket:
    """A prefix of a bucket, open."""

    def __init__(self, uri: str, connection: Connection) -> None:
        self.uri = uri
        self.name, prefix = bucket_and_prefix(uri)
        self.prefix = f"{prefix}/" if prefix else ""
        self.client = connect(connection)

    def answers(self, action: str, key: str = "") -> Answers:
        return Answers(f"the bucket ({self.uri})", action, key)

    def objects(self) -> Iterator[_Listed]:
        query: dict[str, Any] = {"Bucket": self.name, "Prefix": self.prefix}
        while True:
            with self.answers("list"):
                page = self.client.list_objects_v2(**query)
            for entry in page.get("Contents", ()):
                key = entry["Key"]
                version = Version(
                    entry.get("ETag", ""), int(entry["Size"]), _ns(entry["LastModified"])
                )
                yield _Listed(key, key.removeprefix(self.prefix), version)
            if not page.get("IsTruncated"):
                return
            query["ContinuationToken"] = page["NextContinuationToken"]


def _bring(
    bucket: _Bucket,
    to: Path,
    arriving: Path,
    patterns: Takes,
    record: BucketRecord,
    problems: list[ReadProblem],
    progress: Progress,
) -> None:
    """Bring what is new or has changed, and mark in the record all that belongs here."""
    done = 0
    numbers = count()
    places = _Places(to, record)
    under_way: dict[Future[Version | ReadProblem], _Listed] = {}

    def collect(futures: Iterable[Future[Version | ReadProblem]]) -> int:
        size = 0
        for future in futures:
            listed = under_way.pop(future)
            found = future.result()
            if isinstance(found, ReadProblem):
                problems.append(found)
                record.forget(listed.relative)
            else:
                record.brought(listed.relative, found)
                size += found.size
        return size

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for listed in bucket.objects():
                is_folder = listed.relative.endswith("/")
                if not listed.relative or not patterns.takes(
                    listed.relative.rstrip("/"), is_folder
                ):
                    continue
                try:
                    path = places.of(listed)
                except ValueError as why:
                    problem = ReadProblem(listed.relative, Problem.UNREADABLE, str(why))
                    problems.append(problem)
                    continue
                if is_folder:
                    record.expect(listed.relative.removesuffix("/"), is_folder=True)
                    continue
                if record.has(listed.relative, listed.version, path):
                    record.keep(listed.relative)
                    continue
                record.expect(listed.relative)
                temporary = arriving / str(next(numbers))
                future = pool.submit(_bring_one, bucket, listed, temporary, path)
                under_way[future] = listed
                if len(under_way) >= 2 * AT_ONCE:
                    done += collect(wait(under_way, return_when=FIRST_COMPLETED).done)
                    progress.advance(done, None, "bytes")
            done += collect(tuple(under_way))
            progress.advance(done, None, "bytes")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class _Places:
    """Where objects' files belong; whatever of earlier days is in their way goes."""

    def __init__(self, to: Path, record: BucketRecord) -> None:
        self._to = to
        self._record = record
        self._ready = ""

    def of(self, listed: _Listed) -> Path:
        """Return the file (or folder) of an object, its folders made.

        :raises ValueError: it can have none; says why.
        """
        relative = listed.relative.removesuffix("/")
        parts = relative.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in relative:
            raise ValueError("no file can have the name of this object")
        if any(len(part.encode()) > _NAME_MAX for part in parts):
            raise ValueError("the name of this object is too long for a file")
        is_folder = relative != listed.relative
        if is_folder and listed.version.size:
            raise ValueError("the name of this object is that of a folder, and it has bytes")
        self._make(parts if is_folder else parts[:-1])
        path = self._to.joinpath(*parts)
        if not is_folder and path.is_dir():
            shutil.rmtree(path)  # objects below it, if there still are any, are listed later
        return path

    def _make(self, parts: list[str]) -> None:
        folder = "/".join(parts)
        if folder == self._ready:
            return
        for length in range(1, len(parts) + 1):
            above = "/".join(parts[:length])
            if self._record.is_file(above):
                raise ValueError("the name of another object makes a file of its folder")
            path = self._to / above
            if not path.is_dir():
                path.unlink(missing_ok=True)
                path.mkdir(mode=0o700)
        self._ready = folder


def _bring_one(
    bucket: _Bucket, listed: _Listed, temporary: Path, path: Path
) -> Version | ReadProblem:
    """Bring one object whole, or say why not."""
    try:
        with bucket.answers("read", listed.relative):
            answer = bucket.client.get_object(
                Bucket=bucket.name, Key=listed.key, ChecksumMode="ENABLED"
            )
        body = Reader(answer["Body"], bucket.answers("read", listed.relative))
        try:
            with temporary.open("xb") as out:
                while block := body.read(BLOCK):
                    out.write(block)
        finally:
            answer["Body"].close()
    except KeyNotFound:
        return ReadProblem(listed.relative, Problem.VANISHED, "it was gone when read")
    except (VaultError, CorruptObject) as error:
        return ReadProblem(listed.relative, Problem.UNREADABLE, error.message)
    version = Version(
        answer.get("ETag", ""), int(answer["ContentLength"]), _ns(answer["LastModified"])
    )
    temporary.chmod(0o600)
    _keep_attributes(temporary, answer)
    os.utime(temporary, ns=(version.modified_ns, version.modified_ns))
    temporary.replace(path)
    return version


def _keep_attributes(path: Path, answer: dict[str, Any]) -> None:
    values = {_ATTRIBUTE + name: answer[name] for name in _HEADERS if answer.get(name)}
    values |= {_METADATA + k: v for k, v in answer.get("Metadata", {}).items()}
    try:
        for name, value in values.items():
            os.setxattr(path, name, str(value).encode())
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise


def _remove_others(to: Path, record: BucketRecord) -> None:
    """Remove what is no object any more, and the folders that are empty without it."""
    for folder, folders, files in os.walk(to, topdown=False):
        for name in files:
            path = Path(folder, name)
            if not record.belongs(str(path.relative_to(to))):
                path.unlink()
        for name in folders:
            path = Path(folder, name)
            if not record.belongs(str(path.relative_to(to))):
                with suppress(OSError):  # it holds something
                    path.rmdir()
    record.forget_others()


def _is_disk_full(error: OSError | sqlite3.OperationalError) -> bool:
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL
    return error.sqlite_errorcode == sqlite3.SQLITE_FULL


def _ns(moment: datetime) -> int:
    """Return the nanoseconds since 1970; listings tell parts of a second that objects do not."""
    return int(moment.timestamp()) * 10**9
