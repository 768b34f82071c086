"""The demo's folder, its comparison of databases, and its patience."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import place
from demo.comparison import contents
from demo.erp.seed import Size
from demo.erp.tenants import create_tenant
from demo.screen import Stopped, wait_for
from embedded.postgres import PostgresServer
from tests.conftest import drop_database

SMALL = Size(customers=5, products=3, orders=10)
ONE, OTHER = "tenant_one", "tenant_one_restored"


@pytest.fixture
def twins(postgres: PostgresServer) -> Iterator[PostgresServer]:
    create_tenant(postgres.connection(), ONE, SMALL)
    postgres.execute(f"CREATE DATABASE {OTHER} TEMPLATE {ONE}")
    yield postgres
    for name in (OTHER, ONE):
        drop_database(postgres, name)
    postgres.execute(f"DROP ROLE {ONE}")


def test_one_changed_row_and_one_moved_sequence_are_found(twins: PostgresServer) -> None:
    before = contents(twins.connection(), ONE)
    assert before.differences(contents(twins.connection(), OTHER)) == []
    assert before.rows > 10
    twins.execute("UPDATE stock SET on_hand = on_hand + 1 WHERE product_id = 1", OTHER)
    twins.execute("SELECT nextval('order_numbers')", OTHER)
    assert before.differences(contents(twins.connection(), OTHER)) == [
        "public.order_numbers",
        "public.stock",
    ]


def test_only_a_folder_that_the_demo_has_made_is_deleted(tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "somebody's").write_text("work")
    with pytest.raises(FileExistsError, match="no folder of the demo"):
        place.make(strange)
    place.remove(strange)
    assert (strange / "somebody's").read_text() == "work"

    own = tmp_path / "own"
    place.make(own)
    place.make(own)
    place.remove(own)
    assert not own.exists()


def test_waiting_ends_with_what_to_do() -> None:
    def otherwise() -> Stopped:
        return Stopped("it did not come", advice="look again")

    assert wait_for(lambda: True, 1, otherwise) < 1
    with pytest.raises(Stopped, match="it did not come"):
        wait_for(lambda: False, 0, otherwise)
