"""The DAG that restores files: its form, and what goes from task to task."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from include.respaldo.errors import RestoreRefused
from include.respaldo.jobs import restore_files as job
from include.respaldo.jobs import stored_trees
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.tree_restore_plan import (
    Contents,
    Place,
    RestoredItem,
    TreeRestored,
    TreeRestorePlan,
    TreeRestoreRequest,
    chosen,
)
from include.respaldo.orchestration.restore_trees import BESIDE, FOLDER
from tests.dags.test_dags import SECTIONS, parse

FORM = {"source": "files/web1/uploads", "paths": [" 2026/11 ", "*.pdf"], "reason": "ticket 4711"}
CHOSEN = "20261121T020000.000000Z"
UPLOADS = Source(Category.FILES, "web1", "uploads")


@pytest.fixture
def dag(config_file: Path) -> DAG:
    with config_file.open("a") as file:
        file.write(SECTIONS)
    return parse()["restore_files"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[TreeRestoreRequest]:
    """The requests that reached the job."""
    requests: list[TreeRestoreRequest] = []

    def plan(_: object, request: TreeRestoreRequest) -> TreeRestorePlan:
        requests.append(request)
        return TreeRestorePlan(
            request=chosen(request, CHOSEN),
            as_of=datetime(2026, 11, 21, 2, tzinfo=UTC),
            time_zone="Europe/Madrid",
            version="",
            region="primary",
            contents=Contents(files=3, size=1000),
            suffix="restored_20261121",
            place="web1, /srv/uploads",
            items=(RestoredItem("2026/11", "/srv/uploads/2026/11.restored_20261121"),),
            count=2,
        )

    def restore(_: object, planned: TreeRestorePlan) -> TreeRestored:
        requests.append(planned.request)
        return TreeRestored(planned, "replica", 61.0, ("the replica region was used",))

    monkeypatch.setattr(job, "plan", plan)
    monkeypatch.setattr(job, "restore", restore)
    monkeypatch.setattr(stored_trees, "tree_called", lambda *_: UPLOADS)
    return requests


def act(
    dag: DAG, task: str, monkeypatch: pytest.MonkeyPatch, *given: Any, **params: Any
) -> tuple[Any, list[str]]:
    """Return what a task returns, and the notes of the run."""
    notes: list[str] = []
    function = inspect.unwrap(dag.get_task(task).python_callable)
    known = function.__globals__
    form = {"destination": BESIDE, **FORM, **params}
    monkeypatch.setitem(known, "get_current_context", lambda: {"params": form})
    monkeypatch.setitem(known, "tell", lambda text, **_: notes.append(text))
    monkeypatch.setitem(known, "deployment", object)
    monkeypatch.setattr("airflow.sdk.get_current_context", dict)
    monkeypatch.setattr("include.respaldo.orchestration.run_note.tell", known["tell"])
    return function(*given), notes


def test_it_is_plan_restore_summarize(dag: DAG) -> None:
    assert dag.task_ids == ["plan", "restore", "summarize"]
    assert dag.get_task("restore").upstream_task_ids == {"plan"}
    assert dag.get_task("summarize").upstream_task_ids == {"restore"}
    assert dag.timetable.can_be_scheduled is False


def test_the_form_offers_the_sources_and_refuses_what_it_can_see(dag: DAG) -> None:
    offered = dag.params.get_param("source").schema["examples"]
    assert offered == ["files/local/images", "files/web1/uploads", "applications/web1/erp"]
    for wrong in (
        {"reason": ""},
        {"day": "yesterday"},
        {"source": ""},
        {"folder": "relative"},
        {"destination": "over the original"},
        {"paths": [""]},
    ):
        with pytest.raises(ParamValidationError):
            dag.params.update({**FORM, **wrong})
    dag.params.update({**FORM, "day": "2026-11-21"})
    assert dag.params.validate()["destination"] == BESIDE


def test_the_form_speaks_both_languages(dag: DAG) -> None:
    for name in dag.params:
        param = dag.params.get_param(name)
        assert " / " in param.schema["title"], name
        assert " / " in (param.description or ""), name


def test_the_chosen_backup_goes_from_task_to_task(
    dag: DAG, asked: list[TreeRestoreRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, notes = act(dag, "plan", monkeypatch)
    assert "2026/11, *.pdf of web1/uploads** as of 2026-11-21 03:00 +01:00" in notes[0]
    restored, _ = act(dag, "restore", monkeypatch, planned)
    text, notes = act(dag, "summarize", monkeypatch, restored)
    assert notes == [text]
    for said in ("is back", "replica region was used", "ticket 4711", "… and 1 more", "1 min 1 s"):
        assert said in text
    first, second = asked
    assert first.paths == ("2026/11", "*.pdf")
    assert (first.source, first.destination.place) == (UPLOADS, Place.BESIDE)
    assert second.backup_id == CHOSEN


@pytest.mark.parametrize("wrong", [{"destination": FOLDER}, {"folder": "/var/tmp/x"}])
def test_a_folder_is_named_where_the_files_go_to_one_and_only_there(
    dag: DAG,
    asked: list[TreeRestoreRequest],
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, Any],
) -> None:
    with pytest.raises(RestoreRefused, match="expected a folder only"):
        act(dag, "plan", monkeypatch, **wrong)
    assert asked == []
    act(dag, "plan", monkeypatch, destination=FOLDER, folder="/var/tmp/x")
    assert asked[0].destination.folder == "/var/tmp/x"
