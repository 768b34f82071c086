"""The demo's ERP: databases that come out the same every time, and writers that keep going."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from psycopg import sql

from demo.erp.application import enter
from demo.erp.orders import choose_order, delete_order, find_order
from demo.erp.seed import Size
from demo.erp.tenants import SYSTEM_DATABASE, create_system_database, create_tenant
from demo.erp.work import WORK
from demo.erp.writer import Writer
from embedded.postgres import PostgresServer
from tests.conftest import drop_database

TENANT = 'tenant_we"ird; drop--$(x)'
SMALL = Size(customers=20, products=6, orders=60)
TABLES = (
    "customers",
    "products",
    "price_history",
    "orders",
    "order_lines",
    "invoices",
    "stock",
    "stock_movements",
    "audit_log",
)


@pytest.fixture
def tenant(postgres: PostgresServer) -> Iterator[str]:
    assert create_tenant(postgres.connection(), TENANT, SMALL)
    yield TENANT
    forget(postgres, TENANT)


def forget(server: PostgresServer, name: str) -> None:
    drop_database(server, name)
    server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def contents(server: PostgresServer, database: str) -> dict[str, str]:
    query = sql.SQL("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t")
    return {
        table: server.execute(query.format(sql.Identifier(table)), database)[0][0]
        for table in TABLES
    }


def test_creating_a_tenant_again_changes_nothing(postgres: PostgresServer, tenant: str) -> None:
    before = contents(postgres, tenant)
    assert not create_tenant(postgres.connection(), tenant, SMALL)
    assert contents(postgres, tenant) == before


def test_the_same_tenant_has_the_same_rows_wherever_it_is_made(
    postgres: PostgresServer, tenant: str
) -> None:
    before = contents(postgres, tenant)
    drop_database(postgres, tenant)
    assert create_tenant(postgres.connection(), tenant, SMALL)
    assert contents(postgres, tenant) == before
    assert all(before.values())


def test_every_kind_of_work_can_be_done_on_a_fresh_tenant(
    postgres: PostgresServer, tenant: str
) -> None:
    writer = Writer(postgres.connection(), tenant, rate=10_000, seed=1)
    writer.run(threading.Event(), transactions=300)
    assert writer.done.total() == 300
    assert writer.interruptions == 0
    assert {work.__name__ for work in WORK} <= set(writer.done)


def test_a_writer_goes_on_after_its_session_was_ended(
    postgres: PostgresServer, tenant: str
) -> None:
    writer, stop = Writer(postgres.connection(), tenant, rate=10_000, seed=2), threading.Event()
    thread = threading.Thread(target=writer.run, args=(stop,))
    thread.start()
    try:
        ended = 0
        while not ended:
            ended = postgres.execute(
                "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name = 'erp' AND xact_start IS NOT NULL) t",
                parameters=(tenant,),
            )[0][0]
        while not writer.interruptions:
            stop.wait(0.01)
        before = writer.done.total()
        while writer.done.total() == before:
            stop.wait(0.01)
    finally:
        stop.set()
        thread.join()


def test_the_system_database_is_made_once(postgres: PostgresServer) -> None:
    try:
        assert create_system_database(postgres.connection())
        assert not create_system_database(postgres.connection())
        assert postgres.execute("SELECT count(*) FROM users", SYSTEM_DATABASE) == [(40,)]
    finally:
        forget(postgres, SYSTEM_DATABASE)


def test_an_order_is_found_until_it_is_deleted(postgres: PostgresServer, tenant: str) -> None:
    with enter(postgres.connection(), tenant, role=tenant) as session:
        order = choose_order(session)
        assert find_order(session, order.number) == order
        assert order.total == sum(amount for _, _, amount in order.lines)
        delete_order(session, order.number)
        assert find_order(session, order.number) is None
