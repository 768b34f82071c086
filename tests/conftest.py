"""Servers that tests share; ``RESPALDO_POSTGRES`` names another major version for them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from psycopg import sql

from embedded.postgres import PostgresServer
from embedded.postgres_versions import on_path, within_reach

OTHER_MAJOR = int(os.environ.get("RESPALDO_POSTGRES") or 0)
_numbers = count(1)


#: what the servers of other major versions were built without
_NOT_BUILT = ("not supported in this build", "unsupported XML feature", "is not available")


@contextmanager
def _or_skipped() -> Iterator[None]:
    """Skip what another major version's server cannot do here; on the system's own it must."""
    try:
        yield
    except Exception as e:
        if OTHER_MAJOR and any(words in str(e) for words in _NOT_BUILT):
            pytest.skip(str(e).splitlines()[0])
        raise


#: these take the longest: begun first, so that no worker is left with one alone at the end
_FIRST = ("tests/oracle", "tests/dags", "tests/versions", "tests/crash", "tests/jobs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((n for n, f in enumerate(_FIRST) if item.nodeid.startswith(f)), len(_FIRST))

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    with _or_skipped():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    with _or_skipped():
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the whole session; tests keep to databases of their own."""
    # not pytest's own temporary folder: the server's account may not enter that
    folder = Path(tempfile.mkdtemp(prefix="respaldo-pg-"))
    folder.chmod(0o755)
    programs = within_reach(OTHER_MAJOR, folder) if OTHER_MAJOR else None
    server = PostgresServer(folder / "server", bin_dir=programs, durable=False)
    with pytest.MonkeyPatch.context() as patch:
        if OTHER_MAJOR:
            patch.setenv("PATH", on_path(OTHER_MAJOR))
        try:
            yield server.start()
        finally:
            server.stop("immediate")
            shutil.rmtree(folder)


def drop_database(server: PostgresServer, name: str) -> None:
    """Drop a database with its slots and whoever is connected to it."""
    with server.connect() as conn:
        conn.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s",
            (name,),
        )
        conn.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
            " where database = %s",
            (name,),
        )
        conn.execute(sql.SQL("drop database if exists {} (force)").format(sql.Identifier(name)))


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """A new, empty database."""
    name = f"test_{next(_numbers)}"
    postgres.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield name
    drop_database(postgres, name)
