"""Backup of 100 tenants into both regions, against a shell loop of ``pg_dump | zstd``.

The loop does less: no digests, no reading back, no manifests, no properties, no roles; it uploads
with a Python process for each file and region (what ``aws s3 cp`` costs), or hands the files to one
process that stays. Both write into the same two S3 servers.
"""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime

from bench.ground import ROOT, execute, folder, installation, respaldo
from bench.table import megabytes, note, seconds, table, verdict
from demo.erp.seed import Size
from demo.erp.tenants import create_tenant
from embedded.airflow import AirflowServer
from embedded.airflow_client import AirflowClient
from embedded.installation import BUCKET, Installation

DAG = "backup_tenant_databases"
OURS = "our DAG in Airflow, from trigger to end"
_LOOP = """
set -euo pipefail
mkdir -p {work}
put() {{ for region in $REGIONS; do ENDPOINTS=$region {python} {put} "$1" "$2"; done; }}
export -f put
one() {{
  pg_dump --no-password "$1" | zstd -q -f -o {work}/$1.zst
  put {work}/$1.zst loop/{number}/$1.zst
  rm {work}/$1.zst
}}
export -f one
"""
#: the same loop three times: who uploads, and how many at once
_VARIANTS = {
    "loop, one upload process a file": 'for db in $DATABASES; do one "$db"; done',
    "loop, one long-lived uploader": """
coproc uploader {{ ENDPOINTS="$REGIONS" {python} {put}; }}
for db in $DATABASES; do
  pg_dump --no-password "$db" | zstd -q -f -o {work}/$db.zst
  echo {work}/$db.zst loop/{number}/$db.zst >&"${{uploader[1]}}"
  read -r _ <&"${{uploader[0]}}"
  rm {work}/$db.zst
done
""",
    "two at once (xargs -P 2), one upload process a file": (
        "printf '%s\\n' $DATABASES | xargs -P 2 -I @ bash -euo pipefail -c 'one @'"
    ),
}


def run(*, small: bool) -> None:
    """Measure; print the table."""
    # no run of its own meanwhile: the schedule is half a day away
    settings = {"schedule": f"0 {(datetime.now(UTC).hour + 12) % 24} * * *"}
    with folder() as at, installation(at, settings=settings) as made:
        _measure(made, tenants=4 if small else 100)


def _loop(made: Installation, names: list[str], variant: str, number: int) -> float:
    """Run one of the loops; return its seconds."""
    words = {
        "work": shlex.quote(str(made.folder / "loop")),
        "python": shlex.quote(sys.executable),
        "put": shlex.quote(str(ROOT / "bench" / "put.py")),
        "number": str(number),
    }
    script = _LOOP.format(**words) + _VARIANTS[variant].format(**words)
    environ = made.postgres.environment() | {
        "PATH": f"{made.postgres.bin_dir}:/usr/bin:/bin",
        "DATABASES": " ".join(names),
        "REGIONS": f"{made.primary.endpoint_url} {made.replica.endpoint_url}",
        "BUCKET": BUCKET,
    }
    return execute(["bash", "-c", script], environ)


def _dag(client: AirflowClient) -> tuple[float, float]:
    """Run our DAG; return the seconds from its trigger to its end, and within its tasks."""
    run_id = client.trigger(DAG)
    ended = client.wait(DAG, run_id, within=1800)
    if ended["state"] != "success":
        raise RuntimeError(f"the run is {ended['state']}: {ended['note']}")
    begun, end = (datetime.fromisoformat(ended[k]) for k in ("queued_at", "end_date"))
    tasks = client.task_instances(DAG, run_id)
    return (end - begun).total_seconds(), sum(t["duration"] or 0 for t in tasks)


def _all(made: Installation, names: list[str]) -> dict[str, float]:
    """Run all variants, one after the other; return the seconds of each."""
    found: dict[str, float] = {}
    made.postgres.execute("create database airflow")
    airflow = AirflowServer(
        made.folder / "airflow",
        env=made.environment(),
        database=made.postgres.connection_uri("airflow"),
    )
    with airflow, airflow.client() as client:
        client.wait_for_dags(DAG)
        client.unpause(DAG)
        found[OURS], tasks = _dag(client)
        note(f"our DAG: {seconds(found[OURS])} (its tasks together {seconds(tasks)})")
        for number, variant in enumerate(_VARIANTS):
            # Airflow stays, idle, as beside our DAG
            found[variant] = _loop(made, names, variant, number)
            note(f"{variant}: {seconds(found[variant])}")
    found["our command line"] = respaldo(made, "backup")
    return found


def _measure(made: Installation, *, tenants: int) -> None:
    names = [f"tenant_{number:03d}" for number in range(tenants)]
    sizes = min(20, tenants)
    connection = made.postgres.connection()
    for number, name in enumerate(names):
        if number < sizes:
            # data of 1 to 20 MB: an empty database has 8.7
            megabytes_wanted = 8.7 + 1 + 19 * number / max(1, sizes - 1)
            create_tenant(connection, name, Size.of_megabytes(megabytes_wanted))
        else:
            made.postgres.execute(f"create database {name} template {names[number % sizes]}")
    query = "select sum(pg_database_size(datname)) from pg_database where datname like 'tenant%'"
    [(total,)] = made.postgres.execute(query)
    note(f"{tenants} tenants, {megabytes(float(total))}")
    found = _all(made, names)
    print(f"\n{tenants} tenants, {megabytes(float(total))} on disk, both regions")
    table(("", "time"), [(name, seconds(took)) for name, took in found.items()])
    for loop in _VARIANTS:
        ours, theirs = found[OURS], found[loop]
        verdict(
            aim="no slower than the shell loop, Airflow included",
            met=ours <= theirs,
            found=f"{seconds(ours)} against {seconds(theirs)}: {loop}",
        )
