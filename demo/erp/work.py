"""What people do in an ERP: one transaction's work each; returns whether there was any."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from psycopg import Rollback

from demo.erp import words
from demo.erp.application import Session
from demo.erp.seed import image, money


def place_order(session: Session, rng: random.Random) -> bool:
    """Take an order of one to five lines."""
    customer = _any(session, rng, "customers")
    if customer is None:
        return False
    order = _one(
        session,
        "INSERT INTO orders (customer_id, notes) VALUES (%s, %s) RETURNING id",
        customer,
        rng.choice(words.NOTES),
    )
    for line in range(1, rng.randint(1, 5) + 1):
        session.execute(
            "INSERT INTO order_lines (order_id, line, product_id, quantity, unit_price, discount)"
            " SELECT %s, %s, id, %s, price, %s FROM products WHERE id = %s",
            (
                order,
                line,
                rng.randint(1, 20),
                rng.choice((0, 0, 5)),
                _any(session, rng, "products"),
            ),
        )
    return True


def advance_order(session: Session, rng: random.Random) -> bool:
    """Confirm, ship or invoice an open order."""
    row = session.execute(
        "SELECT id, number, status FROM orders WHERE status IN ('draft', 'confirmed', 'shipped')"
        " AND id >= (SELECT min(id) + floor(%s * (max(id) - min(id)))::bigint FROM orders"
        "            WHERE status IN ('draft', 'confirmed', 'shipped'))"
        " ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
        (rng.random(),),
    ).fetchone()
    if row is None:
        return False
    order, number, status = row
    following = {"draft": "confirmed", "confirmed": "shipped", "shipped": "invoiced"}[status]
    session.execute("UPDATE orders SET status = %s WHERE id = %s", (following, order))
    if following == "shipped":
        # In the order of products, so that two writers never wait for each other
        session.execute(
            "INSERT INTO stock_movements (product_id, quantity, reason)"
            " SELECT product_id, -sum(quantity), %s FROM order_lines WHERE order_id = %s"
            " GROUP BY product_id ORDER BY product_id",
            (f"order {number}", order),
        )
    if following == "invoiced":
        session.execute(
            "INSERT INTO invoices (number, order_id, net)"
            " SELECT 'F' || to_char(now(), 'YYYY') || '-' || %s::text, %s,"
            "        coalesce(sum(amount), 0)"
            " FROM order_lines WHERE order_id = %s",
            (number, order, order),
        )
    return True


def change_price(session: Session, rng: random.Random) -> bool:
    """Give a product another price; its image stays as it is, out of line."""
    session.execute(
        "UPDATE products SET price = %s, updated_at = now() WHERE id = %s",
        (money(rng, 0.5, 900), _any(session, rng, "products")),
    )
    return True


def change_product(session: Session, rng: random.Random) -> bool:
    """Give a product another image, or none, and other attributes."""
    session.execute(
        "UPDATE products SET image = %s, attributes = attributes || %s::jsonb, updated_at = now()"
        " WHERE id = %s",
        (
            image(rng) if rng.random() < 0.8 else None,
            json.dumps(words.attributes(rng)),
            _any(session, rng, "products"),
        ),
    )
    return True


def receive_goods(session: Session, rng: random.Random) -> bool:
    """Put goods into the stock."""
    wanted = sorted({_any(session, rng, "products") for _ in range(rng.randint(1, 4))})
    for product in wanted:
        session.execute(
            "INSERT INTO stock_movements (product_id, quantity, reason) VALUES (%s, %s, 'receipt')",
            (product, rng.randint(10, 500)),
        )
    return True


def new_customer(session: Session, rng: random.Random) -> bool:
    """Write down a customer; now and then after a first attempt that is taken back."""
    if rng.random() < 0.2:
        with session.transaction():  # a savepoint, as applications use them
            session.execute("UPDATE customers SET credit_limit = 0 WHERE credit_limit < 500")
            raise Rollback
    session.execute(
        "INSERT INTO customers (tax_id, name, email, address, credit_limit)"
        " VALUES ('N' || lpad(nextval('customers_id_seq')::text, 8, '0'), %s, %s, %s::jsonb, %s)",
        (
            words.company(rng),
            f"{rng.getrandbits(32):08x}@example.com",
            json.dumps(words.address(rng)),
            money(rng, 0, 20_000),
        ),
    )
    return True


def change_customer(session: Session, rng: random.Random) -> bool:
    """Note that a customer has moved."""
    session.execute(
        "UPDATE customers SET address = %s::jsonb, credit_limit = %s WHERE id = %s",
        (json.dumps(words.address(rng)), money(rng, 0, 20_000), _any(session, rng, "customers")),
    )
    return True


def take_payment(session: Session, rng: random.Random) -> bool:
    """Note that an invoice was paid."""
    return (
        session.execute(
            "UPDATE invoices SET paid_at = now() WHERE id ="
            " (SELECT min(id) FROM invoices WHERE paid_at IS NULL AND id >= %s)",
            (rng.randint(1, 200),),
        ).rowcount
        > 0
    )


def delete_order(session: Session, _: random.Random) -> bool:
    """Throw away the oldest draft, with its lines."""
    return (
        session.execute(
            "DELETE FROM orders WHERE id = (SELECT id FROM orders WHERE status = 'draft'"
            " ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)"
        ).rowcount
        > 0
    )


def tidy_audit_log(session: Session, _: random.Random) -> bool:
    """Drop the oldest lines of a table that has no key."""
    return (
        session.execute(
            "DELETE FROM audit_log"
            " WHERE at <= (SELECT at FROM audit_log ORDER BY at OFFSET 4 LIMIT 1)"
        ).rowcount
        > 0
    )


def mistaken_order(session: Session, rng: random.Random) -> bool:
    """Begin an order and think better of it: the transaction is taken back."""
    place_order(session, rng)
    raise Rollback


#: work -> how often it comes, of a hundred
WORK: dict[Callable[[Session, random.Random], bool], int] = {
    place_order: 34,
    advance_order: 26,
    change_price: 8,
    change_product: 3,
    receive_goods: 6,
    new_customer: 3,
    change_customer: 6,
    take_payment: 6,
    delete_order: 4,
    tidy_audit_log: 2,
    mistaken_order: 2,
}


def _any(session: Session, rng: random.Random, table: str) -> Any:
    """Return the id of a random row, or None in an empty table."""
    query = (
        "SELECT id FROM products WHERE id >= (SELECT 1 + floor(%s * max(id))::int FROM products)"
        " ORDER BY id LIMIT 1"
        if table == "products"
        else "SELECT id FROM customers"
        " WHERE id >= (SELECT 1 + floor(%s * max(id))::bigint FROM customers) ORDER BY id LIMIT 1"
    )
    return _one(session, query, rng.random())


def _one(session: Session, query: str, *parameters: Any) -> Any:
    row = session.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None
