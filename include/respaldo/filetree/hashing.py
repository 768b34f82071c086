"""What the bytes of one entry are: its digest, its extended attributes, whether they shrink."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from functools import cache
from typing import Any, NamedTuple

from include.respaldo.model.file_tree import Problem

#: where compressibility is decided
HEAD = 64 * 1024
_SAMPLE = 4096
_BLOCK = 1024 * 1024
#: a sample that is not at least this much smaller does not shrink
_SHRINKS_TO = 0.95
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.ENODATA, errno.ENOENT, errno.EPERM, errno.EACCES})


class Hashed(NamedTuple):
    """A file as it was read."""

    sha256: str
    incompressible: bool
    problem: Problem | None
    #: `attributes_digest`
    xattrs: str
    #: of the open file, after it was read; None: it could not be opened
    status: os.stat_result | None


def open_file(path: bytes) -> int:
    """Open a file to read it, without waiting for a fifo's writer and without following a link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:  # only its owner may leave the time of access as it is
        return os.open(path, flags)


def hash_file(path: bytes) -> Hashed:
    """Read a file; what goes wrong is in the result, never raised.

    A file that changes meanwhile is read once more; if it still changes it is `Problem.CHANGED`,
    with the digest of what was read last.
    """
    found = _read(path)
    return _read(path) if found.problem is Problem.CHANGED else found


def _read(path: bytes) -> Hashed:
    try:
        descriptor = open_file(path)
    except FileNotFoundError:
        return Hashed("", False, Problem.VANISHED, "", None)
    except OSError as e:
        # a link or a device stands there now
        changed = e.errno in {errno.ELOOP, errno.ENXIO}
        problem = Problem.CHANGED if changed else Problem.UNREADABLE
        return Hashed("", False, problem, "", None)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return Hashed("", False, Problem.CHANGED, "", None)
        digest = hashlib.sha256()
        block = os.read(descriptor, min(_BLOCK, before.st_size + 1))
        incompressible = is_incompressible(block)
        size = 0
        while block:
            digest.update(block)
            size += len(block)
            # one byte beyond its end shows that it has not grown, without another call
            if len(block) <= before.st_size < size + 1 <= _BLOCK:
                break
            block = os.read(descriptor, _BLOCK)
        xattrs = attributes_digest(descriptor)
        after = os.fstat(descriptor)
    except OSError:
        return Hashed("", False, Problem.UNREADABLE, "", None)
    finally:
        os.close(descriptor)
    same = size == after.st_size and unchanged(before, after)
    return Hashed(
        digest.hexdigest(), incompressible, None if same else Problem.CHANGED, xattrs, after
    )


def unchanged(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether two looks at a file saw the same content."""
    return (one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (
        other.st_ino,
        other.st_size,
        other.st_mtime_ns,
        other.st_ctime_ns,
    )


def is_incompressible(head: bytes) -> bool:
    """Return whether a file does not shrink, as a compressed or an encrypted one.

    Decided by LZ4 on 4 KiB from the middle of the first 64 KiB: there neither the header of a
    format nor the directory at an archive's end lies. Less than 64 bytes always shrink.
    """
    head = head[:HEAD]
    begin = max(0, len(head) // 2 - _SAMPLE // 2)
    sample = head[begin : begin + _SAMPLE]
    if len(sample) < 64:
        return False
    return len(_codec().compress(sample, asbytes=True)) > _SHRINKS_TO * len(sample)


@cache
def _codec() -> Any:
    import pyarrow as pa

    return pa.Codec("lz4_raw")


def attributes_digest(path: bytes | int) -> str:
    """Return the digest of an entry's extended attributes, ACLs among them; "": it has none.

    :param path: or an open file.

    SHA-256, hexadecimal, over each attribute in the order of its name's bytes: the length of the
    name as 4 bytes (big endian), the name, the length of the value as 4 bytes, the value. POSIX
    ACLs are the attributes ``system.posix_acl_access`` and ``system.posix_acl_default``, in the
    kernel's own form. Attributes that this process may not see are not among them.
    """
    try:
        names = _list(path)
        if not names:
            return ""
        digest = hashlib.sha256()
        for name in sorted(map(os.fsencode, names)):
            value = _get(path, name)
            for part in (name, value):
                digest.update(len(part).to_bytes(4, "big"))
                digest.update(part)
        return digest.hexdigest()
    except OSError as e:
        if e.errno in _NO_ATTRIBUTES:
            return ""
        raise


def _list(path: bytes | int) -> list[str]:
    if isinstance(path, int):
        return os.listxattr(path)
    return os.listxattr(path, follow_symlinks=False)


def _get(path: bytes | int, name: bytes) -> bytes:
    if isinstance(path, int):
        return os.getxattr(path, name)
    return os.getxattr(path, name, follow_symlinks=False)
