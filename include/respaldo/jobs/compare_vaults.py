"""The listings of both regions side by side: what agrees, what is in doubt, and who is right."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from include.respaldo.model.redundancy import is_repository, is_sealed
from include.respaldo.model.sealed import unseal
from include.respaldo.ports import Recorded, StoredObject, Vault

if TYPE_CHECKING:
    from include.respaldo.vault.mirror import MirroredVault

_PARTS = re.compile(r"[0-9a-f]{32}(?:-(\d+))?")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Pair:
    """One key as both regions list it; at least one of them does."""

    key: str
    primary: StoredObject | None
    replica: StoredObject | None

    @property
    def one(self) -> StoredObject:
        """What stands there; the primary's where both have it."""
        found = self.primary or self.replica
        assert found is not None
        return found


class Likeness(Enum):
    """What two listings say of one object."""

    SAME = "same"
    #: of the same size; their marks cannot be compared (uploaded in other parts, encrypted)
    SAME_SIZE = "same size"
    IN_DOUBT = "in doubt"


def side_by_side(vaults: MirroredVault, prefix: str) -> Iterator[Pair]:
    """Yield each key below a prefix that a region lists, in the order of keys.

    :raises VaultUnreachable: a region does not answer: nothing can be said then.
    """
    left, right = vaults.primary.list(prefix), vaults.replica.list(prefix)
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a.key < b.key):
            assert a is not None
            yield Pair(a.key, a, None)
            a = next(left, None)
        elif a is None or b.key < a.key:
            yield Pair(b.key, None, b)
            b = next(right, None)
        else:
            yield Pair(a.key, a, b)
            a, b = next(left, None), next(right, None)


def likeness(one: StoredObject, other: StoredObject) -> Likeness:
    """Return what the sizes and the stores' own marks (ETag) say of two copies."""
    if one.size != other.size:
        return Likeness.IN_DOUBT
    if one.etag and one.etag == other.etag:
        return Likeness.SAME
    shapes = [_PARTS.fullmatch(o.etag) for o in (one, other)]
    if any(shape is None for shape in shapes) or len({s[1] for s in shapes if s}) > 1:
        return Likeness.SAME_SIZE  # no digests, or digests of other parts
    return Likeness.IN_DOUBT


@dataclass(frozen=True)
class Judgement:
    """Who has the bytes that were promised: True, False, or None where nobody can say."""

    primary: bool | None
    replica: bool | None
    #: the bytes are the same in both, whatever they should be
    alike: bool = False


def judge(
    vaults: MirroredVault, pair: Pair, sha256: str, *, size: int | None = None
) -> Judgement | None:
    """Return which copy is what was promised; reads only what the stores' records leave open.

    Returns None where they are of the same size and the stores keep nothing to compare.

    :param sha256: the promised digest; "" where only a seal, or nothing, speaks for the bytes.
    :param size: the promised size.
    :raises KeyNotFound: it was removed meanwhile.
    """
    assert pair.primary is not None
    assert pair.replica is not None
    if not sha256:
        return _by_reading(vaults, pair.key)
    sizes = pair.primary.size, pair.replica.size
    if size is not None and sizes != (size, size):
        # of the other one the digest is looked at before anything is replaced by it
        return Judgement(sizes[0] == size, sizes[1] == size)
    records = vaults.primary.recorded(pair.key), vaults.replica.recorded(pair.key)
    if sizes[0] == sizes[1] and is_repository(pair.key) and not all(r.md5 for r in records):
        return None  # restic records no digest, and reading whole repositories is no comparison
    if sizes[0] == sizes[1] and _are_proof(records, sha256):
        return Judgement(primary=True, replica=True, alike=True)
    digests = [digest_of(vault, pair.key) for vault in (vaults.primary, vaults.replica)]
    return Judgement(digests[0] == sha256, digests[1] == sha256, digests[0] == digests[1])


def _are_proof(records: tuple[Recorded, Recorded], sha256: str) -> bool:
    """Return whether both were written with this digest, and nothing says that they differ now."""
    one, other = records
    differ = one.md5 and other.md5 and one.md5 != other.md5
    return one.sha256 == other.sha256 == sha256 and not differ


def _by_reading(vaults: MirroredVault, key: str) -> Judgement:
    one, other = vaults.primary.read(key), vaults.replica.read(key)
    if not is_sealed(key):
        return Judgement(None, None, one == other)
    return Judgement(_is_whole(one), _is_whole(other), one == other)


def _is_whole(data: bytes) -> bool:
    try:
        unseal(data)
    except ValueError:
        return False
    return True


def digest_of(vault: Vault, key: str) -> str:
    """Return the SHA-256 of an object by reading it, in bounded memory."""
    digest = hashlib.sha256()
    with vault.open(key) as source:
        while block := source.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
