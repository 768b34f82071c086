"""Work done ahead, in another thread."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from include.respaldo.querylog.ahead import one_ahead


def test_the_next_item_is_made_while_one_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Generator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    found = []
    for number in one_ahead(items()):
        assert all(event.wait(10) for event in made[: number + 2])
        found.append(number)
    assert found == [0, 1, 2]


def test_what_goes_wrong_is_raised_where_the_item_would_have_come() -> None:
    def items() -> Generator[str]:
        yield "first"
        raise ValueError("second")

    found = one_ahead(items())
    assert next(found) == "first"
    with pytest.raises(ValueError, match="second"):
        next(found)


def test_whoever_stops_early_closes_what_makes_the_items() -> None:
    closed = []

    def items() -> Generator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    found = one_ahead(items())
    assert next(found) == 0
    found.close()
    assert closed == [True]
