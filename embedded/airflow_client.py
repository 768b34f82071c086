"""The part of Airflow's REST API that the demo and the tests use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

ENDED = frozenset({"success", "failed"})


class AirflowClient:
    """A signed-in user of one Airflow; signs in again when the token has expired."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self._credentials = {"username": user, "password": password}
        self._http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def close(self) -> None:
        """Close the connections to the server."""
        self._http.close()

    def __enter__(self) -> AirflowClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def token(self) -> str:
        """Sign in; return the token."""
        answer = self._http.post("/auth/token", json=self._credentials).raise_for_status()
        token = str(answer.json()["access_token"])
        self._http.headers["Authorization"] = f"Bearer {token}"
        return token

    def request(self, method: str, path: str, **more: Any) -> Any:
        """Return the JSON of an answer of ``/api/v2/<path>``.

        :raises httpx.HTTPStatusError: refused; the note on the error holds the server's reason.
        """
        if "Authorization" not in self._http.headers:
            self.token()
        answer = self._http.request(method, f"/api/v2/{path}", **more)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self.token()
            answer = self._http.request(method, f"/api/v2/{path}", **more)
        try:
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            error.add_note(answer.text[:2000])
            raise
        return answer.json() if answer.content else None

    # -- DAGs ---------------------------------------------------------------------------------

    def dag_ids(self) -> set[str]:
        """Return the DAGs that Airflow has parsed."""
        return {d["dag_id"] for d in self.request("GET", "dags", params={"limit": 100})["dags"]}

    def import_errors(self) -> list[str]:
        """Return why DAG files could not be parsed."""
        found = self.request("GET", "importErrors")["import_errors"]
        return [f"{e['filename']}: {e['stack_trace']}" for e in found]

    def wait_for_dags(self, *dag_ids: str, within: float = 60) -> None:
        """Return once Airflow has parsed these DAGs.

        :raises TimeoutError: some are missing; names them, and the import errors.
        """
        end = time.monotonic() + within
        while missing := set(dag_ids) - self.dag_ids():
            if time.monotonic() > end:
                errors = "\n".join(self.import_errors())
                raise TimeoutError(f"DAGs not there: {', '.join(sorted(missing))}\n{errors}")
            time.sleep(0.5)

    def unpause(self, dag_id: str) -> None:
        """Let the DAG run."""
        self._set_paused(dag_id, paused=False)

    def pause(self, dag_id: str) -> None:
        """Start no new run of the DAG."""
        self._set_paused(dag_id, paused=True)

    def _set_paused(self, dag_id: str, *, paused: bool) -> None:
        self.request("PATCH", f"dags/{quote(dag_id)}", json={"is_paused": paused})

    # -- runs ---------------------------------------------------------------------------------

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run with these params; return its id."""
        body = {"logical_date": datetime.now(UTC).isoformat(), "conf": dict(conf or {})}
        return str(self.request("POST", f"dags/{quote(dag_id)}/dagRuns", json=body)["dag_run_id"])

    def runs(self, dag_id: str, limit: int = 20) -> list[dict[str, Any]]:
        """Return the DAG's runs, the newest first."""
        params = {"order_by": "-run_after", "limit": limit}
        answer = self.request("GET", f"dags/{quote(dag_id)}/dagRuns", params=params)
        return list(answer["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return one run: ``state``, ``note``, ``conf``, ``start_date``, ``end_date`` …"""
        return dict(self.request("GET", _run_path(dag_id, run_id)))

    def wait(self, dag_id: str, run_id: str, within: float = 300) -> dict[str, Any]:
        """Return the run once it has ended, whether in success or in failure.

        :raises TimeoutError: it runs on; says the states of its tasks.
        """
        end = time.monotonic() + within
        while (run := self.run(dag_id, run_id))["state"] not in ENDED:
            if time.monotonic() > end:
                states = [
                    f"{t['task_id']}[{t['map_index']}]: {t['state']}"
                    for t in self.task_instances(dag_id, run_id)
                ]
                raise TimeoutError(f"{dag_id} {run_id} is {run['state']}: {', '.join(states)}")
            time.sleep(0.3)
        return run

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the run's tasks: ``task_id``, ``map_index``, ``state``, ``try_number`` …"""
        path = f"{_run_path(dag_id, run_id)}/taskInstances"
        answer = self.request("GET", path, params={"limit": 1000})
        return list(answer["task_instances"])

    def xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        key: str = "return_value",
        map_index: int = -1,
    ) -> Any:
        """Return what a task handed on."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{key}"
        params = {"map_index": map_index, "deserialize": True}
        return self.request("GET", path, params=params)["value"]

    def logs(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> str:
        """Return the log of one attempt, one event a line."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        answer = self.request(
            "GET",
            path,
            params={"map_index": map_index, "full_content": True},
            headers={"Accept": "application/json"},
        )
        return "\n".join(_line(entry) for entry in answer["content"])


def _run_path(dag_id: str, run_id: str) -> str:
    return f"dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _line(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    parts = [str(entry.get("timestamp") or ""), entry.get("level") or "", entry.get("event") or ""]
    parts += [str(detail) for detail in entry.get("error_detail") or []]
    return " ".join(filter(None, parts))
