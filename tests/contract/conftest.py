"""Two independent S3 services, and vaults in buckets of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from embedded.s3 import S3Server
from embedded.swift import SwiftServer
from include.respaldo.connections import from_environment
from include.respaldo.ports import Vault
from include.respaldo.vault.memory import MemoryVault
from include.respaldo.vault.s3 import S3Vault, connect_s3_vault

SWIFT_REGION = "eu-north-1"
_numbers = count(1)


def vault_of(server: S3Server, bucket: str, region: str = "primary") -> S3Vault:
    """Return a vault in a bucket, made if need be, below a prefix."""
    server.create_bucket(bucket)
    connection = from_environment("vault", {"AIRFLOW_CONN_VAULT": server.connection_uri()})
    return connect_s3_vault(f"s3://{bucket}/kept", connection, region)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("ministack")
    with S3Server(folder) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def ministack_far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Another region: a process and a folder of its own."""
    folder = tmp_path_factory.mktemp("ministack-far")
    with S3Server(folder, region="us-east-2") as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    folder = tmp_path_factory.mktemp("swift")
    with SwiftServer(folder, region=SWIFT_REGION) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def new_vault(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Vault]]:
    """Return a function: the name of a service (``memory``, ``swift`` …) -> an empty vault."""
    opened: list[S3Vault] = []

    def make(service: str) -> Vault:
        number = next(_numbers)
        region = "primary" if number % 2 else "replica"
        if service == "memory":
            return MemoryVault(f"vault-{number}", region=region)
        vault = vault_of(request.getfixturevalue(service), f"vault-{number}", region)
        opened.append(vault)
        return vault

    yield make
    for vault in opened:
        vault.client.close()


@pytest.fixture(params=["memory", "ministack", "swift"])
def vault(request: pytest.FixtureRequest, new_vault: Callable[[str], Vault]) -> Vault:
    """An empty vault on each of the services."""
    return new_vault(request.param)


@pytest.fixture(params=["ministack", "swift"])
def s3_vault(request: pytest.FixtureRequest, new_vault: Callable[[str], Vault]) -> S3Vault:
    """An empty vault on each of the S3 services."""
    made = new_vault(request.param)
    assert isinstance(made, S3Vault)
    return made


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    """A file of 33 MiB, its end not at the end of a part, no two parts alike."""
    path = tmp_path / "big"
    block = bytes(range(256)) * 4096
    with path.open("wb") as f:
        for number in range(33):
            f.write(number.to_bytes(2, "big") + block[2:])
        f.write(b"the end")
    return path
