"""restic repositories whose key is derived quickly.

restic makes each program that opens a repository spend half a second on its password (scrypt, on
purpose). Tests open thousands. These are made by restic itself, and their key is then encrypted
anew, as https://restic.readthedocs.io/en/v0.14.0/100_references.html#keys-encryption-and-mac says,
with the least of scrypt.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from base64 import b64decode, b64encode
from functools import cache
from hashlib import scrypt, sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.poly1305 import Poly1305

from include.respaldo.model import keys
from include.respaldo.model.backup import Category
from include.respaldo.ports import Vault

_LEAST = {"N": 2, "r": 8, "p": 1}
_MEMORY = 256 << 20
_NONCE = _MAC = 16


@cache
def new_repository(password: str) -> dict[str, bytes]:
    """Return the objects of an empty repository, by their names in it."""
    with tempfile.TemporaryDirectory(prefix="respaldo-repository-") as folder:
        environment = {**os.environ, "RESTIC_PASSWORD": password, "RESTIC_REPOSITORY": folder}
        subprocess.run(
            ["restic", "init", "-q", "--no-cache", "--repository-version", "2"],
            env=environment,
            check=True,
        )
        (key,) = Path(folder, "keys").iterdir()
        data = _quick(key.read_bytes(), password.encode())
        return {
            "config": Path(folder, "config").read_bytes(),
            f"keys/{sha256(data).hexdigest()}": data,
        }


def make_folder(folder: Path, password: str) -> None:
    """Make an empty repository in a folder."""
    for kind in ("data", "index", "keys", "locks", "snapshots"):
        (folder / kind).mkdir(parents=True)
    for name, data in new_repository(password).items():
        (folder / name).write_bytes(data)


def store_repository(vault: Vault, category: Category, password: str) -> None:
    """Make the empty repository of a category of trees, as its first backup would."""
    for name, data in new_repository(password).items():
        key = keys.repository_prefix(category) + name
        vault.put(key, data, sha256=sha256(data).hexdigest())


def _quick(stored: bytes, password: bytes) -> bytes:
    key = json.loads(stored)
    salt = b64decode(key["salt"])
    plain = _open(b64decode(key["data"]), _derived(password, salt, key))
    data = _seal(plain, _derived(password, salt, _LEAST))
    return json.dumps({**key, **_LEAST, "data": b64encode(data).decode()}).encode()


def _derived(password: bytes, salt: bytes, cost: dict[str, int]) -> bytes:
    return scrypt(
        password, salt=salt, n=cost["N"], r=cost["r"], p=cost["p"], maxmem=_MEMORY, dklen=64
    )


def _open(data: bytes, key: bytes) -> bytes:
    nonce, hidden, mac = data[:_NONCE], data[_NONCE:-_MAC], data[-_MAC:]
    Poly1305.verify_tag(_mac_key(key, nonce), hidden, mac)
    return Cipher(AES(key[:32]), CTR(nonce)).decryptor().update(hidden)


def _seal(plain: bytes, key: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    hidden = Cipher(AES(key[:32]), CTR(nonce)).encryptor().update(plain)
    return nonce + hidden + Poly1305.generate_tag(_mac_key(key, nonce), hidden)


def _mac_key(key: bytes, nonce: bytes) -> bytes:
    """Poly1305-AES: r as it is, the nonce encrypted with k."""
    k, r = key[32:48], key[48:64]
    return r + Cipher(AES(k), ECB()).encryptor().update(nonce)
