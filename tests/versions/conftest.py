"""A server of each major version that is here, started once a test wants it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from embedded.installation import Installation
from embedded.postgres import PostgresServer
from embedded.postgres_versions import available, on_path, within_reach
from tests.conftest import drop_database
from tests.jobs.site import Site

_numbers = count(1)

Server = Callable[[int], PostgresServer]
MakeSite = Callable[..., Site]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of a major version; a test of one that is not here is skipped."""
    folder = Path(tempfile.mkdtemp(prefix="respaldo-versions-"))
    folder.chmod(0o755)
    started: dict[int, PostgresServer] = {}

    def start(major: int) -> PostgresServer:
        if major not in available():
            pytest.skip(f"no PostgreSQL {major} here")
        if major not in started:
            programs = within_reach(major, folder)
            started[major] = PostgresServer(folder / str(major), bin_dir=programs, durable=False)
        return started[major].start()

    try:
        yield start
    finally:
        for made in started.values():
            made.stop("immediate")
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of every version, as where a deployment has installed them."""
    monkeypatch.setenv("PATH", on_path(*available()))


@pytest.fixture(scope="session")
def installation(postgres: PostgresServer) -> Iterator[Installation]:
    folder = Path(tempfile.mkdtemp(prefix="respaldo-versions-"))
    with Installation(folder, postgres=postgres) as made:
        yield made
    shutil.rmtree(folder)


@pytest.fixture
def make_site(installation: Installation, tmp_path: Path) -> Iterator[MakeSite]:
    """Makes a configuration, vaults and databases of the test's own upon given servers."""
    made: list[tuple[Site, PostgresServer | None]] = []

    def make(postgres: PostgresServer, elsewhere: PostgresServer | None = None) -> Site:
        name = f"site{next(_numbers)}"
        site = Site(installation, tmp_path, name, postgres=postgres, elsewhere=elsewhere)
        made.append((site, elsewhere))
        return site

    yield make
    for site, elsewhere in made:
        for database in [*site.databases, *site.restored_databases()]:
            drop_database(site.postgres, database)
        if elsewhere is not None:
            for (database,) in elsewhere.execute(
                "select datname from pg_database where datname like %s",
                parameters=[f"{site.name}%"],
            ):
                drop_database(elsewhere, database)
