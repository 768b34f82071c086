"""How objects are cut into parts."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest

from include.respaldo.errors import CorruptObject, VaultError
from include.respaldo.vault import s3_upload
from include.respaldo.vault.s3_upload import (
    LARGEST_PART,
    MIB,
    MOST_PARTS,
    part_size,
    upload_parts,
)


@pytest.mark.parametrize(
    "size", [1, 16 * MIB, 156 << 30, 157 << 30, 1 << 40, LARGEST_PART * MOST_PARTS]
)
def test_parts_are_never_too_many_nor_too_big(size: int) -> None:
    width = part_size(size)

    assert 16 * MIB <= width <= LARGEST_PART
    assert width * MOST_PARTS >= size


def test_an_object_whose_parts_do_not_fit_into_memory_is_refused() -> None:
    with pytest.raises(VaultError, match="at most"):
        part_size(LARGEST_PART * MOST_PARTS + 1)


class Dribble(io.BytesIO):
    """Gives less than it is asked for, as sockets do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 7, 7))


@pytest.mark.parametrize("size", [1, 99, 100, 101, 250])
def test_parts_are_equal_but_for_the_last_however_the_source_reads(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "part_size", lambda size: 100)
    monkeypatch.setattr(s3_upload, "BUFFERS", 400)
    data = bytes(n % 251 for n in range(size))
    sent: dict[int, bytes] = {}

    def send(number: int, part: bytes | bytearray) -> dict[str, Any]:
        sent[number] = bytes(part)
        return {"PartNumber": number}

    parts = upload_parts(send, Dribble(data), size, hashlib.sha256(data).hexdigest())

    assert [p["PartNumber"] for p in parts] == sorted(sent) == list(range(1, len(sent) + 1))
    assert b"".join(sent[n] for n in sorted(sent)) == data
    assert all(len(sent[n]) == 100 for n in sorted(sent)[:-1])


@pytest.mark.parametrize("offered", [b"short", b"longer than was said"])
def test_a_source_of_another_size_is_refused(offered: bytes) -> None:
    digest = hashlib.sha256(b"exactly this").hexdigest()

    with pytest.raises(CorruptObject, match="expected 12 bytes"):
        upload_parts(lambda n, d: {}, io.BytesIO(offered), 12, digest)


def test_an_error_of_a_part_ends_the_upload() -> None:
    def refuse(number: int, data: bytes | bytearray) -> dict[str, Any]:
        raise VaultError("no")

    with pytest.raises(VaultError, match="no"):
        upload_parts(refuse, io.BytesIO(b"x"), 1, hashlib.sha256(b"x").hexdigest())
