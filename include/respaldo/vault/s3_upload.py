"""Big objects: parts of equal size, a few at once, digests of the parts and of the whole."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from include.respaldo.errors import CorruptObject, VaultError

MIB = 1 << 20
SMALL = 16 * MIB
BUFFERS = 64 * MIB
MOST_PARTS = 10_000
#: one part in memory at a time keeps a process below 256 MiB
LARGEST_PART = 160 * MIB


def part_size(size: int) -> int:
    """Return the size of parts, in bytes, for an object of `size` bytes.

    :raises VaultError: the object is too big for parts that fit into memory (1.5 TiB).
    """
    needed = -(-size // MOST_PARTS)
    rounded = max(SMALL, -(-needed // MIB) * MIB)
    if rounded > LARGEST_PART:
        raise VaultError(
            f"an object has {size} bytes; at most {LARGEST_PART * MOST_PARTS} can be stored",
            hint="exclude what makes this source so big, or split it",
        )
    return rounded


def digest_header(data: bytes | bytearray) -> str:
    """Return the SHA-256 as S3 wants it."""
    return b64encode(hashlib.sha256(data).digest()).decode()


def upload_parts(
    send: Callable[[int, bytes | bytearray], dict[str, Any]],
    source: BinaryIO,
    size: int,
    sha256: str,
) -> list[dict[str, Any]]:
    """Send all of `source` in parts; return what completes the upload.

    Parts wait for nothing but a free buffer; at most `BUFFERS` bytes are held (one part, where
    parts are bigger).

    :param send: sends one numbered part, returns its entry; called from several threads.
    :raises CorruptObject: the bytes read are not those of `size` and `sha256`.
    """
    whole = hashlib.sha256()
    found = 0
    width = part_size(size)
    parts: list[dict[str, Any]] = []
    waiting: deque[Future[dict[str, Any]]] = deque()
    # one buffer is the one being read
    slots = max(1, BUFFERS // width - 1)
    with ThreadPoolExecutor(slots, thread_name_prefix="upload") as pool:
        try:
            while data := _read(source, width):
                whole.update(data)
                found += len(data)
                if found > size:
                    break
                waiting.append(pool.submit(send, len(parts) + len(waiting) + 1, data))
                del data  # the thread that sends it holds it now, and lets go of it
                while len(waiting) >= slots:
                    parts.append(waiting.popleft().result())
            while waiting:
                parts.append(waiting.popleft().result())
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if found != size or whole.hexdigest() != sha256:
        raise CorruptObject(
            f"expected {size} bytes with SHA-256 {sha256}, found "
            f"{'more' if found > size else found} with {whole.hexdigest()}"
        )
    return parts


def _read(source: BinaryIO, width: int) -> bytes | bytearray:
    """Return the next `width` bytes; fewer only at the end, however little `read` returns."""
    block = source.read(width)
    if not block or len(block) == width:
        return block
    buffer = bytearray(block)
    del block
    while len(buffer) < width and (more := source.read(width - len(buffer))):
        buffer += more
    return buffer
