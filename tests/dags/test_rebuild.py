"""The DAG that rebuilds a server: its form, and what goes from task to task."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from include.respaldo.debian.rebuild import LeftOut, RebuildPlan, Wish
from include.respaldo.errors import RestoreFailed, RestoreRefused
from include.respaldo.jobs import rebuild_server as job
from include.respaldo.jobs.rebuild_report import PlannedRebuild, RebuildRequest, Rebuilt, Report
from include.respaldo.orchestration import deployment as opened
from tests.dags.test_dags import parse

FORM = {"host": "web1", "target": "web2", "new_name": " shop2 ", "reason": "fire", "day": None}
CHOSEN = "20261122T020000.000000Z"


@pytest.fixture
def dag(config_file: Path) -> DAG:
    return parse()["rebuild_server"]


class Somewhere:
    """As much of a deployment as the tasks themselves use."""

    class config:
        zone = ZoneInfo("Europe/Madrid")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RebuildRequest]:
    """The requests that reached the job."""
    requests: list[RebuildRequest] = []

    def plan(_: object, request: RebuildRequest) -> PlannedRebuild:
        requests.append(request)
        chosen = replace(request, backup_id=CHOSEN)
        return PlannedRebuild(chosen, "debian 12", RebuildPlan(Wish("shop2", as_itself=False)))

    def rebuild(_: object, request: RebuildRequest) -> Rebuilt:
        requests.append(request)
        return Rebuilt(request, {"packages": 3}, ("a problem",), 61.0)

    def compare(_: object, request: RebuildRequest) -> Report:
        requests.append(request)
        return Report(request, "debian 12", (LeftOut("/etc/fstab", "shown"),), is_complete=True)

    for function in (plan, rebuild, compare):
        monkeypatch.setattr(job, function.__name__, function)
    return requests


def act(
    dag: DAG, task: str, monkeypatch: pytest.MonkeyPatch, *given: Any, **params: Any
) -> tuple[Any, list[str]]:
    """Return what a task returns, and the notes of the run."""
    notes: list[str] = []
    function = inspect.unwrap(dag.get_task(task).python_callable)
    known = function.__globals__
    monkeypatch.setitem(known, "get_current_context", lambda: {"params": {**FORM, **params}})
    monkeypatch.setitem(known, "tell", lambda text, **_: notes.append(text))
    monkeypatch.setitem(known, "deployment", Somewhere)
    monkeypatch.setattr(opened, "deployment", Somewhere)
    return function(*given), notes


def test_it_is_plan_rebuild_compare_summarize(dag: DAG) -> None:
    assert dag.task_ids == ["plan", "rebuild", "compare", "summarize"]
    assert dag.get_task("rebuild").upstream_task_ids == {"plan"}
    assert dag.get_task("compare").upstream_task_ids == {"plan", "rebuild"}
    assert dag.get_task("summarize").upstream_task_ids == {"compare"}
    assert dag.timetable.can_be_scheduled is False


@pytest.mark.parametrize(
    "wrong", [{"reason": ""}, {"day": "yesterday"}, {"host": ""}, {"new_name": "x" * 65}]
)
def test_the_form_refuses_what_it_can_see(dag: DAG, wrong: dict[str, Any]) -> None:
    with pytest.raises(ParamValidationError):
        dag.params.update({**FORM, **wrong})
    dag.params.update(FORM)
    assert dag.params.validate()["day"] is None


def test_the_chosen_backup_goes_from_task_to_task(
    dag: DAG, asked: list[RebuildRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    request, notes = act(dag, "plan", monkeypatch, day="2026-11-22")
    assert "web2 becomes one more like web1, named shop2" in notes[0]
    done, _ = act(dag, "rebuild", monkeypatch, request)
    report, _ = act(dag, "compare", monkeypatch, request, done)
    text, notes = act(dag, "summarize", monkeypatch, report)
    assert notes == [text]
    assert "web2 is shop2" in text
    assert "done in 1 min 1 s: packages 3" in text
    assert "problem: a problem" in text
    first, *later = asked
    assert first.new_name == "shop2"
    assert first.before == datetime(2026, 11, 23, tzinfo=ZoneInfo("Europe/Madrid"))
    assert {r.backup_id for r in later} == {CHOSEN}
    unfinished = {**report, "is_complete": False}
    with pytest.raises(RestoreFailed, match="web2 is not yet"):
        act(dag, "summarize", monkeypatch, unfinished)


def test_a_day_that_is_none_is_refused(
    dag: DAG, asked: list[RebuildRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.respaldo.orchestration.run_note.tell", lambda *_, **__: None)
    monkeypatch.setattr("airflow.sdk.get_current_context", dict)
    with pytest.raises(RestoreRefused, match="'2026-02-30' is no day"):
        act(dag, "plan", monkeypatch, day="2026-02-30")
    assert asked == []
