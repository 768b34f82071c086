"""The DAG files: they parse cleanly and cheaply, and have the structure that is promised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from include.respaldo.config import load_config
from include.respaldo.orchestration.tenant_choices import write_choices

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "acknowledge_backup",
    "archive_query_log",
    "backup_applications",
    "backup_files",
    "backup_server_configuration",
    "backup_system_database",
    "backup_tenant_databases",
    "geo_redundancy_check",
    "rebuild_server",
    "restore_application",
    "restore_files",
    "restore_tenant_database",
    "retention",
    "switch_application",
}


def parse() -> dict[str, DAG]:
    bag = DagBag(str(ROOT / "dags"), collect_dags=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag.collect_dags(str(ROOT / "dags"))
    assert bag.import_errors == {}
    assert bag.captured_warnings == {}
    assert [str(w.message) for w in caught] == []
    return dict(bag.dags)


@pytest.fixture
def dags(config_file: Path) -> dict[str, DAG]:
    return parse()


def test_all_dags_import_without_errors_and_warnings(dags: dict[str, DAG]) -> None:
    assert set(dags) == NAMES


def test_every_dag_explains_itself_in_english_and_in_spanish(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        english, _, spanish = (dag.doc_md or "").partition("\n---\n")
        assert len(english) > 200, dag.dag_id
        assert len(spanish) > 100, dag.dag_id


def test_parsing_touches_neither_network_nor_database_nor_their_drivers(config_file: Path) -> None:
    script = """
import json, socket, sys
from airflow.dag_processing.dagbag import DagBag
def refuse(*_):
    raise AssertionError("a DAG file opened a connection")
socket.socket.connect = refuse
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
heavy = ["boto3", "botocore", "duckdb", "pyarrow", "psycopg", "psycopg2",
         "include.respaldo.jobs", "include.respaldo.vault", "include.respaldo.postgres"]
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT / "dags")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("dag_id", ["backup_tenant_databases", "backup_system_database"])
def test_a_backup_is_dump_checksum_upload_copy_for_each_batch(
    dags: dict[str, DAG], dag_id: str
) -> None:
    dag = dags[dag_id]
    steps = ["batch.dump", "batch.checksum", "batch.upload", "batch.copy"]
    assert dag.task_ids == ["discover", *steps, "report"]
    for before, after in zip(["discover", *steps], [*steps, "report"], strict=True):
        assert before in dag.get_task(after).upstream_task_ids
    assert dag.task_group.children["batch"].children.keys() == set(steps)
    for step in steps:
        mapped = dag.get_task(step).get_closest_mapped_task_group()
        assert mapped is not None
        assert mapped.group_id == "batch"


TREES = ("backup_files", "backup_applications", "backup_server_configuration")
SECTIONS = """
hosts: [{name: web1, connection: web1}]
repository: {connection: repository}
files: [{name: uploads, host: web1, path: /srv/uploads}, {name: images, path: /srv/images}]
applications: [{name: erp, host: web1, path: /opt/erp, version: {git: true}}]
server_configuration: [{host: web1}]
"""


@pytest.mark.parametrize("dag_id", TREES)
def test_a_backup_of_trees_has_the_same_steps_and_an_alarm_when_all_is_sealed(
    config_file: Path, dag_id: str
) -> None:
    with config_file.open("a") as file:
        file.write(SECTIONS)
    dag = parse()[dag_id]
    steps = ["batch.dump", "batch.checksum", "batch.upload", "batch.copy"]
    assert dag.task_ids == ["discover", *steps, "report", "alarm"]
    for before, after in pairwise(["discover", *steps]):
        assert before in dag.get_task(after).upstream_task_ids
    assert dag.task_group.children["batch"].children.keys() == set(steps)
    assert {dag.get_task(step).trigger_rule.value for step in [*steps[1:], "report", "alarm"]} == {
        "all_done"
    }
    for leaf in ("report", "alarm"):  # a run fails by its leaves
        assert dag.get_task(leaf).upstream_task_ids >= {"batch.copy"}
        assert dag.get_task(leaf).downstream_task_ids == set()
    assert "0 2 * * *" in str(dag.timetable.expression)
    assert "configured" not in (dag.doc_md or "").splitlines()[1]
    assert dag.max_active_runs == 1
    suggested = {
        "backup_files": ["local/images", "web1/uploads"],
        "backup_applications": ["web1/erp"],
        "backup_server_configuration": ["web1"],
    }
    assert dag.params.get_param("only").schema["examples"] == suggested[dag_id]


@pytest.mark.parametrize("dag_id", TREES)
def test_a_category_that_is_not_configured_has_a_dag_that_says_so_and_never_runs_by_itself(
    dags: dict[str, DAG], dag_id: str
) -> None:
    dag = dags[dag_id]
    assert dag.schedule is None
    assert f"add the section `{dag_id.removeprefix('backup_')}`" in (dag.doc_md or "")
    assert "No hay nada configurado" in (dag.doc_md or "")


@pytest.mark.parametrize("dag_id", ["backup_tenant_databases", "backup_system_database"])
def test_later_steps_run_for_the_sources_that_an_earlier_step_got_through(
    dags: dict[str, DAG], dag_id: str
) -> None:
    rules = {t.task_id: t.trigger_rule.value for t in dags[dag_id].tasks}
    assert rules == {
        "discover": "all_success",
        "batch.dump": "all_success",
        "batch.checksum": "all_done",
        "batch.upload": "all_done",
        "batch.copy": "all_done",
        "report": "all_done",
    }


def test_backups_are_daily_in_the_time_zone_of_people(dags: dict[str, DAG]) -> None:
    timetable = dags["backup_tenant_databases"].timetable
    assert "0 2 * * *" in str(timetable.expression)
    assert str(timetable.timezone) == "Europe/Madrid"
    assert not dags["backup_tenant_databases"].catchup


def test_archiving_is_continuous_and_one_run_at_a_time(dags: dict[str, DAG]) -> None:
    dag = dags["archive_query_log"]
    assert dag.timetable.active_runs_limit == 1
    assert dag.max_active_runs == 1
    assert dag.get_task("archive").upstream_task_ids == {"wait_for_changes"}
    assert dag.get_task("archive").is_mapped


def test_a_restore_is_plan_restore_replay_verify_and_a_discard_after_failures(
    dags: dict[str, DAG],
) -> None:
    dag = dags["restore_tenant_database"]
    order = ["plan", "restore", "replay", "verify", "summarize"]
    for before, after in pairwise(order):
        assert before in dag.get_task(after).upstream_task_ids
    discard = dag.get_task("discard")
    assert discard.trigger_rule.value == "one_failed"
    assert {"restore", "replay", "verify"} <= discard.upstream_task_ids
    # a leaf that did not succeed fails the run, though `discard` has succeeded
    assert dag.get_task("summarize").downstream_task_ids == set()
    assert dag.schedule is None


def test_mapped_tasks_show_the_names_of_what_they_work_on(dags: dict[str, DAG]) -> None:
    mapped = [t for d in dags.values() for t in d.tasks if t.get_closest_mapped_task_group()]
    mapped.append(dags["archive_query_log"].get_task("archive"))
    for task in mapped:
        template = getattr(task, "map_index_template", None) or task.partial_kwargs.get(
            "map_index_template"
        )
        assert template, task.task_id


class TestRestoreForm:
    GOOD: ClassVar = {
        "tenant": "tenant_acme",
        "target_time": "2026-11-22T10:29:00Z",
        "reason": "ticket 4711",
    }

    def check(self, **params: object) -> dict[str, object]:
        form = parse()["restore_tenant_database"].params
        form.update(self.GOOD | params)
        return form.validate()

    @pytest.fixture(autouse=True)
    def _configured(self, config_file: Path) -> None:
        """A configuration for all of these."""

    def test_takes_any_name_before_a_first_backup(self) -> None:
        found = self.check(tenant='we"ird; drop--$(x)')
        assert found["tenant"] == 'we"ird; drop--$(x)'
        assert found["new_name"] is None

    def test_offers_the_tenants_that_discovery_has_found(self) -> None:
        write_choices(load_config(), ["tenant_acme", "tenant_b"])
        assert self.check()["tenant"] == "tenant_acme"
        with pytest.raises(ParamValidationError, match="tenant_c"):
            self.check(tenant="tenant_c")

    @pytest.mark.parametrize("moment", ["yesterday", "2026-11-22T10:29:00", "2026-11-22"])
    def test_refuses_what_is_no_moment_with_an_offset(self, moment: str) -> None:
        with pytest.raises(ParamValidationError, match="date-time"):
            self.check(target_time=moment)

    def test_refuses_a_missing_reason_and_an_unknown_server(self) -> None:
        with pytest.raises(ParamValidationError):
            self.check(reason="")
        with pytest.raises(ParamValidationError):
            self.check(server="pg9")

    def test_titles_and_descriptions_speak_both_languages(self) -> None:
        params = parse()["restore_tenant_database"].params
        for name in params:
            schema = params.get_param(name).schema
            assert " / " in schema["title"], name
            text = params.get_param(name).description or schema["description_md"]
            assert " / " in text, name
        assert "Europe/Madrid" in params.get_param("target_time").schema["description_md"]


def test_retention_removes_by_default_and_can_be_asked_to_only_say_what_would_go(
    dags: dict[str, DAG],
) -> None:
    dag = dags["retention"]
    assert dag.task_ids == ["retain"]
    assert dag.params["dry_run"] is False
    assert dag.max_active_runs == 1
    with pytest.raises(ParamValidationError):
        dag.params["dry_run"] = "perhaps"
