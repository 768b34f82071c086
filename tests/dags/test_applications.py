"""The DAGs that restore an application and switch to it: forms, approval, task to task."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from include.respaldo.jobs import restore_application, switch_application
from include.respaldo.jobs.restore_application import ApplicationRequest
from include.respaldo.model.application_switch import (
    Switch,
    Switched,
    SwitchPlan,
    SwitchRequest,
    Version,
)
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.tree_restore_plan import (
    Contents,
    Destination,
    RestoredItem,
    TreeRestored,
    TreeRestorePlan,
    TreeRestoreRequest,
)
from tests.dags.test_dags import SECTIONS, parse

ERP = Source(Category.APPLICATIONS, "web1", "erp")
NAME = "erp.restored_1.4.2_20261121"
RESTORE = {"application": "web1/erp", "version": " 1.4.2 ", "reason": "ticket 4711"}
SWITCH = {"application": "erp", "version": f" {NAME} ", "reason": "ticket 4711"}


@pytest.fixture
def dags(config_file: Path) -> dict[str, DAG]:
    with config_file.open("a") as file:
        file.write(SECTIONS)
    return parse()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What reached the jobs."""
    requests: list[Any] = []

    def plan_restore(_: object, request: ApplicationRequest) -> TreeRestorePlan:
        requests.append(request)
        return TreeRestorePlan(
            request=TreeRestoreRequest(
                request.application,
                backup_id="20261121T020000.000000Z",
                destination=Destination(name=NAME),
                reason=request.reason,
            ),
            as_of=datetime(2026, 11, 21, 2, tzinfo=UTC),
            time_zone="Europe/Madrid",
            version="1.4.2",
            region="primary",
            contents=Contents(files=3, size=1000),
            suffix="restored_20261121",
            place="web1, /opt/erp",
            items=(RestoredItem("", f"/opt/{NAME}"),),
            count=1,
        )

    def restore(_: object, planned: TreeRestorePlan) -> TreeRestored:
        requests.append(planned.request)
        return TreeRestored(planned, "primary", 2.0)

    def plan_switch(_: object, request: SwitchRequest) -> SwitchPlan:
        requests.append(request)
        switch = Switch("/opt/erp", f"/opt/{NAME}", "/opt/erp.replaced_20261123_1130", 1, 2)
        running, chosen = Version("/opt/erp", "1.5.0", 9), Version(f"/opt/{NAME}", "1.4.2", 9)
        return SwitchPlan(request, switch, "web1", running, chosen)

    def switch(_: object, planned: SwitchPlan, approved_by: str = "") -> Switched:
        requests.append(planned)
        return Switched(planned, (), approved_by)

    monkeypatch.setattr(restore_application, "plan", plan_restore)
    monkeypatch.setattr(restore_application, "restore", restore)
    monkeypatch.setattr(restore_application, "find_application", lambda *_: ERP)
    monkeypatch.setattr(switch_application, "plan", plan_switch)
    monkeypatch.setattr(switch_application, "switch", switch)
    monkeypatch.setattr(
        "include.respaldo.jobs.application_folders.configured_application", lambda *_: ERP
    )
    return requests


def act(
    dag: DAG, task: str, monkeypatch: pytest.MonkeyPatch, form: dict[str, Any], *given: Any
) -> tuple[Any, list[str]]:
    """Return what a task returns, and the notes of the run."""
    notes: list[str] = []
    function = inspect.unwrap(dag.get_task(task).python_callable)
    known = function.__globals__
    monkeypatch.setitem(known, "get_current_context", lambda: {"params": form})
    monkeypatch.setitem(known, "tell", lambda text, **_: notes.append(text))
    monkeypatch.setitem(known, "deployment", object)
    return function(*given), notes


def test_a_restore_is_plan_restore_summarize_and_ends_with_how_to_switch(
    dags: dict[str, DAG], asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = dags["restore_application"]
    assert dag.task_ids == ["plan", "restore", "summarize"]
    planned, notes = act(dag, "plan", monkeypatch, RESTORE)
    assert "version 1.4.2" in notes[0]
    restored, _ = act(dag, "restore", monkeypatch, RESTORE, planned)
    text, notes = act(dag, "summarize", monkeypatch, RESTORE, restored)
    assert notes == [text]
    assert f"switch-application web1/erp {NAME}" in text.splitlines()[-1]
    assert asked[0].version == "1.4.2"
    assert asked[1].backup_id == "20261121T020000.000000Z"


def test_a_switch_waits_for_an_approval_before_it_acts(dags: dict[str, DAG]) -> None:
    dag = dags["switch_application"]
    assert set(dag.task_ids) == {"plan", "approve", "switch", "summarize"}
    assert dag.get_task("approve").upstream_task_ids == {"plan"}
    assert dag.get_task("switch").upstream_task_ids == {"plan", "approve"}
    assert dag.get_task("summarize").upstream_task_ids == {"switch"}
    approve = dag.get_task("approve")
    assert approve.response_timeout == timedelta(days=1)
    assert approve.options == ["Approve", "Reject"]
    assert approve.defaults is None  # silence is no approval
    assert approve.execution_timeout is None


def test_what_was_planned_and_who_approved_it_reach_the_switch(
    dags: dict[str, DAG], asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = dags["switch_application"]
    planned, notes = act(dag, "plan", monkeypatch, SWITCH)
    assert "erp.replaced_20261123_1130" in notes[0]
    assert planned["text"] == notes[0]
    approval = {"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "ana"}}
    switched, _ = act(dag, "switch", monkeypatch, SWITCH, planned, approval)
    text, notes = act(dag, "summarize", monkeypatch, SWITCH, switched)
    assert notes == [text]
    for said in ("approved by ana", "ticket 4711", "nothing was restarted"):
        assert said in text
    assert asked[0].chosen == NAME
    assert asked[1].switch.old == 1


@pytest.mark.parametrize(
    ("dag_id", "form", "wrongs"),
    [
        ("restore_application", RESTORE, [{"reason": ""}, {"day": "today"}, {"application": ""}]),
        ("switch_application", SWITCH, [{"reason": ""}, {"version": ""}, {"lost": "yes"}]),
    ],
)
def test_the_forms_refuse_what_they_can_see_and_speak_both_languages(
    dags: dict[str, DAG], dag_id: str, form: dict[str, Any], wrongs: list[dict[str, Any]]
) -> None:
    dag = dags[dag_id]
    assert dag.params.get_param("application").schema["examples"] == ["web1/erp"]
    for wrong in wrongs:
        with pytest.raises(ParamValidationError):
            dag.params.update({**form, **wrong})
    dag.params.update(form)
    assert dag.params.validate()["reason"] == "ticket 4711"
    for name in dag.params:
        param = dag.params.get_param(name)
        assert " / " in param.schema["title"], name
        assert " / " in (param.description or ""), name
