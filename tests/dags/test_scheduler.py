"""The main DAGs in a real Airflow (LocalExecutor), on real PostgreSQL and two S3 regions."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from embedded.airflow import AirflowServer
from embedded.airflow_client import AirflowClient
from embedded.postgres import PostgresServer
from embedded.s3 import S3Server

WEIRD = 'tenant_we"ird; drop--$(x)'
TENANTS = ("tenant_acme", "tenant_broken", WEIRD)
SYSTEM = "vendor_system"
BACKUP, ARCHIVE, RESTORE = "backup_tenant_databases", "archive_query_log", "restore_tenant_database"
BACKUP_SYSTEM, BACKUP_FILES = "backup_system_database", "backup_files"
SWITCH = "switch_application"

CONFIGURATION = """
vaults:
  primary: {{uri: "s3://primary/respaldo", connection: vault_primary}}
  replica: {{uri: "s3://replica/respaldo", connection: vault_replica}}
landing_zone: {folder}/landing
scratch: {scratch}
time_zone: Europe/Madrid
schedule: "{schedule}"
servers:
  - {{name: pg1, connection: pg1, tenants: {{pattern: "tenant_*"}}}}
system_database: {{server: pg1, name: vendor_system}}
batches: {{sources: 2}}
repository: {{connection: repository}}
files: [{{name: uploads, path: {uploads}}}]
applications: [{{name: erp, path: {erp}, version: {{file: VERSION}}}}]
query_log: {{segment_age: 500ms, coverage_interval: 1s, idle_after: 1s, longest_run: 10s}}
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # not pytest's own temporary folder: the PostgreSQL server's account may not enter that
    path = Path(tempfile.mkdtemp(prefix="respaldo-scheduler-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[PostgresServer]:
    with PostgresServer(folder / "postgres", durable=False) as server:
        server.execute("create database airflow")
        for name in (*TENANTS, SYSTEM):
            server.execute(f'create database "{name.replace(chr(34), chr(34) * 2)}"')
            server.psql(
                "create table orders (id int primary key, what text);"
                "create table broken (id int);"
                "insert into orders select n, 'order ' || n from generate_series(1, 100) n;"
                "insert into broken values (1); checkpoint;",
                name,
            )
        yield server


@pytest.fixture(scope="module")
def regions(folder: Path) -> Iterator[dict[str, S3Server]]:
    with (
        S3Server(folder / "madrid", "eu-south-2") as primary,
        S3Server(folder / "paris", "eu-west-3") as replica,
    ):
        primary.create_bucket("primary")
        replica.create_bucket("replica")
        yield {"primary": primary, "replica": replica}


@pytest.fixture(scope="module")
def airflow(
    folder: Path, server: PostgresServer, regions: dict[str, S3Server]
) -> Iterator[AirflowServer]:
    config = folder / "respaldo.yaml"
    config.write_text(
        CONFIGURATION.format(
            folder=folder.as_uri(),
            # a run that was due within the last two hours begins when its DAG is unpaused
            schedule=f"0 {(datetime.now(UTC).hour + 12) % 24} * * *",
            scratch=folder / "scratch",
            uploads=folder / "uploads",
            erp=folder / "erp",
        )
    )
    with AirflowServer(
        folder / "airflow",
        env={
            "RESPALDO_CONFIG": str(config),
            "AIRFLOW_CONN_PG1": server.connection_uri(),
            "AIRFLOW_CONN_REPOSITORY": '{"conn_type": "generic", "password": "a long one"}',
            "AIRFLOW_CONN_VAULT_PRIMARY": regions["primary"].connection_uri(),
            "AIRFLOW_CONN_VAULT_REPLICA": regions["replica"].connection_uri(),
        },
        database=server.connection_uri("airflow"),
    ) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def client(airflow: AirflowServer) -> Iterator[AirflowClient]:
    with airflow.client() as client:
        client.wait_for_dags(BACKUP, BACKUP_SYSTEM, BACKUP_FILES, ARCHIVE, RESTORE, SWITCH)
        yield client


def states(client: AirflowClient, dag_id: str, run_id: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in client.task_instances(dag_id, run_id):
        found.setdefault(task["task_id"], []).append(task["state"])
    return {name: sorted(values) for name, values in found.items()}


def story(client: AirflowClient, dag_id: str, run: dict[str, Any]) -> str:
    """Return what a person would read when the run is not as expected."""
    run_id = run["dag_run_id"]
    lines = [f"{dag_id} {run_id}: {run['state']}\n{run['note']}"]
    for task in client.task_instances(dag_id, run_id):
        lines.append(f"--- {task['task_id']}[{task['map_index']}] {task['state']}")
        if task["state"] in {"failed", "up_for_retry"}:
            lines.append(
                client.logs(dag_id, run_id, task["task_id"], task["try_number"], task["map_index"])
            )
    return "\n".join(lines)


def run_to_end(client: AirflowClient, dag_id: str, **conf: Any) -> dict[str, Any]:
    return client.wait(dag_id, client.trigger(dag_id, conf), within=150)


def archived_since(client: AirflowClient, moment: datetime) -> None:
    """Return once a drain that began after the moment has ended."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for run in client.runs(ARCHIVE):
            begun = run["start_date"] and datetime.fromisoformat(run["start_date"])
            if begun and begun > moment and run["state"] == "success":
                return
            assert run["state"] != "failed", story(client, ARCHIVE, run)
        time.sleep(0.5)
    raise TimeoutError("\n".join(story(client, ARCHIVE, run) for run in client.runs(ARCHIVE)[:3]))


def databases(server: PostgresServer) -> set[str]:
    return {name for (name,) in server.execute("select datname from pg_database")}


@pytest.mark.timeout(600)
def test_files_are_backed_up_in_four_steps_and_a_suspicious_day_calls_people(
    folder: Path, regions: dict[str, S3Server], client: AirflowClient
) -> None:
    uploads = folder / "uploads"
    uploads.mkdir()
    for number in range(40):
        (uploads / f"{number}.txt").write_text(f"upload {number}")
    client.unpause(BACKUP_FILES)
    run = run_to_end(client, BACKUP_FILES)
    told = story(client, BACKUP_FILES, run)
    assert run["state"] == "success", told
    assert "1 backed up into both regions" in run["note"], told
    assert "the first one" in run["note"], told
    by_task = states(client, BACKUP_FILES, run["dag_run_id"])
    for step in ("batch.dump", "batch.checksum", "batch.upload", "batch.copy", "alarm"):
        assert by_task[step] == ["success"], told
    labels = {
        t["rendered_map_index"] for t in client.task_instances(BACKUP_FILES, run["dag_run_id"])
    }
    assert "local/uploads" in labels

    # everything but a few files vanishes: it is sealed, said, and the run fails so that people look
    for number in range(30):
        (uploads / f"{number}.txt").unlink()
    run = run_to_end(client, BACKUP_FILES, only=["uploads"])
    told = story(client, BACKUP_FILES, run)
    assert run["state"] == "failed", told
    assert "SUSPICIOUS local/uploads: 30 of 40 files vanished" in run["note"], told
    by_task = states(client, BACKUP_FILES, run["dag_run_id"])
    assert (by_task["report"], by_task["alarm"]) == (["success"], ["failed"]), told
    client.pause(BACKUP_FILES)


def answer(client: AirflowClient, folder: Path, run_id: str, option: str) -> str:
    """Answer the question of a switch once it is asked; return what a person has read.

    Not within the same second: Airflow 3.3's scheduler fails a task that is answered before it has
    seen the end of the worker that asked ("the task instance's state attribute is queued").
    """
    place = f"dags/{SWITCH}/dagRuns/{quote(run_id, safe='')}/taskInstances/approve/-1/hitlDetails"
    asked_and_left = f"TaskInstance Finished: dag_id={SWITCH}, task_id=approve, run_id={run_id},"
    log = folder / "airflow/scheduler.log"
    end = time.monotonic() + 90
    while asked_and_left not in log.read_text(errors="replace"):
        run = client.run(SWITCH, run_id)
        assert run["state"] not in {"success", "failed"}, story(client, SWITCH, run)
        assert time.monotonic() < end, story(client, SWITCH, run)
        time.sleep(0.3)
    asked = client.request("GET", place)
    client.request("PATCH", place, json={"chosen_options": [option]})
    return str(asked["body"])


@pytest.mark.timeout(600)
def test_a_version_takes_the_running_ones_place_only_once_somebody_approves(
    folder: Path, client: AirflowClient
) -> None:
    for name, version in (("erp", "1.5.0"), ("erp.restored_1.4.2_20261121", "1.4.2")):
        (folder / name).mkdir()
        (folder / name / "VERSION").write_text(version)
    running = folder / "erp/VERSION"
    form = {"application": "erp", "version": "erp.restored_1.4.2_20261121", "reason": "T-4712"}
    client.unpause(SWITCH)

    run_id = client.trigger(SWITCH, form)
    read = answer(client, folder, run_id, "Reject")
    assert "the old one stays as" in read
    run = client.wait(SWITCH, run_id, within=90)
    assert states(client, SWITCH, run_id)["switch"] == ["skipped"], story(client, SWITCH, run)
    assert running.read_text() == "1.5.0"

    run_id = client.trigger(SWITCH, form)
    answer(client, folder, run_id, "Approve")
    run = client.wait(SWITCH, run_id, within=90)
    assert run["state"] == "success", story(client, SWITCH, run)
    for said in ("is in its place", "approved by", "nothing was restarted", "T-4712"):
        assert said in run["note"], run["note"]
    assert running.read_text() == "1.4.2"
    client.pause(SWITCH)


@pytest.mark.timeout(600)
def test_an_order_deleted_by_mistake_is_there_again_in_the_restored_database(
    server: PostgresServer, regions: dict[str, S3Server], client: AirflowClient
) -> None:
    for dag_id in (BACKUP, BACKUP_SYSTEM, RESTORE):
        client.unpause(dag_id)

    # one broken tenant fails alone and by name; a weird name is like any other
    [(path,)] = server.execute("select pg_relation_filepath('broken')", "tenant_broken")
    table = server.data / path
    table.rename(table.with_suffix(".away"))
    run = run_to_end(client, BACKUP)
    told = story(client, BACKUP, run)
    assert run["state"] == "failed", told
    assert "pg1/tenant_broken: dump: pg_dump" in run["note"], told
    assert "1 failed to be sealed in both regions" in run["note"], told
    by_task = states(client, BACKUP, run["dag_run_id"])
    assert by_task["batch.dump"] == ["failed", "success"], told
    for step in ("batch.checksum", "batch.upload", "batch.copy"):
        assert by_task[step] == ["success", "success"], told

    # it alone is backed up on demand once it is whole again
    table.with_suffix(".away").rename(table)
    run = run_to_end(client, BACKUP, only=["tenant_broken"])
    assert run["state"] == "success", story(client, BACKUP, run)
    assert "1 backed up into both regions" in run["note"]
    labels = {t["rendered_map_index"] for t in client.task_instances(BACKUP, run["dag_run_id"])}
    assert "pg1/tenant_broken" in labels

    run = run_to_end(client, BACKUP_SYSTEM)
    assert run["state"] == "success", story(client, BACKUP_SYSTEM, run)
    assert "pg1/vendor_system" in run["note"]

    # archiving starts by itself, and goes on by itself
    client.unpause(ARCHIVE)
    archived_since(client, datetime.now(UTC))
    for name in (WEIRD, "tenant_acme"):
        server.execute("insert into orders values (4711, 'the big one')", name)
    [(wanted,)] = server.execute("select clock_timestamp()")
    server.execute("delete from orders where id = 4711", WEIRD)
    archived_since(client, datetime.now(UTC))

    form = {"tenant": WEIRD, "target_time": wanted.isoformat(), "reason": "ticket 4711"}
    run = run_to_end(client, RESTORE, **form, new_name="restored")
    assert run["state"] == "success", story(client, RESTORE, run)
    assert "was restored to" in run["note"]
    assert client.xcom(RESTORE, run["dag_run_id"], "verify")["database"] == "restored"
    assert "ticket 4711" in run["note"]
    query = "select what from orders where id = 4711"
    assert server.execute(query, "restored") == [("the big one",)]
    assert server.execute(query, WEIRD) == []
    assert server.execute("select count(*) from orders", "restored") == [(101,)]
    assert states(client, RESTORE, run["dag_run_id"])["discard"] == ["skipped"]

    # a name that is taken: the restore fails, and leaves nothing, and takes nothing
    before = databases(server)
    run = run_to_end(client, RESTORE, **form, new_name="restored")
    assert run["state"] == "failed", story(client, RESTORE, run)
    assert "choose another name" in run["note"]
    assert states(client, RESTORE, run["dag_run_id"])["discard"] == ["success"]
    assert databases(server) == before

    # a moment that cannot be had: refused at once, with the nearest that can
    run = run_to_end(client, RESTORE, **form | {"target_time": "2020-02-02T02:02:02Z"})
    assert run["state"] == "failed", story(client, RESTORE, run)
    assert "before the first full backup" in run["note"]
    assert "nearest points that can be had" in run["note"]
    by_task = states(client, RESTORE, run["dag_run_id"])
    assert by_task["plan"] == ["failed"]
    assert by_task["restore"] == ["upstream_failed"]
    assert by_task["discard"] == ["skipped"]
    assert databases(server) == before

    # the primary region is gone: the replica is used, and the summary says so
    client.pause(ARCHIVE)
    regions["primary"].stop()
    run = run_to_end(client, RESTORE, **form, new_name="from_replica")
    assert run["state"] == "success", story(client, RESTORE, run)
    assert "replica" in run["note"]
    assert server.execute(query, "from_replica") == [("the big one",)]
