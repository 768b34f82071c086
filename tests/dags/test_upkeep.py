"""The DAGs that look after the vaults: the geo-redundancy check, and acknowledging."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from include.respaldo.errors import SomeFailed, SourceError
from include.respaldo.jobs import check_redundancy as check_job
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.model import keys
from include.respaldo.orchestration import deployment as opened
from include.respaldo.vault.memory import MemoryVault
from tests.dags.test_dags import parse
from tests.jobs.old_days import in_memory
from tests.jobs.old_trees import UPLOADS, plant_trees

FORM = {"source": "uploads", "backup_id": "20261122T020000.000000Z", "by": "Ana"}


@pytest.fixture
def dags(config_file: Path) -> dict[str, DAG]:
    return parse()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The deployment that tasks open: vaults in memory."""
    folder = tmp_path / "here"
    folder.mkdir()
    made = in_memory(folder)

    class Later:
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(hours=2)

    made.clock = Later()
    monkeypatch.setattr(opened, "deployment", lambda: made)
    monkeypatch.setattr(check_job, "repository_is_whole", lambda *_: False)
    return made


def run(dag: DAG, task: str, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run what a task does; return what became the note of the run."""
    notes: list[str] = []
    act: Callable[[], str] = inspect.unwrap(dag.get_task(task).python_callable)
    known = act.__globals__
    monkeypatch.setitem(known, "get_current_context", lambda: {"params": params})
    monkeypatch.setitem(known, "tell", lambda text, **_: notes.append(text))
    try:
        act()
    finally:
        run.notes = notes  # type: ignore[attr-defined]
    return notes


def test_the_check_is_daily_after_retention_and_one_run_at_a_time(dags: dict[str, DAG]) -> None:
    dag = dags["geo_redundancy_check"]
    assert dag.timetable.expression == "30 7 * * *"  # type: ignore[attr-defined]
    assert dag.max_active_runs == 1
    assert dag.params["dry_run"] is False


def test_the_check_heals_and_its_note_says_so(
    dags: dict[str, DAG], here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_trees(here.vaults, days=2)
    replica = here.vaults.replica
    replica.delete_all([o.key for o in replica.list("backups/")])
    dag = dags["geo_redundancy_check"]
    (note,) = run(dag, "compare_and_heal", {"dry_run": True}, monkeypatch)
    assert "would be healed" in note
    assert not list(replica.list("backups/"))
    (note,) = run(dag, "compare_and_heal", {"dry_run": False}, monkeypatch)
    assert "were healed" in note
    assert list(replica.list("backups/"))


def test_the_check_fails_when_something_could_not_be_healed_and_names_it(
    dags: dict[str, DAG], here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plant_trees(here.vaults, days=2)
    key = keys.backup_prefix(UPLOADS, made[0].backup_id) + keys.FILE_LIST
    assert isinstance(here.vaults.primary, MemoryVault)
    here.vaults.primary.tamper(key)
    here.vaults.replica.delete(key)
    with pytest.raises(SomeFailed, match=key):
        run(dags["geo_redundancy_check"], "compare_and_heal", {"dry_run": False}, monkeypatch)
    (note,) = run.notes  # type: ignore[attr-defined]
    assert f"**not healed** local/uploads (files), `{key}`" in note


def test_the_form_asks_who_has_looked_at_which_backup(dags: dict[str, DAG]) -> None:
    form = dags["acknowledge_backup"].params
    form.update(FORM)
    assert form.validate()["by"] == "Ana"
    for name, wrong in (("by", ""), ("source", ""), ("backup_id", "yesterday")):
        with pytest.raises(ParamValidationError):
            form[name] = wrong


def test_acknowledging_is_told_and_what_is_not_there_is_refused(
    dags: dict[str, DAG], here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plant_trees(here.vaults, days=2, suspicious=[1])
    dag = dags["acknowledge_backup"]
    params = {**FORM, "backup_id": made[-2].backup_id, "note": "we moved the shop"}
    (note,) = run(dag, "acknowledge", params, monkeypatch)
    assert "by Ana (we moved the shop); retention goes on" in note
    key = keys.acknowledged_key(UPLOADS, made[-2].backup_id)
    assert here.vaults.replica.find(key) is not None

    monkeypatch.setattr("include.respaldo.orchestration.run_note.tell", lambda *_, **__: None)
    monkeypatch.setattr("airflow.sdk.get_current_context", dict)
    with pytest.raises(SourceError, match="nothing is suspicious"):
        run(dag, "acknowledge", {**params, "backup_id": made[-1].backup_id}, monkeypatch)
