"""Where a restic repository is, and what opens it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from include.respaldo.connections import Connection
from include.respaldo.errors import ConfigurationError


@dataclass(frozen=True)
class RepositoryLocation:
    """A repository in a bucket or in a folder; its repr shows no secret.

    :ivar uri: as restic writes it; holds no secret.
    :ivar endpoint: what has to answer, ``https://host[:port]``; "": a folder.
    :ivar environment: variables of restic's process alone; they hold the secrets.
    :ivar options: global options of restic.
    """

    uri: str
    environment: dict[str, str] = field(repr=False)
    endpoint: str = ""
    options: tuple[str, ...] = ()

    @classmethod
    def s3(cls, uri: str, prefix: str, connection: Connection, password: str | None) -> Self:
        """Return the repository below a vault's URI (``s3://bucket/…``) and a prefix of keys.

        :param connection: opens the vault, with the extras that `vault.s3_client.connect` knows.
        :param password: encrypts the repository.
        :raises ConfigurationError: the connection asks for what restic cannot do.
        """
        parts = urlsplit(uri)
        if parts.scheme != "s3" or not parts.netloc:
            raise ConfigurationError(
                f"a vault's uri is s3://bucket or s3://bucket/prefix, found {uri!r}",
                hint="correct the uri of this vault in the configuration",
            )
        extra = connection.extra
        if extra.get("role_arn"):
            raise ConfigurationError(
                f"connection {connection.conn_id!r}: role_arn is not supported",
                hint="give it a key and its secret (login and password)",
            )
        region = extra.get("region_name") or ""
        endpoint = (
            extra.get("endpoint_url") or f"https://s3.{region or 'us-east-1'}.amazonaws.com"
        ).rstrip("/")
        style = extra.get("addressing_style") or ("path" if extra.get("endpoint_url") else "auto")
        lookup = {"path": "path", "virtual": "dns"}.get(str(style), "auto")
        options = ["-o", f"s3.bucket-lookup={lookup}"]
        if region:
            options += ["-o", f"s3.region={region}"]
        verify = extra.get("verify")
        if isinstance(verify, str) and verify.lower() in {"false", "true"}:
            verify = verify.lower() == "true"
        if verify is False:
            options.append("--insecure-tls")
        elif isinstance(verify, str) and verify:
            options += ["--cacert", verify]
        key = "/".join(p for p in (unquote(parts.path).strip("/"), prefix.strip("/")) if p)
        secrets = {
            "AWS_ACCESS_KEY_ID": connection.login,
            "AWS_SECRET_ACCESS_KEY": connection.password,
            "AWS_SESSION_TOKEN": extra.get("aws_session_token"),
            "AWS_PROFILE": extra.get("profile_name"),
        }
        return cls(
            uri=f"s3:{endpoint}/{parts.netloc}/{key}",
            environment={
                **{k: str(v) for k, v in secrets.items() if v},
                "RESTIC_PASSWORD": _checked(password),
            },
            endpoint=endpoint,
            options=tuple(options),
        )

    @classmethod
    def folder(cls, path: Path, password: str | None) -> Self:
        """Return the repository in a folder of this machine."""
        return cls(uri=str(path.resolve()), environment={"RESTIC_PASSWORD": _checked(password)})


def _checked(password: str | None) -> str:
    if not password:
        raise ConfigurationError(
            "the connection of the repository has no password",
            hint="the password of `repository.connection` encrypts the repository; without it "
            "nothing can be restored",
        )
    return password
