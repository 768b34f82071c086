"""What each step of the story does with: the servers, Airflow, the command line, patience."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

from demo import place
from demo.environment import Environment
from demo.erp.application import Session, enter
from demo.erp.orders import Order
from demo.screen import Screen, Stopped, clock, wait_for
from embedded.airflow_client import ENDED, AirflowClient
from embedded.installation import SERVER
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.read_catalog import read_catalog
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.catalog import recovery_window
from include.respaldo.model.units import duration_text

#: the customer whose order it is
TENANT = "tenant_acme"
ARCHIVE = "archive_query_log"


class Stage:
    """Where the story is played; everything that waits is bounded, and says what to do."""

    def __init__(self, environment: Environment, screen: Screen) -> None:
        self.environment = environment
        self.screen = screen
        self.source = Source(Category.TENANT_DATABASES, SERVER, TENANT)

    def _airflow(self) -> AirflowClient:
        return self.environment.airflow.client()

    def _deployment(self) -> Deployment:
        return self.environment.installation.deployment()

    def _enter(self, database: str) -> Session:
        return enter(self.environment.connection, database)

    def _check(self, text: str, holds: bool) -> None:
        self.screen.say(f"{'yes' if holds else 'NO '}  {text}")
        if not holds:
            raise Stopped(
                f"expected, and not so: {text}",
                advice="this is a bug; databases and vaults are left as they are: "
                f". {self.environment.env_file} && python -m include.respaldo catalog {TENANT}",
            )

    def _show_order(self, order: Order) -> None:
        self.screen.quote(
            "\n".join([
                str(order),
                *(
                    f"  {quantity:>10} {name:<32} {amount:>12}"
                    for name, quantity, amount in order.lines
                ),
            ])
        )

    def _wait_for_log(self, moment: datetime, within: float) -> tuple[datetime, datetime]:
        """Return the stretch of the recovery window that reaches past a moment, once it does."""
        deployment = self._deployment()
        last: list[tuple[datetime, datetime]] = []

        def reached() -> bool:
            window = recovery_window(read_catalog(deployment, self.source))
            last[:] = [(i.start, i.end) for i in window.intervals[-1:]]
            return bool(last) and last[0][1] > moment

        def otherwise() -> Stopped:
            with self._airflow() as airflow:
                return Stopped(
                    f"the query log of {TENANT} has not reached {clock(moment)} in {within:g} s"
                    + (f"; it is at {clock(last[0][1])}" if last else "; there is none"),
                    log=_archive_log(airflow),
                    advice=f"look at {ARCHIVE} in Airflow: {self.environment.airflow.url}",
                )

        wait_for(reached, within, otherwise)
        return last[0]

    def _follow(
        self, airflow: AirflowClient, dag: str, run_id: str, within: float, *, tasks: bool = False
    ) -> dict[str, Any]:
        """Return the run once it has ended well; say meanwhile which tasks have ended."""
        said: set[tuple[str, int]] = set()

        def ended() -> bool:
            run = airflow.run(dag, run_id)
            if tasks:
                done = [t for t in airflow.task_instances(dag, run_id) if t["state"] == "success"]
                for task in sorted(done, key=lambda t: str(t["end_date"])):
                    key = task["task_id"], task["map_index"]
                    if key not in said:
                        said.add(key)
                        self.screen.say(f"{task['task_id']:<10} {duration_text(task['duration'])}")
            return run["state"] in ENDED

        def otherwise() -> Stopped:
            return Stopped(
                f"{dag} has not ended in {within:g} s",
                log=_run_log(airflow, dag, run_id),
                advice=f"look at it in Airflow: {self.environment.airflow.url}/dags/{dag}",
            )

        wait_for(ended, within, otherwise)
        run = airflow.run(dag, run_id)
        if run["state"] != "success":
            raise Stopped(
                f"{dag} has failed: {run['note'] or 'without a note'}",
                log=_run_log(airflow, dag, run_id),
                advice=f"look at it in Airflow: {self.environment.airflow.url}/dags/{dag}",
            )
        return run

    def _respaldo(self, *arguments: str, within: float = 120) -> str:
        """Run the command line as a person would; return what it printed."""
        self.screen.say(f"$ python -m include.respaldo {shlex.join(arguments)}")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "include.respaldo", *arguments],
                cwd=place.ROOT,
                env=os.environ | self.environment.installation.environment(),
                capture_output=True,
                text=True,
                timeout=within,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Stopped(
                f"`{arguments[0]}` has not ended in {within:g} s", log=str(error.stderr or "")
            ) from None
        if done.returncode:
            raise Stopped(f"`{arguments[0]}` ended with {done.returncode}", log=done.stderr)
        return done.stdout


def took(run: dict[str, Any]) -> str:
    begun, ended = (datetime.fromisoformat(run[k]) for k in ("start_date", "end_date"))
    return duration_text((ended - begun) / timedelta(seconds=1))


def _run_log(airflow: AirflowClient, dag: str, run_id: str) -> str:
    """Return the end of the logs of the tasks that did not end well."""
    lines: list[str] = []
    for task in airflow.task_instances(dag, run_id):
        if task["state"] in {"success", "skipped", "upstream_failed", None}:
            continue
        lines.append(f"--- {task['task_id']}[{task['map_index']}]: {task['state']}")
        if task["try_number"]:
            log = airflow.logs(dag, run_id, task["task_id"], task["try_number"], task["map_index"])
            lines += log.splitlines()[-25:]
    return "\n".join(lines)


def _archive_log(airflow: AirflowClient) -> str:
    runs = airflow.runs(ARCHIVE, limit=1)
    return _run_log(airflow, ARCHIVE, runs[0]["dag_run_id"]) if runs else "it has never run"
