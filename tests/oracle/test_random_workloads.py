"""Whatever applications do: a restore gives what PostgreSQL's own recovery gives, or is refused.

Ten tenants of one server live through random histories (of rows and schemas, several sessions
each), are archived and backed up meanwhile; the server is recovered to random targets from a base
backup and archived WAL, and each tenant is restored to the same. Schema and rows must be equal.

One case is (seed, tenant, moment). To try one again:

    export RESPALDO_SEED=7 RESPALDO_TENANTS=3 RESPALDO_MOMENTS=2
    python -m pytest tests/oracle/test_random_workloads.py

The seed repeats what each session would do, not how sessions meet. ``RESPALDO_DDL`` weighs schema
changes (0: none; 1: as many as changes of rows), ``RESPALDO_FULL`` takes more rounds and more of
them, ``RESPALDO_KEEP`` keeps the folder, with what was executed; `tests.oracle.workload.shrink`
makes that small.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from embedded.installation import Installation
from tests.oracle.workload.cases import Case, Outcome, cases
from tests.oracle.workload.history import Plan, full_run, live, make_server
from tests.oracle.workload.script import write_script

FULL = full_run()
SEED = int(os.environ.get("RESPALDO_SEED") or (Random().getrandbits(24) if FULL else 41))
ROUNDS = 20 if FULL else 1
MOMENTS = 5 if FULL else 3
TENANTS = 10
#: the full run: a schema change for each four changes of rows, in up to three sessions at once, is
#: far beyond any application; at 1 what is refused because changes meet is hunted
DDL = float(os.environ.get("RESPALDO_DDL") or (0.25 if FULL else 0.05))
#: in a small slice one tenant is ten percent, and one that is refused is so at all its moments
MOST_REFUSED = 0.01 if FULL else 0.4

pytestmark = pytest.mark.timeout(6 * 3600 if FULL else 900)


def _numbers(variable: str) -> tuple[int, ...]:
    return tuple(int(n) for n in os.environ.get(variable, "").replace(",", " ").split())


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that the server's account may enter."""
    path = Path(tempfile.mkdtemp(prefix="respaldo-random-"))
    path.chmod(0o755)
    yield path
    if not os.environ.get("RESPALDO_KEEP"):
        shutil.rmtree(path)


def run_round(plan: Plan, folder: Path) -> tuple[list[Case], list[str]]:
    """Live one history and try its cases; return them, and errors that applications saw."""
    begun = time.monotonic()
    cadence = {"segment_age": "1s", "segment_size": "256 KiB", "coverage_interval": "1s"}
    with (
        make_server(folder) as postgres,
        Installation(
            folder / "respaldo", postgres=postgres, settings={"query_log": cadence}
        ) as installation,
    ):
        history = live(plan, installation)
        statements = sum(len(t.executed) for t in history.tenants)
        outcomes = sum((t.outcomes for t in history.tenants), Counter[str]())
        lived = time.monotonic() - begun
        print(f"seed {plan.seed}: {statements:,} statements in {lived:.0f} s, {dict(outcomes)}")
        if os.environ.get("RESPALDO_KEEP"):
            for number, tenant in zip(plan.numbers, history.tenants, strict=True):
                write_script(folder / f"tenant-{number}.jsonl", tenant.executed)
        found = []
        for case in cases(history, folder, MOMENTS, only=_numbers("RESPALDO_MOMENTS")):
            found.append(case)
            if case.outcome is not Outcome.EQUAL:
                print(described(plan, history.tenants.index(case.tenant), case), flush=True)
        print(f"{len(found)} cases in {time.monotonic() - begun - lived:.0f} s", flush=True)
        return found, [error for t in history.tenants for error in t.our_errors]


def described(plan: Plan, index: int, case: Case) -> str:
    """Return what is to be known of a case that is not equal, and how to try it again."""
    number = plan.numbers[index]
    again = (
        f"RESPALDO_SEED={plan.seed} RESPALDO_TENANTS={number} RESPALDO_MOMENTS={case.moment.number}"
    )
    head = f"{case.outcome}: {case.tenant.name} at {case.moment.target} {case.route} ({again})"
    if case.outcome is Outcome.REFUSED:
        return f"{head}: {case.words}"
    tail = case.tenant.tail(case.moment.at)
    return f"{head}:\n{case.words}\nthe last that happened:\n{tail}\n"


def test_whatever_applications_do_a_restore_is_exact_or_refused(folder: Path) -> None:
    found: list[Case] = []
    errors: list[str] = []
    for number in range(ROUNDS):
        plan = Plan(
            seed=SEED + number,
            tenants=TENANTS,
            ddl=DDL,
            only=_numbers("RESPALDO_TENANTS"),
        )
        here = folder / str(number)
        here.mkdir()
        here.chmod(0o755)
        cases_here, errors_here = run_round(plan, here)
        found += cases_here
        errors += errors_here
        if not os.environ.get("RESPALDO_KEEP"):
            shutil.rmtree(here)
    counted = Counter(case.outcome for case in found)
    shares = ", ".join(f"{o} {counted[o]} ({counted[o] / len(found):.1%})" for o in Outcome)
    print(f"{len(found)} cases of seed {SEED}: {shares}")
    for words, times in Counter(
        c.words for c in found if c.outcome in {Outcome.REFUSED, Outcome.REFUSED_LATE}
    ).most_common(20):
        print(f"{times} times {words}")
    assert not errors, "applications saw errors of ours:\n" + "\n".join(errors[:5])
    assert not counted[Outcome.DIFFERENT], f"seed {SEED}: {counted[Outcome.DIFFERENT]} differ"
    refused = counted[Outcome.REFUSED] + counted[Outcome.REFUSED_LATE]
    assert refused <= MOST_REFUSED * len(found), f"{refused} of {len(found)} were refused"
