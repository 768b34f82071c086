"""A prepared tenant with awkward names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from psycopg import sql

from embedded.postgres import PostgresServer
from include.respaldo.postgres.connect import connect
from tests.conftest import drop_database

AWKWARD = 'we"ird; drop--$(x)'
_numbers = count(1)


@pytest.fixture
def awkward(postgres: PostgresServer) -> Iterator[str]:
    """An empty database whose name breaks whatever formats it into SQL or a shell."""
    postgres.execute(sql.SQL("create database {}").format(sql.Identifier(AWKWARD)))
    yield AWKWARD
    drop_database(postgres, AWKWARD)


@pytest.fixture
def session(postgres: PostgresServer, database: str) -> Iterator[psycopg.Connection]:
    """Respaldo's own session in the test's database."""
    with connect(postgres.connection(), database) as conn:
        yield conn


@pytest.fixture
def app(postgres: PostgresServer, database: str) -> Iterator[psycopg.Connection]:
    """A session of the application: it owns the database, and has no other rights."""
    role = f"app_{next(_numbers)}"
    postgres.execute(f"create role {role} login password 'secret'")
    postgres.execute(f"alter database {database} owner to {role}")
    with postgres.connect(database, user=role, password="secret") as conn:
        yield conn
    postgres.execute(f"alter database {database} owner to postgres")
    postgres.execute(f"drop owned by {role} cascade", database)
    postgres.execute(f"drop role {role}")
