"""What an S3 service's refusals mean for us: can trying later help, and what to do."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from include.respaldo.errors import (
    ConfigurationError,
    KeyNotFound,
    RespaldoError,
    VaultError,
    VaultUnreachable,
)

PASSING = frozenset({
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    # the bytes were damaged on their way: ours had this digest when they left
    "BadDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
})
_LOGIN = "correct the login and password of the vault's connection"
_EXPIRED = "the session token has expired: renew the credentials"
_REGION = "set region_name of the connection to the bucket's region"
HINTS = {
    "NoSuchBucket": "create the bucket, or correct the vault's uri in the configuration",
    "InvalidAccessKeyId": _LOGIN,
    "SignatureDoesNotMatch": _LOGIN,
    "AuthFailure": _LOGIN,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it (NTP)",
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "PermanentRedirect": _REGION,
    "301": _REGION,
}
#: what an operation needs to be allowed; HEAD answers 403 for a missing key without ListBucket
PERMISSIONS = {
    "read": "s3:GetObject and s3:ListBucket",
    "list": "s3:ListBucket",
    "write": "s3:PutObject (and s3:AbortMultipartUpload)",
    "delete": "s3:DeleteObject",
    "abort": "s3:ListBucketMultipartUploads and s3:AbortMultipartUpload",
}


class Answers:
    """Raise our errors for whatever boto3 raises in a ``with`` block.

    :param vault: how messages name the vault: ``the primary vault (s3://…)``.
    :param action: one of `PERMISSIONS`.
    """

    def __init__(self, vault: str, action: str, key: str = "") -> None:
        self._vault = vault
        self._action = action
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, RespaldoError):
            translated = self._translate(error)
            if translated is not None:
                raise translated from error

    def _translate(self, error: Exception) -> RespaldoError | None:
        from botocore import exceptions as boto

        if isinstance(error, boto.ClientError):
            return self._refusal(error.response)
        if isinstance(error, boto.SSLError):
            return VaultError(
                f"{self._vault}: the service's certificate is not trusted",
                hint="use the host name in the certificate, or install its authority here",
            )
        if isinstance(
            error, boto.HTTPClientError | boto.ConnectionError | boto.IncompleteReadError
        ):
            return VaultUnreachable(
                f"{self._vault} does not answer: {type(error).__name__}",
                hint="check the service and the connection's endpoint_url; trying again can help",
            )
        if isinstance(
            error,
            boto.NoCredentialsError | boto.PartialCredentialsError | boto.ProfileNotFound,
        ):
            return ConfigurationError(
                f"{self._vault}: no credentials were found",
                hint="give the connection a login and a password, or run with an instance role",
            )
        if isinstance(error, boto.BotoCoreError):
            return VaultError(f"{self._vault} cannot {self._action}{self._of}: {error}")
        return None

    @property
    def _of(self) -> str:
        return f" {self._key!r}" if self._key else ""

    def _refusal(self, response: Any) -> RespaldoError:
        code = str(response.get("Error", {}).get("Code", ""))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        said = f"{self._vault} refused to {self._action}{self._of} ({status} {code})"
        if code in PASSING or status == 429 or (status >= 500 and status != 501):
            return VaultUnreachable(said, hint="the service is overloaded or ill: try again later")
        if code in {"NoSuchKey", "404"}:
            return KeyNotFound(f"{self._vault} has no {self._key!r}")
        hint = HINTS.get(code)
        if hint is None and status == 403:
            hint = f"allow {PERMISSIONS[self._action]} to the vault's credentials"
        return VaultError(said, hint=hint or "see the service's documentation of this code")


class Reader:
    """A response's bytes; its errors are ours."""

    def __init__(self, body: Any, answers: Answers) -> None:
        self._body = body
        self._answers = answers

    def read(self, size: int = -1, /) -> bytes:
        with self._answers:
            data: bytes = self._body.read(None if size < 0 else size)
            return data
