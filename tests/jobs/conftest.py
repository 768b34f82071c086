"""Two regions for the session, and a site of its own for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from embedded.installation import Installation
from embedded.postgres import PostgresServer
from tests.conftest import drop_database
from tests.jobs.site import Site

_numbers = count(1)


@pytest.fixture(scope="session")
def installation(postgres: PostgresServer) -> Iterator[Installation]:
    folder = Path(tempfile.mkdtemp(prefix="respaldo-jobs-"))
    with Installation(folder, postgres=postgres) as made:
        yield made
    shutil.rmtree(folder)


@pytest.fixture
def site(installation: Installation, tmp_path: Path) -> Iterator[Site]:
    """A configuration, vaults and databases of the test's own."""
    made = Site(installation, tmp_path, f"site{next(_numbers)}")
    yield made
    for database in [*made.databases, *made.restored_databases()]:
        drop_database(made.postgres, database)
