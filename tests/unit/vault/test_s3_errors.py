"""What the refusals of an S3 service become."""

from __future__ import annotations

import pytest
from botocore import exceptions as boto

from include.respaldo.errors import (
    ConfigurationError,
    KeyNotFound,
    KeyTaken,
    RespaldoError,
    VaultError,
    VaultUnreachable,
)
from include.respaldo.vault.s3_errors import Answers


def refusal(status: int, code: str) -> boto.ClientError:
    return boto.ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
    )


def translated(error: Exception, action: str = "write") -> RespaldoError:
    with pytest.raises(RespaldoError) as raised, Answers("the primary vault (s3://b)", action, "k"):
        raise error
    return raised.value


@pytest.mark.parametrize(
    "error",
    [
        refusal(503, "SlowDown"),
        refusal(500, "InternalError"),
        refusal(502, "502"),
        refusal(429, "TooManyRequests"),
        refusal(400, "RequestTimeout"),
        refusal(400, "BadDigest"),
        boto.EndpointConnectionError(endpoint_url="http://x"),
        boto.ConnectTimeoutError(endpoint_url="http://x"),
        boto.ReadTimeoutError(endpoint_url="http://x"),
        boto.ConnectionClosedError(endpoint_url="http://x"),
        boto.ResponseStreamingError(error="cut"),
        boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    ],
    ids=repr,
)
def test_passing_faults_can_be_tried_again(error: Exception) -> None:
    found = translated(error)

    assert isinstance(found, VaultUnreachable)
    assert found.retryable
    assert "the primary vault (s3://b)" in found.message


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (refusal(403, "AccessDenied"), VaultError, "s3:PutObject"),
        (refusal(403, "403"), VaultError, "s3:PutObject"),
        (refusal(403, "SignatureDoesNotMatch"), VaultError, "login and password"),
        (refusal(400, "ExpiredToken"), VaultError, "renew"),
        (refusal(403, "RequestTimeTooSkewed"), VaultError, "clock"),
        (refusal(301, "PermanentRedirect"), VaultError, "region_name"),
        (refusal(404, "NoSuchBucket"), VaultError, "create the bucket"),
        (refusal(501, "NotImplemented"), VaultError, "documentation"),
        (refusal(404, "NoSuchKey"), KeyNotFound, ""),
        (refusal(404, "404"), KeyNotFound, ""),
        (boto.SSLError(endpoint_url="https://x", error="e"), VaultError, "authority"),
        (boto.NoCredentialsError(), ConfigurationError, "login"),
    ],
    ids=str,
)
def test_lasting_refusals_name_the_next_step(
    error: Exception, kind: type[RespaldoError], hint: str
) -> None:
    found = translated(error)

    assert type(found) is kind
    assert not found.retryable
    assert hint in found.hint


def test_a_refused_listing_names_the_permission_to_list() -> None:
    assert "s3:ListBucket" in translated(refusal(403, "AccessDenied"), "list").hint


def test_our_own_errors_and_bugs_pass_unchanged() -> None:
    with pytest.raises(KeyTaken), Answers("v", "write"):
        raise KeyTaken("k")
    with pytest.raises(ZeroDivisionError), Answers("v", "write"):
        raise ZeroDivisionError
