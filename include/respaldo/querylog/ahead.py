"""Work done in another thread while what came before is being used."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


def one_ahead(items: Generator[T]) -> Generator[T]:
    """Yield the items; each is made in another thread while the one before it is used.

    What making one raises is raised here, where that one would have come. The generator is closed
    with this one.
    """
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, items, None)
        try:
            while (item := coming.result()) is not None:
                coming = pool.submit(next, items, None)
                yield item
        finally:
            wait([coming])  # a generator that runs cannot be closed
            items.close()
