"""Small JSON objects that carry their own digest, so that a flipped bit is seen when read."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no optional white space, in UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def seal(body: dict[str, Any]) -> bytes:
    """Return ``{"body": …, "sha256": …}``; the digest is that of the canonical form of the body."""
    digest = hashlib.sha256(canonical(body)).hexdigest()
    return json.dumps(
        {"body": body, "sha256": digest}, sort_keys=True, indent=1, ensure_ascii=False
    ).encode()


def unseal(data: bytes) -> dict[str, Any]:
    """Return the body.

    :raises ValueError: not JSON, not sealed, or the digest does not fit the body.
    """
    try:
        outer = json.loads(data)
        body, digest = outer["body"], outer["sha256"]
    except (ValueError, KeyError, TypeError) as e:
        raise ValueError(f"not a sealed object: {e}") from e
    if not isinstance(body, dict) or hashlib.sha256(canonical(body)).hexdigest() != digest:
        raise ValueError("the digest of a sealed object does not fit its body")
    return body
