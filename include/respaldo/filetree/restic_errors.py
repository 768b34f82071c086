"""What restic's last words mean, and the next step."""

from __future__ import annotations

import re

from include.respaldo.errors import (
    Busy,
    ConfigurationError,
    CorruptObject,
    KeyNotFound,
    RespaldoError,
    ToolFailed,
    VaultUnreachable,
)

_LAST = 1500

#: in this order: the first that fits
_TABLE: tuple[tuple[str, type[RespaldoError], str, str], ...] = (
    (
        r"repository is already locked|unable to create lock",
        Busy,
        "the repository is locked by somebody else",
        "a retention run or a check works on it; the run is repeated. If nobody does, "
        "`restic unlock --remove-all` removes the lock",
    ),
    (
        r"wrong password or no key found",
        ConfigurationError,
        "the password does not open the repository",
        "the password of `repository.connection` must be the one the repository was made with",
    ),
    (
        r"Access ?Denied|InvalidAccessKeyId|SignatureDoesNotMatch|Access Key Id you provided",
        ConfigurationError,
        "the vault's service refuses the credentials",
        "correct login and password of the vault's connection",
    ),
    (
        r"NoSuchBucket|specified bucket does not exist",
        ConfigurationError,
        "the bucket does not exist",
        "make it, or correct the uri of this vault in the configuration",
    ),
    (
        r"Is there a repository at the following location|unable to open config file",
        KeyNotFound,
        "there is no repository",
        "the first backup of this category makes it; if there was one, copy its `config` back from "
        "the other region",
    ),
    (
        r"no space left on device|disk quota exceeded",
        ToolFailed,
        "the disk is full",
        "make room where the landing zone and restic's cache lie",
    ),
    (
        r"no matching ID found|no snapshot found|multiple IDs with prefix|not found in snapshot"
        r"|failed to load snapshot .*(?:does not exist|no such file)",  # 0.17 and newer
        KeyNotFound,
        "there is no such snapshot, or no such path in it",
        "retention may have removed it: read the catalog again",
    ),
    (
        r"ciphertext verification failed|invalid data returned|wrong hash|does not match id"
        r"|hash (?:mismatch|does not match)|id mismatch|not found in (?:the )?index"
        r"|not found in repository|unable to load tree|data corruption|invalid pack"
        r"|tree .* (?:not found|error)|pack .* (?:does not exist|contains|size)"
        r"|repository contains errors"
        r"|file does not exist|The specified key does not exist|unexpected EOF|invalid length"
        r"|unable to load index|invalid character|unexpected end of JSON"
        r"|is truncated|readFull|zstd|MessageAuthentication",
        CorruptObject,
        "the repository is damaged",
        "run the geo-redundancy check: it brings damaged and missing objects back from the other "
        "region; until then restore from there",
    ),
    (
        r"connection refused|no such host|i/o timeout|connection reset|network is unreachable"
        r"|no route to host|Service ?Unavailable|InternalError|502 Bad|503 |504 |timeout awaiting"
        r"|context deadline exceeded|EOF$",
        VaultUnreachable,
        "the vault's service failed meanwhile",
        "the run is repeated; see whether the service is up and reachable from here",
    ),
)


def error_of(what: str, status: int, said: str, uri: str) -> RespaldoError:
    """Return the error that a run of restic ended with.

    :param said: its last lines; they hold no secret, restic does not print any.
    """
    last = said.strip()[-_LAST:]
    for pattern, kind, message, hint in _TABLE:
        if re.search(pattern, said, re.IGNORECASE | re.MULTILINE):
            return kind(f"{message}: {uri}\n{what} said:\n{last}", hint=hint)
    return ToolFailed(f"{what} on {uri} ended with {status}:\n{last}")
