"""What a connection says of keys: the host's, which is checked, and ours, which opens it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from include.respaldo.connections import Connection
from include.respaldo.errors import ConfigurationError

#: how a host proves that it has an RSA key; SHA-1 is not accepted any more
_RSA_PROOFS = "rsa-sha2-512,rsa-sha2-256"
_TYPE = re.compile(r"[a-z0-9@.-]{1,64}")
HOST_KEY_HINT = (
    "take it from the host itself (cat /etc/ssh/ssh_host_ed25519_key.pub), not over the network, "
    "and put it into the extra 'host_key' of the connection: ssh-ed25519 AAAA…"
)


@dataclass(frozen=True)
class HostKey:
    """A host's public key."""

    kind: str
    #: base64
    data: str

    @property
    def algorithms(self) -> str:
        """What the host may prove it with, as ``HostKeyAlgorithms`` takes it."""
        return _RSA_PROOFS if self.kind == "ssh-rsa" else self.kind

    @property
    def fingerprint(self) -> str:
        """As OpenSSH shows it: ``SHA256:…``."""
        digest = hashlib.sha256(base64.b64decode(self.data)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def __str__(self) -> str:
        return f"{self.kind} {self.data}"


def host_key_of(connection: Connection) -> HostKey:
    """Return the key that the host must have: ``ssh-ed25519 AAAA…``, or its base64 alone.

    :raises ConfigurationError: the connection has none, or asks not to check it.
    """
    where = f"connection {connection.conn_id!r}"
    if _is_true(connection.extra.get("no_host_key_check")):
        raise ConfigurationError(
            f"{where}: no_host_key_check is not supported: anybody could pose as the host",
            hint=f"remove it, and say which key the host has: {HOST_KEY_HINT}",
        )
    text = str(connection.extra.get("host_key") or "").strip()
    if not text:
        raise ConfigurationError(f"{where} has no host_key", hint=HOST_KEY_HINT)
    words = text.split()
    # as in known_hosts, or as in a .pub file; a comment may follow
    data = next((word for word in words if word.startswith("AAAA")), "")
    try:
        blob = base64.b64decode(data, validate=True)
        (length,) = struct.unpack_from(">I", blob)
        kind = blob[4 : 4 + length].decode("ascii")
    except (binascii.Error, struct.error, UnicodeDecodeError):
        kind = ""
    if not _TYPE.fullmatch(kind) or len(blob) <= 4 + length:
        raise ConfigurationError(f"{where}: its host_key is no public key", hint=HOST_KEY_HINT)
    return HostKey(kind, data)


def private_key_of(connection: Connection) -> bytes:
    """Return the text of the key that opens the host, still behind its passphrase if it has one.

    :raises ConfigurationError: the connection has none, or its file cannot be read.
    """
    where = f"connection {connection.conn_id!r}"
    text, file = connection.extra.get("private_key"), connection.extra.get("key_file")
    if text:
        return _lines(str(text))
    if not file:
        raise ConfigurationError(
            f"{where} has no key: a password alone is not supported",
            hint="make one (ssh-keygen -t ed25519); its public part belongs into authorized_keys "
            "of the host's account, the private one into the extra 'private_key' (or its path, "
            "the same on every worker, into 'key_file')",
        )
    try:
        return Path(str(file)).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{where}: its key_file {str(file)!r} cannot be read: {error.strerror}",
            hint="the file must be on every worker, readable for the account that Airflow runs as; "
            "or keep the key itself in the extra 'private_key'",
        ) from None


def passphrase_of(connection: Connection) -> str | None:
    """Return what unlocks the private key; None where it needs nothing."""
    found = connection.extra.get("private_key_passphrase")
    return str(found) if found else None


def _lines(text: str) -> bytes:
    """Return a key's text as a file has it: forms and URIs change line ends."""
    if "\n" not in text:
        text = text.replace("\\r", "").replace("\\n", "\n")
    return (text.replace("\r\n", "\n").strip() + "\n").encode()


def _is_true(value: object) -> bool:
    return str(value).lower() in {"true", "1", "yes", "on"}
