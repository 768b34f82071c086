"""The second part of the story: a file is overwritten, and then the whole web server is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
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
#: what somebody saves over an invoice
OVER = b"%PDF-1.4\n"
RESTORE, REBUILD = "restore_files", "rebuild_server"


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
            airflow.wait_for_dags(*dags, RESTORE, REBUILD, within=90)
            for dag in (*dags, RESTORE, REBUILD):
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
        write(self.host, place, OVER)
        self._run(RESTORE, {"source": "uploads", "paths": [LOST]})
        pattern = place.with_name(f"{place.stem}.restored_*.pdf").relative_to("/")
        found = sorted(self.host.root.glob(str(pattern)))
        self._check(
            f"{found[-1].name if found else 'nothing'} is the invoice, byte for byte",
            bool(found) and found[-1].read_bytes() == self.uploads[LOST],
        )
        self._check(
            "what stands under its own name was not touched", read(self.host, place) == OVER
        )

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
        self.screen.say(f"{SPARE}'s disk runs as {NAME} now")
        for source in ("erp", "uploads"):
            self._run(RESTORE, {"source": source, "paths": []})
        self.took = duration_text(time.monotonic() - self.lost_at)

    def compare(self) -> None:
        self.screen.step("Is everything there?", "¿Está todo?")
        host = self.host
        found = [
            name for name, content in self.uploads.items() if self._is(UPLOADS / name, content)
        ]
        self._check(
            f"{len(found)} of {len(self.uploads)} invoices are what they were",
            (len(found) == len(self.uploads)),
        )
        said = host.run(["su", "-s", "/bin/sh", "-c", f"{APPLICATION}/bin/erp", ACCOUNT]).stdout
        self._check(f"the application runs under its account: {said.strip()}", VERSION in said)
        enabled = host.run(["systemctl", "is-enabled", "erp.service"], check=False).stdout.strip()
        self._check(f"its service is {enabled}", enabled == "enabled")
        self._check("its cron job is there", read(host, Path("/etc/cron.d/erp")) is not None)
        self.screen.say(f"{self.took} after the loss; most of it is Airflow's")

    def _is(self, path: Path, content: bytes) -> bool:
        return read(self.host, path) == content

    def _run(self, dag: str, conf: dict[str, Any]) -> None:
        with self._airflow() as airflow:
            run_id = airflow.trigger(dag, {"reason": "demo", **conf})
            run = self._follow(airflow, dag, run_id, within=180, tasks=True)
        self.screen.say(f"{dag}: {took(run)}; the note of the run says:")
        self.screen.quote(run["note"] or "", limit=12)
