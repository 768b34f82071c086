"""Looking at slots, and archiving in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from include.respaldo.jobs.archive_query_log import ArchiveMode, archive
from include.respaldo.model.lsn import Lsn
from tests.jobs.site import Site


def slot_of(site: Site, tenant: str) -> str:
    ((name,),) = site.postgres.execute(
        "select slot_name from pg_replication_slots where database = %s", parameters=[tenant]
    )
    return str(name)


def confirmed(site: Site, tenant: str) -> Lsn:
    ((position,),) = site.postgres.execute(
        "select confirmed_flush_lsn::text from pg_replication_slots where database = %s",
        parameters=[tenant],
    )
    return Lsn.parse(position)


def lose_slot(site: Site, tenant: str) -> None:
    site.postgres.execute("select pg_drop_replication_slot(%s)", parameters=[slot_of(site, tenant)])


@contextmanager
def following(site: Site, down: tuple[str, ...] = ()) -> Iterator[None]:
    """Archive in a thread until the block ends."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def follow() -> None:
        try:
            archive(site.deployment(down), site.name, mode=ArchiveMode.FOLLOW, stop=stop)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    for failure in failures:
        raise failure


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll; the test's own time limit ends it."""
    while not condition():
        time.sleep(0.1)
