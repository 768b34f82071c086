"""Make a workload that is not restored exactly as small as it can be, and print it.

    RESPALDO_KEEP=1 RESPALDO_SEED=7 python -m pytest tests/oracle/test_random_workloads.py -s
    python -m tests.oracle.workload.shrink <folder>/0/tenant-3.jsonl 2026-11-22T11:29:03.1+00:00

The time is that of the moment which differed; a third argument is text that what is wrong has to
hold. Sessions are played one statement after the other, in
the order in which statements ended: most of what goes wrong goes wrong that way, too.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path

from embedded.installation import Installation
from embedded.postgres import PostgresServer
from include.respaldo.errors import RespaldoError
from tests.conftest import drop_database
from tests.jobs.exactness import differences_of, empty_tenant
from tests.jobs.site import Site
from tests.oracle.workload.history import prepare_server
from tests.oracle.workload.script import Step, play, read_script

_numbers = count(1)


def outcome(installation: Installation, before: list[Step], after: list[Step]) -> tuple[str, str]:
    """Return how the restore went in one word, and in many; two empty strings if it was exact."""
    folder = Path(tempfile.mkdtemp(prefix="respaldo-shrink-"))
    site = Site(installation, folder, f"shrink{next(_numbers)}")
    server = site.postgres
    tenant = empty_tenant(site)
    try:
        found = differences_of(
            site,
            tenant,
            lambda: play(server, tenant, before),
            lambda: play(server, tenant, after),
        )
    except RespaldoError as error:
        return type(error).__name__, str(error)
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return type(error).__name__, str(error)
    finally:
        for database in [*site.databases, *site.restored_databases()]:
            drop_database(server, database)
        shutil.rmtree(folder)
    return ("different", "\n".join(found)) if found else ("", "")


def smallest(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """Return as few of the steps as still fail (delta debugging)."""
    size = len(steps)
    while size >= 1:
        start = 0
        while start < len(steps):
            fewer = steps[:start] + steps[start + size :]
            if fails(fewer):
                steps = fewer
                print(
                    f"{len(steps)} steps left", *steps[-60:], sep="\n", file=sys.stderr, flush=True
                )
            else:
                start += size
        size //= 2
    return steps


def shortest(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """Return the first steps as far as they fail; found by halving, so maybe not the fewest."""
    works, wrong = 0, len(steps)
    while wrong - works > 1:
        middle = (works + wrong) // 2
        if fails(steps[:middle]):
            wrong = middle
        else:
            works = middle
        print(f"between {works} and {wrong}", file=sys.stderr, flush=True)
    return steps[:wrong]


def main(path: Path, until: datetime, wanted: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="respaldo-shrink-"))
    folder.chmod(0o755)
    with PostgresServer(
        folder / "postgres", settings={"max_prepared_transactions": "20"}, durable=False
    ) as server:
        prepare_server(server)
        with Installation(folder / "respaldo", postgres=server) as installation:
            before, after = read_script(path, until)
            kind, words = outcome(installation, before, after)
            print(f"{len(before)} + {len(after)} steps: {kind or 'exact'}: {words}", flush=True)

            def fails(first: list[Step], second: list[Step]) -> bool:
                found, said = outcome(installation, first, second)
                return bool(kind) and found == kind and wanted in said

            if kind and wanted in words:
                # what failed then mostly waits in vain for a lock now
                if fails(before, fewer := [s for s in after if not s.failed]):
                    after = fewer
                if fails(fewer := [s for s in before if not s.failed], after):
                    before = fewer
                after = shortest(after, lambda s: fails(before, s))
                after = smallest(after, lambda s: fails(before, s))
                before = smallest(before, lambda s: fails(s, after))
                after = smallest(after, lambda s: fails(before, s))
                for name, steps in (("before", before), ("after", after)):
                    print(f"-- {name}")
                    for step in steps:
                        print(f"[{step.session}] {step.text}")
                print(outcome(installation, before, after)[1])
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), "".join(sys.argv[3:4]))
