"""Everything that Respaldo refuses or fails with.

RespaldoError
├── ConfigurationError          what is written in the configuration or a connection is wrong
├── UnreachableError            a server or a vault does not answer now              (retry)
│   ├── VaultUnreachable
│   ├── ServerUnreachable
│   └── HostUnreachable
├── VaultError
│   ├── KeyTaken                a write-once key already holds other bytes
│   ├── KeyNotFound
│   └── CorruptObject           bytes read back differ from what was sealed
├── SourceError                 one source could not be backed up, prepared or archived
│   ├── ToolFailed              pg_dump, pg_restore, … ended with an error           (retry)
│   └── NotPrepared             the database is not (or no longer) ready for archiving
├── ChainBroken                 continuity of a query log cannot be proven
├── RestoreRefused              the restore would not be exact; says which points can be had
├── RestoreFailed               a restore was begun and stopped; nothing was left behind
│   └── LogDiverged             the log and the database it is replayed on do not fit together
├── Busy                        somebody else is doing the same thing now            (retry)
└── SomeFailed                  a batch ended; names those that failed, the rest is done

Every error says what was expected and found, then `hint`: the next step. `retryable` is the one
table that orchestration reads to choose between "retry" and "fail now".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class RespaldoError(Exception):
    """Base of the tree.

    :param message: lower case, what was expected and what was found; never holds a secret.
    :param hint: the next step for the person who reads it; empty when there is none.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class ConfigurationError(RespaldoError):
    """What is written in the configuration or a connection is wrong."""


class UnreachableError(RespaldoError):
    """A server or a vault does not answer now; trying again can help."""

    retryable = True


class VaultUnreachable(UnreachableError):
    """The vault's service does not answer, or answers with a passing fault."""


class ServerUnreachable(UnreachableError):
    """The PostgreSQL server does not accept a connection now."""


class HostUnreachable(UnreachableError):
    """The host does not accept an SSH connection now."""


class VaultError(RespaldoError):
    """The vault answered, and the answer is no."""


class KeyTaken(VaultError):
    """A write-once key already holds other bytes than those offered."""


class KeyNotFound(VaultError):
    """No object stands under that key."""


class CorruptObject(VaultError):
    """Bytes read back differ from what was sealed (digest, size or structure)."""


class SourceError(RespaldoError):
    """One source could not be backed up, prepared or archived."""


class ToolFailed(SourceError):
    """An external program ended with an error; its last lines are in the message."""

    retryable = True


class NotPrepared(SourceError):
    """The database is not (or no longer) ready for archiving."""


class ChainBroken(RespaldoError):
    """Continuity of a query log cannot be proven; a new chain has to begin."""


class RestoreRefused(RespaldoError):
    """The restore would not be exact. The hint names the points that can be had."""


class RestoreFailed(RespaldoError):
    """A restore was begun and stopped; nothing was left under the final name."""


class LogDiverged(RestoreFailed):
    """The log and the database it is replayed on do not fit together."""


class Busy(RespaldoError):
    """Somebody else is doing the same thing now."""

    retryable = True


class SomeFailed(RespaldoError):
    """A batch has ended: those named failed, the rest is done.

    :param failures: name of the source -> its error.
    """

    def __init__(self, what: str, failures: Mapping[str, BaseException]) -> None:
        lines = "".join(f"\n  {name}: {error}" for name, error in sorted(failures.items()))
        super().__init__(
            f"{len(failures)} failed to {what}:{lines}",
            hint="the others are done; a retry does only what is missing",
        )
        self.failures = dict(failures)
        self.retry_can_help = any(
            not isinstance(e, RespaldoError) or e.retryable for e in failures.values()
        )


def can_retry(error: BaseException) -> bool:
    """Return whether trying the same again can help: the table that orchestration reads."""
    if isinstance(error, SomeFailed):
        return error.retry_can_help
    if isinstance(error, RespaldoError):
        return error.retryable
    return True  # unknown: a bug or a passing fault; a bounded number of retries tells
