"""Fill a tenant's database with what a small company has after some years; the same every time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg import sql

from demo.erp import words
from demo.erp.application import Session

#: everything in the data happened before
TODAY = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Size:
    """How much a tenant has; images make most of the bytes."""

    customers: int = 300
    products: int = 80
    orders: int = 1200

    @classmethod
    def of_megabytes(cls, megabytes: float) -> Size:
        """Return the size of a database that is about so large on disk; an empty one is 8.7."""
        parts = max(megabytes - 8.7, 0.05) / 3.6
        return cls(max(5, int(300 * parts)), max(5, int(80 * parts)), max(10, int(1200 * parts)))


def seed(session: Session, name: str, size: Size) -> None:
    """Fill the empty tables, in one transaction; the session's user must be a superuser.

    :param name: what the random numbers start from; the same name gives the same rows.
    """
    rng = random.Random(name)
    with session.transaction():
        # As a restored database comes to be: no trigger fires, nothing is checked again
        session.execute("SET LOCAL session_replication_role = replica")
        prices = _products(session, rng, size.products)
        _customers(session, rng, size.customers)
        _orders(session, rng, size, prices)
        for sequence, column in (
            ("customers_id_seq", "SELECT max(id) FROM customers"),
            ("products_id_seq", "SELECT max(id) FROM products"),
            ("orders_id_seq", "SELECT max(id) FROM orders"),
            ("order_numbers", "SELECT 1000 + count(*) FROM orders"),
            ("invoices_id_seq", "SELECT max(id) FROM invoices"),
            ("stock_movement_ids", "SELECT max(id) FROM stock_movements"),
        ):
            query = sql.SQL("SELECT setval(%s::regclass, coalesce(({}), 1))")
            session.execute(query.format(sql.SQL(column)), (sequence,))
    session.execute("ANALYZE")


def image(rng: random.Random) -> bytes:
    """Return something like a JPEG: cannot be compressed, so PostgreSQL keeps it out of line."""
    return b"\xff\xd8\xff\xe0" + rng.randbytes(rng.randint(10_000, 40_000))


def tax_id(rng: random.Random, number: int) -> str:
    """Return a tax number that no other customer has."""
    return f"{rng.choice('ABEFGJ')}{number:08d}"


def money(rng: random.Random, least: float, most: float) -> Decimal:
    """Return an amount with cents."""
    return Decimal(round(rng.uniform(least, most) * 100)).scaleb(-2)


def _copy(session: Session, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns.split()))
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
    with session.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            copy.write_row(row)


def _products(session: Session, rng: random.Random, count: int) -> list[Decimal]:
    prices = [money(rng, 0.5, 900) for _ in range(count)]
    added = [TODAY - timedelta(days=rng.uniform(30, 900)) for _ in prices]
    _copy(
        session,
        "products",
        "id sku name price attributes image active updated_at",
        (
            (
                number,
                f"SKU-{number:05d}",
                words.product(rng),
                price,
                json.dumps(words.attributes(rng), ensure_ascii=False),
                image(rng) if rng.random() < 0.9 else None,
                rng.random() < 0.95,
                at,
            )
            for number, (price, at) in enumerate(zip(prices, added, strict=True), 1)
        ),
    )
    _copy(
        session,
        "price_history",
        "product_id valid_from price",
        (
            (number, at - timedelta(days=90 * ago), price + ago)
            for number, (price, at) in enumerate(zip(prices, added, strict=True), 1)
            for ago in range(rng.randint(1, 4))
        ),
    )
    _copy(
        session,
        "stock",
        "product_id on_hand",
        ((number, rng.randint(0, 5000)) for number in range(1, count + 1)),
    )
    return prices


def _customers(session: Session, rng: random.Random, count: int) -> None:
    _copy(
        session,
        "customers",
        "id tax_id name email address credit_limit created_at",
        (
            (
                number,
                tax_id(rng, number),
                words.company(rng),
                f"pedidos{number}@example.com" if rng.random() < 0.8 else None,
                json.dumps(words.address(rng), ensure_ascii=False),
                money(rng, 0, 20_000),
                TODAY - timedelta(days=rng.uniform(300, 1500)),
            )
            for number in range(1, count + 1)
        ),
    )


def _orders(session: Session, rng: random.Random, size: Size, prices: list[Decimal]) -> None:
    orders: list[Sequence[Any]] = []
    lines: list[Sequence[Any]] = []
    invoices: list[Sequence[Any]] = []
    moves: list[Sequence[Any]] = []
    audit: list[Sequence[Any]] = []
    for number in range(1, size.orders + 1):
        at = TODAY - timedelta(days=400 * (1 - number / size.orders), seconds=rng.randint(0, 3600))
        status = rng.choices(
            ("draft", "confirmed", "shipped", "invoiced", "cancelled"), (1, 2, 2, 9, 1)
        )[0]
        order = (number, f"P{1000 + number}", rng.randint(1, size.customers), status, at)
        orders.append((*order, rng.choice(words.NOTES)))
        net = Decimal(0)
        for line in range(1, rng.randint(1, 6) + 1):
            product = rng.randint(1, size.products)
            quantity, discount = rng.randint(1, 20), rng.choice((0, 0, 5, 10))
            price = prices[product - 1]
            lines.append((number, line, product, quantity, price, discount))
            net += round(quantity * price * (100 - discount) / 100, 2)
            if status in {"shipped", "invoiced"}:
                moves.append((len(moves) + 1, at, product, -quantity, f"order P{1000 + number}"))
        if status == "invoiced":
            paid = at + timedelta(days=rng.randint(1, 60)) if rng.random() < 0.7 else None
            invoice = (len(invoices) + 1, f"F{at:%Y}-{len(invoices) + 1:06d}", number)
            invoices.append((*invoice, at.date(), net, paid))
        row = json.dumps({"id": number, "number": f"P{1000 + number}", "status": status})
        audit.append((at, "migration", "orders", "INSERT", None, row))
    _copy(session, "orders", "id number customer_id status ordered_at notes", orders)
    _copy(session, "order_lines", "order_id line product_id quantity unit_price discount", lines)
    _copy(session, "invoices", "id number order_id issued_on net paid_at", invoices)
    _copy(session, "stock_movements", "id moved_at product_id quantity reason", moves)
    _copy(session, "audit_log", "at who table_name action row_before row_after", audit)
