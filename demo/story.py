"""The story: a day of a vendor of management software, in a few minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from demo.comparison import Contents, contents
from demo.environment import RATE, Environment
from demo.erp.application import Session
from demo.erp.orders import Order, choose_order, delete_order, find_order
from demo.screen import ZONE, Screen, Stopped, clock
from demo.stage import ARCHIVE, TENANT, Stage, took
from demo.web.story import WebStory
from include.respaldo.jobs.plan_restore import default_new_name
from include.respaldo.model.target import TargetTime
from include.respaldo.model.units import size_text

BACKUP, SYSTEM = "backup_tenant_databases", "backup_system_database"
RESTORE = "restore_tenant_database"


class Story(Stage):
    """The steps, in the order in which they are played; each stands on those before it."""

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
                self.screen.say(f"{dag}: {took(run)}")
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
        self.screen.say(f"{RESTORE}: {took(run)}; the note of the run says:")
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
    if environment.no_hosts:
        screen.title(
            "The part about a web server is left out: no host can be had here.",
            environment.no_hosts,
        )
        return
    for step in WebStory(environment, screen).steps:
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
