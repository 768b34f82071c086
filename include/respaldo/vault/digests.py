"""Bytes against the digest they are said to have."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from include.respaldo.errors import CorruptObject

BLOCK = 1 << 20
DAMAGED = "the copy in the other region may be whole; otherwise use another backup"


def sha256_of(data: bytes) -> str:
    """Return the hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal digest of a file of any size."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def check_digest(data: bytes, sha256: str, what: str) -> None:
    """:raises CorruptObject: the bytes do not have the digest."""
    found = sha256_of(data)
    if found != sha256:
        raise CorruptObject(f"{what}: expected SHA-256 {sha256}, found {found}", hint=DAMAGED)


def receive(source: BinaryIO, to: Path, sha256: str, what: str) -> None:
    """Write all of `source` to a file, in bounded memory.

    :raises CorruptObject: the bytes do not have the digest; after any error `to` is gone.
    """
    digest = hashlib.sha256()
    try:
        with to.open("wb") as out:
            while block := source.read(BLOCK):
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != sha256:
            raise CorruptObject(
                f"{what}: expected SHA-256 {sha256}, found {digest.hexdigest()}", hint=DAMAGED
            )
    except BaseException:
        to.unlink(missing_ok=True)
        raise
