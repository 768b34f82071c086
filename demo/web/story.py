"""The second part of the story: a file is overwritten, and then the whole web server is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from demo.stage import Stage, took
from demo.web.invoices import LOST, invoices
from demo.web.server import (
    ACCOUNT,
    APPLICATION,
    NAME,
    SPARE,
    UPLOADS,
    VERSION,
    furnish,
    read,
    write,
)
from include.respaldo.model.units import duration_text

FILES, APPLICATIONS = "backup_files", "backup_applications"
CONFIGURATION = "backup_server_configuration"
RESTORE_FILES, RESTORE_APPLICATION = "restore_files", "restore_application"
SWITCH, REBUILD = "switch_application", "rebuild_server"


class WebStory(Stage):
    """The steps, in the order in which they are played; each stands on those before it."""

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        """The steps in their order."""
        return (
            self.furnish,
            self.back_up,
            self.overwrite,
            self.lose,
            self.refill,
            self.compare,
        )

    def furnish(self) -> None:
        self.screen.step(
            f"{NAME}: a web server with an application, and with what users have uploaded",
            f"{NAME}: un servidor web con una aplicación y los archivos de los usuarios",
        )
        self.host = self.environment.hosts[NAME]
        self.spare = self.environment.hosts[SPARE]
        for host in (self.host, self.spare):
            host.reinstall()
            host.start()
        self.uploads = dict(invoices())
        furnish(self.host)
        self.screen.say(
            f"{NAME} on 127.0.0.1:{self.host.port}: {APPLICATION} (ERP {VERSION}), "
            f"{len(self.uploads)} invoices below {UPLOADS}, a service, a cron job, an account",
            f"{SPARE} on 127.0.0.1:{self.spare.port}: as Debian's installer leaves it",
        )

    def back_up(self) -> None:
        self.screen.step(
            "Back up its files, its application, and what makes the server what it is",
            "Copia de sus archivos, de su aplicación y de la configuración del servidor",
        )
        with self._airflow() as airflow:
            dags = (FILES, APPLICATIONS, CONFIGURATION)
            airflow.wait_for_dags(*dags, RESTORE_FILES, RESTORE_APPLICATION, REBUILD, within=90)
            for dag in (*dags, RESTORE_FILES, RESTORE_APPLICATION, REBUILD):
                airflow.unpause(dag)
            runs = [(dag, airflow.trigger(dag)) for dag in dags]
            for dag, run_id in runs:
                run = self._follow(airflow, dag, run_id, within=180)
                self.screen.say(f"{dag}: {took(run)}")
                self.screen.quote(run["note"] or "", limit=8)

    def overwrite(self) -> None:
        self.screen.step(
            f"Somebody overwrites {LOST} by mistake; the file of before comes back beside it",
            "Alguien sobrescribe una factura por error; la de antes vuelve junto a ella",
        )
        place = UPLOADS / LOST
        write(self.host, place, b"%PDF-1.4\n")
        self._run(RESTORE_FILES, {"source": "uploads", "paths": [LOST], "destination": "beside"})
        found = sorted(
            (self.host.root / "srv/uploads").glob(LOST.replace(".pdf", ".restored_*.pdf"))
        )
        self._check(
            f"{found[-1].name if found else 'nothing'} is the invoice, byte for byte",
            bool(found) and found[-1].read_bytes() == self.uploads[LOST],
        )
        self._check("what is there now was not touched", read(self.host, place) == b"%PDF-1.4\n")

    def lose(self) -> None:
        self.screen.step(
            f"{NAME} is lost, and {SPARE}, a bare Debian, becomes it",
            f"Se pierde {NAME}, y {SPARE}, un Debian recién instalado, ocupa su lugar",
        )
        self.lost_at = time.monotonic()
        pid = self.host.pid
        self.host.stop()
        self.screen.say(f"{NAME} (process {pid}) is stopped, and does not come back")
        self._run(REBUILD, {"host": NAME, "target": SPARE})
        printed = self._respaldo("rebuild-server", NAME, "--to", SPARE, "--dry-run")
        self.screen.say("the same once more would do:")
        self.screen.quote(printed, limit=6)

    def refill(self) -> None:
        self.screen.step(
            f"It gets {NAME}'s address; then its application and its users' files come back",
            "Recibe su dirección; después vuelven su aplicación y los archivos",
        )
        self.spare.move_to(self.host)
        self.host.start()
        self._run(RESTORE_APPLICATION, {"application": "erp"})
        self._run(RESTORE_FILES, {"source": "uploads", "paths": [], "destination": "beside"})
        took_all = duration_text(time.monotonic() - self.lost_at)
        self.screen.say(f"{took_all} after the loss")

    def compare(self) -> None:
        self.screen.step(
            "Is everything there?",
            "¿Está todo?",
        )

    def _run(self, dag: str, conf: dict[str, Any]) -> None:
        with self._airflow() as airflow:
            run_id = airflow.trigger(dag, {"reason": "demo", **conf})
            run = self._follow(airflow, dag, run_id, within=180, tasks=True)
        self.screen.say(f"{dag}: {took(run)}; the note of the run says:")
        self.screen.quote(run["note"] or "", limit=12)
