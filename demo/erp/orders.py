"""One order as a person sees it: to be shown, to be deleted by mistake, to be looked for again."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from demo.erp.application import Session


@dataclass(frozen=True)
class Order:
    """An order with its lines; equal when everything in it is."""

    number: str
    customer: str
    status: str
    total: Decimal
    #: product, quantity, amount
    lines: tuple[tuple[str, Decimal, Decimal], ...]

    def __str__(self) -> str:
        return (
            f"{self.number}, {self.customer}, {self.status}, "
            f"{len(self.lines)} lines, {self.total} EUR"
        )


def choose_order(session: Session) -> Order:
    """Return a confirmed order of several lines, the newest there is.

    :raises LookupError: there is none.
    """
    row = session.execute(
        "SELECT number FROM order_totals WHERE status = 'confirmed' AND lines >= 3"
        " ORDER BY id DESC LIMIT 1"
    ).fetchone()
    found = find_order(session, row[0]) if row else None
    if found is None:
        raise LookupError("no confirmed order with three lines")
    return found


def find_order(session: Session, number: str) -> Order | None:
    """Return the order of that number, or None where there is none."""
    with session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        order = session.execute(
            "SELECT number, customer, status::text, total FROM order_totals WHERE number = %s",
            (number,),
        ).fetchone()
        lines = session.execute(
            "SELECT p.name, l.quantity, l.amount FROM order_lines l"
            " JOIN orders o ON o.id = l.order_id JOIN products p ON p.id = l.product_id"
            " WHERE o.number = %s ORDER BY l.line",
            (number,),
        ).fetchall()
    if order is None:
        return None
    number, customer, status, total = order
    return Order(number, customer, status, total, tuple((n, q, a) for n, q, a in lines))


def delete_order(session: Session, number: str) -> None:
    """Delete an order with its lines and its invoice: the mistake that support is called for."""
    with session.transaction():
        session.execute(
            "DELETE FROM invoices USING orders o WHERE order_id = o.id AND o.number = %s", (number,)
        )
        session.execute("DELETE FROM orders WHERE number = %s", (number,))
