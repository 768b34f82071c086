"""From an Airflow connection to a boto3 client."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from include.respaldo.connections import Connection
from include.respaldo.errors import ConfigurationError

KNOWN_EXTRAS = (
    "endpoint_url",
    "region_name",
    "aws_session_token",
    "profile_name",
    "addressing_style",
    "verify",
)


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Return what ``s3://bucket/prefix`` names; the prefix without slashes at its ends.

    :raises ConfigurationError: it is not of that form.
    """
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(
            f"a vault's uri is s3://bucket or s3://bucket/prefix, found {uri!r}",
            hint="correct the uri of this vault in the configuration",
        )
    return parts.netloc, unquote(parts.path).strip("/")


def connect(connection: Connection) -> Any:
    """Return a client of the service; sends nothing yet.

    Login and password are the key and its secret; without them boto3's own chain finds
    credentials (environment, profile, instance role). Extras: `KNOWN_EXTRAS`.

    :raises ConfigurationError: the connection asks for what is not supported.
    """
    if connection.extra.get("role_arn"):
        raise ConfigurationError(
            f"connection {connection.conn_id!r}: role_arn is not supported",
            hint="name a profile of the AWS configuration that assumes the role (profile_name)",
        )
    # slow to import: only those who open a vault wait for it
    import boto3
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    extra = connection.extra
    endpoint = extra.get("endpoint_url") or None
    # services of one's own rarely have a DNS name for each bucket
    style: Any = extra.get("addressing_style") or ("path" if endpoint else "auto")
    own = botocore.session.get_session()
    own.register_component("data_loader", _descriptions())
    try:
        session = boto3.Session(
            botocore_session=own,
            aws_access_key_id=connection.login or None,
            aws_secret_access_key=connection.password or None,
            aws_session_token=extra.get("aws_session_token") or None,
            region_name=extra.get("region_name") or None,
            profile_name=extra.get("profile_name") or None,
        )
        return session.client(
            "s3",
            endpoint_url=endpoint,
            verify=extra.get("verify"),
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                # a stopped region must be noticed within seconds
                retries={"mode": "standard", "total_max_attempts": 3},
                s3={"addressing_style": style},
                # we send SHA-256, and verify digests of our own when reading
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    except (BotoCoreError, ValueError) as e:
        raise ConfigurationError(
            f"connection {connection.conn_id!r} cannot open an S3 service: {e}",
            hint="the extras are " + ", ".join(KNOWN_EXTRAS),
        ) from None


@cache
def _descriptions() -> Any:
    """Return botocore's descriptions of services, which are most of a client's cost."""
    from botocore.loaders import create_loader

    return create_loader()


def same_service(one: Any, other: Any) -> bool:
    """Return whether one service holds the buckets of both clients, and can copy between them."""
    a, b = one.meta.endpoint_url, other.meta.endpoint_url
    return bool(a == b) or (_is_aws(a) and _is_aws(b))


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")
