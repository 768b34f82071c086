"""The story: a day of a vendor of management software, in a few minutes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from demo import place
from demo.comparison import Contents, contents
from demo.environment import RATE, Environment
from demo.erp.application import Session, enter
from demo.erp.orders import Order, choose_order, delete_order, find_order
from demo.screen import ZONE, Screen, Stopped, clock, wait_for
from embedded.airflow_client import ENDED, AirflowClient
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.plan_restore import default_new_name
from include.respaldo.jobs.read_catalog import read_catalog
from include.respaldo.model.backup import Category, Source
from include.respaldo.model.catalog import recovery_window
from include.respaldo.model.target import TargetTime
from include.respaldo.model.units import duration_text, size_text

TENANT = "tenant_acme"
BACKUP, SYSTEM = "backup_tenant_databases", "backup_system_database"
ARCHIVE, RESTORE = "archive_query_log", "restore_tenant_database"


class Story:
    """The steps, in the order in which they are played; each stands on those before it."""

    def __init__(self, environment: Environment, screen: Screen) -> None:
        self.environment = environment
        self.screen = screen
        self.source = Source(Category.TENANT_DATABASES, "pg1", TENANT)

    # -- the stage ------------------------------------------------------------------------------

    def start_servers(self) -> None:
        self.screen.step(
            "Start a PostgreSQL server and two regions of an S3 service",
            "Se inician un servidor PostgreSQL y dos regiones de un servicio S3",
        )
        environment = self.environment
        environment.start_servers()
        [(version,)] = environment.postgres.execute("SHOW server_version")
        self.screen.say(
            f"PostgreSQL {version.split()[0]} on 127.0.0.1:{environment.postgres.port}",
            f"primary region {environment.installation.primary.region}: "
            f"{environment.installation.primary.endpoint_url}",
            f"replica region {environment.installation.replica.region}: "
            f"{environment.installation.replica.endpoint_url}",
        )

    def create_tenants(self) -> None:
        self.screen.step(
            "Create the customers of a small ERP, and let their people work",
            "Se crean los clientes de un pequeño ERP, y su gente empieza a trabajar",
        )
        made = self.environment.create_tenants()
        sizes = self.environment.postgres.execute(
            "SELECT datname, pg_database_size(datname) FROM pg_database"
            " WHERE datname ~ '^tenant_' AND datname !~ '_restored_' OR datname = 'vendor_system'"
            " ORDER BY 1"
        )
        for name, size in sizes:
            self.screen.say(
                f"{size_text(size):>8}  {name}{'' if name in made else '  (was there)'}"
            )
        writers = self.environment.start_writers()
        self.screen.say(
            f"{writers} writers, {RATE:g} transactions a second each, from now on without a pause"
        )

    def start_airflow(self) -> None:
        self.screen.step(
            "Start Airflow, and switch the archiving of the query log on",
            "Se inicia Airflow y se activa el archivado del registro de cambios",
        )
        self.environment.start_airflow()
        self.environment.write_env_file()
        with self._airflow() as airflow:
            airflow.wait_for_dags(BACKUP, SYSTEM, ARCHIVE, RESTORE, within=90)
            for dag in (ARCHIVE, BACKUP, SYSTEM, RESTORE):
                airflow.unpause(dag)
        self.screen.say(
            f"Airflow on {self.environment.airflow.url}",
            f"{ARCHIVE} runs from now on: every committed change, into both regions",
        )

    # -- the day --------------------------------------------------------------------------------

    def back_up(self) -> None:
        self.screen.step(
            "Run the daily backups: dump, checksum, upload, copy to the other region",
            "Copias diarias: volcar, comprobar, subir y copiar a la otra región",
        )
        with self._airflow() as airflow:
            runs = [(dag, airflow.trigger(dag)) for dag in (BACKUP, SYSTEM)]
            for dag, run_id in runs:
                run = self._follow(airflow, dag, run_id, within=150)
                self.screen.say(f"{dag}: {_took(run)}")
                self.screen.quote(run["note"] or "", limit=8)

    def wait_for_window(self) -> None:
        self.screen.step(
            f"Wait until {TENANT} can be restored to any moment from now on",
            "Se espera a que el cliente se pueda recuperar a cualquier momento desde ahora",
        )
        start, end = self._wait_for_log(datetime.now(UTC), within=120)
        self.screen.say(f"recovery window: from {clock(start)} to {clock(end)}, and growing")

    def delete_an_order(self) -> None:
        self.screen.step(
            "Somebody looks at an order, and then deletes it by mistake",
            "Alguien mira un pedido y luego lo borra por error",
        )
        with self._enter(TENANT) as reader, self._enter(TENANT) as session, session.transaction():
            number = choose_order(reader).number
            # so that nobody ships it between the look and the mistake
            session.execute("SELECT FROM orders WHERE number = %s FOR UPDATE", (number,))
            self.order = _found(reader, number)
            self.target = _now(reader)
            time.sleep(2)
            delete_order(session, number)
        with self._enter(TENANT) as session:
            self.deleted_before = _now(session)
            gone = find_order(session, self.order.number) is None
        self._show_order(self.order)
        self.screen.say(
            f"{clock(self.target)}  the order is there",
            f"{clock(self.deleted_before)}  it is {'deleted' if gone else 'STILL THERE'}",
        )

    def show_log(self) -> None:
        self.screen.step(
            "What happened? The query log shows it, transaction by transaction",
            "¿Qué ha pasado? El registro lo muestra, transacción a transacción",
        )
        _, end = self._wait_for_log(self.deleted_before, within=60)
        self.screen.say(f"the log reaches {clock(end)} in both regions")
        start = self.target.astimezone(UTC).isoformat(timespec="seconds")
        until = self.deleted_before.astimezone(UTC).isoformat(timespec="milliseconds")
        printed = self._respaldo("log", TENANT, "--from", start, "--to", until)
        lines = printed.splitlines()
        deletes = [line for line in lines if "orders: 1 delete" in line]
        if not deletes:
            raise Stopped("the log does not show that the order was deleted", log=printed)
        self.screen.quote("\n".join(lines[lines.index(deletes[-1]) - 3 :][:4]))
        self.screen.say("the last of these is the mistake; with the rows that it changed:")
        at = " ".join(deletes[-1].split()[:2])
        printed = self._respaldo(
            "log", TENANT, "--from", at, "--to", at, "--tz", ZONE.key, "--rows"
        )
        self.screen.quote(printed)

    # -- the restore ----------------------------------------------------------------------------

    def restore(self) -> None:
        self.screen.step(
            f"Restore {TENANT} to {clock(self.target)}, beside the live database",
            f"Se restaura {TENANT} a las {clock(self.target)}, junto a la base en uso",
        )
        self.restored = default_new_name(
            TENANT, TargetTime(self.target), self._deployment().config.time_zone
        )
        with self._airflow() as airflow:
            run_id = airflow.trigger(
                RESTORE,
                {
                    "tenant": TENANT,
                    "target_time": self.target.isoformat(),
                    "new_name": self.restored,
                    "reason": f"demo: order {self.order.number} was deleted by mistake",
                },
            )
            run = self._follow(airflow, RESTORE, run_id, within=180, tasks=True)
        self.screen.say(f"{RESTORE}: {_took(run)}; the note of the run says:")
        self.screen.quote(run["note"] or "")

    def prove(self) -> None:
        self.screen.step(
            "Is it there? Is it gone from the live database? Did the live one go on?",
            "¿Está? ¿Falta en la base en uso? ¿Siguió la base en uso su curso?",
        )
        with self._enter(self.restored) as session:
            found = find_order(session, self.order.number)
            newest = _newest_order(session)
        if found is not None:
            self._show_order(found)
        with self._enter(TENANT) as session:
            live = find_order(session, self.order.number)
            newest_live = _newest_order(session)
        self._check(f"{self.restored} has the order, equal in every line", found == self.order)
        self._check(f"{TENANT} does not have it", live is None)
        self._check(
            f"nothing in the restored database is later than {clock(self.target)}: "
            f"its newest order is {newest[0]}, of {clock(newest[1])}",
            newest[1] <= self.target,
        )
        self._check(
            f"the live database went on: its newest order is {newest_live[0]}, "
            f"of {clock(newest_live[1])}",
            newest_live[1] > self.deleted_before,
        )

    def lose_a_region(self) -> None:
        primary = self.environment.installation.primary
        self.screen.step(
            f"Lose the primary region ({primary.region}), and restore the same again",
            "Se pierde la región principal, y se restaura lo mismo otra vez",
        )
        pid = primary.pid
        primary.stop()
        self.screen.say(f"the S3 server of {primary.region} (process {pid}) is stopped")
        self.from_replica = f"{self.restored}_replica"
        printed = self._respaldo(
            "restore",
            TENANT,
            "--to",
            self.target.isoformat(),
            "--as",
            self.from_replica,
            "--reason",
            "demo: the primary region is lost",
        )
        self.screen.quote(printed)
        self._check("the summary says that the replica was used", "replica" in printed)

    def compare(self) -> None:
        self.screen.step(
            "Compare the two restored databases, row for row",
            "Se comparan las dos bases restauradas, fila por fila",
        )
        connection = self.environment.connection
        one: Contents = contents(connection, self.restored)
        other = contents(connection, self.from_replica)
        different = one.differences(other)
        self._check(
            f"{one.tables} tables and sequences, {one.rows:,} rows: "
            + (f"different: {', '.join(different)}" if different else "all equal"),
            not different and one.rows > 0,
        )

    def bring_it_back(self) -> None:
        primary = self.environment.installation.primary
        self.screen.step(
            "Start the primary region again; archiving goes on where it was",
            "Vuelve la región principal; el archivado continúa donde estaba",
        )
        primary.start()
        start, end = self._wait_for_log(datetime.now(UTC), within=120)
        self._check(
            f"from {clock(start)} to {clock(end)} without a gap: the outage is covered too",
            start <= self.target < end,
        )

    # -- how ------------------------------------------------------------------------------------

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


def play(environment: Environment, screen: Screen) -> None:
    """Play it from its beginning to its end.

    :raises Stopped: it could not be played, or something was not as promised.
    """
    story = Story(environment, screen)
    steps: tuple[Callable[[], None], ...] = (
        story.start_servers,
        story.create_tenants,
        story.start_airflow,
        story.back_up,
        story.wait_for_window,
        story.delete_an_order,
        story.show_log,
        story.restore,
        story.prove,
        story.lose_a_region,
        story.compare,
        story.bring_it_back,
    )
    for step in steps:
        step()


def set_the_stage(environment: Environment, screen: Screen) -> None:
    """Start everything and wait until the tenants can be restored; no story."""
    story = Story(environment, screen)
    for step in (story.start_servers, story.create_tenants, story.start_airflow):
        step()
    story.wait_for_window()


def _now(session: Session) -> datetime:
    row = session.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    at: datetime = row[0]
    return at.astimezone(UTC)


def _found(session: Session, number: str) -> Order:
    order = find_order(session, number)
    if order is None:
        raise Stopped(f"order {number} has vanished", advice="play it again: make demo")
    return order


def _newest_order(session: Session) -> tuple[str, datetime]:
    row = session.execute(
        "SELECT number, ordered_at FROM orders ORDER BY ordered_at DESC LIMIT 1"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _took(run: dict[str, Any]) -> str:
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
