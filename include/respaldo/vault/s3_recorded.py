"""What the answer to HEAD says of an object's bytes."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from contextlib import suppress
from typing import Any

from include.respaldo.ports import Recorded

_MD5 = re.compile(r"[0-9a-f]{32}")


def recorded_in(head: dict[str, Any]) -> Recorded:
    """Return the digests: the store's own SHA-256 of the whole, else that of our metadata; MD5.

    An ETag is the MD5 of the bytes only of what was uploaded in one part, and not encrypted with
    a key of the key service or of the customer.

    :param head: with ``ChecksumMode`` enabled, metadata in lower case.
    """
    sha256 = str(head.get("Metadata", {}).get("sha256", ""))
    checksum = str(head.get("ChecksumSHA256", ""))
    if checksum and "-" not in checksum:  # else it is one of the parts' digests
        with suppress(NotBase64):
            sha256 = b64decode(checksum, validate=True).hex()
    etag = str(head.get("ETag", "")).strip('"')
    encrypted = (
        "SSECustomerAlgorithm" in head or head.get("ServerSideEncryption", "AES256") != "AES256"
    )
    return Recorded(sha256, "" if encrypted or not _MD5.fullmatch(etag) else etag)
