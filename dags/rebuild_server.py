"""On demand: a bare host becomes the lost one, or one more like it."""

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

from include.respaldo.config import load_config
from include.respaldo.orchestration.deployment import deployment
from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures

DOC = """
### Rebuild a server

A **bare Debian or Ubuntu host** that can be reached over SSH becomes the lost one, or one more like
it with another name: repositories and their keys, packages, users and groups, files of /etc, cron,
kernel settings, units and timers. Then it says **what differs, and why**.

The target is a host of the configuration (`hosts`), of the same release as the lost one, entered as
root. What is its own stays: network, disks (fstab is shown), machine-id, and its own access over
SSH, so that nobody is locked out. Accounts whose ids are taken there are refused by name.

| step | what it does |
|---|---|
| `plan` | finds the backup of that day, looks at the target, says what would be done; changes nothing |
| `rebuild` | does it, part by part; cut off, it goes on where it was |
| `compare` | looks at the target again: in what it differs from the lost host, and why |
| `summarize` | all of it as the note of this run |

Run again, it finds nothing to do. A target that is alive and backed up itself is refused, unless its
name is written a second time. Applications, users' files and databases have restores of their own.

---

### Reconstruir un servidor

Un **servidor Debian o Ubuntu recién instalado**, accesible por SSH, se convierte en el perdido, o en
otro igual con otro nombre: repositorios y claves, paquetes, usuarios y grupos, archivos de /etc,
cron, parámetros del núcleo, unidades y temporizadores. Al final dice **en qué difiere y por qué**.
La red, los discos, el machine-id y el propio acceso por SSH del destino no se tocan. `plan` no cambia
nada; repetirlo no cambia nada más; si se corta, sigue donde estaba. Un destino en uso y con copias
propias se rechaza, salvo que se escriba su nombre otra vez.
"""  # noqa: E501 - rows of a table

config = load_config()
KEPT = [source.host for source in config.server_configuration]
HOSTS = [host.name for host in config.hosts]


@dag(
    dag_id="rebuild_server",
    dag_display_name="Rebuild a server",
    schedule=None,
    catchup=False,
    params={
        "host": Param(
            type="string",
            **({"enum": KEPT} if KEPT else {"minLength": 1}),
            title="Lost host / Servidor perdido",
            description="Whose configuration is brought back. / Cuya configuración se recupera.",
        ),
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="As of which day / De qué día",
            description=f"The last backup of that day or before ({config.time_zone}). Empty: the "
            "newest. / La última copia de ese día o anterior. Vacío: la más reciente.",
        ),
        "target": Param(
            type="string",
            **({"enum": HOSTS} if HOSTS else {"minLength": 1}),
            title="Target / Destino",
            description="The bare host, by its name in the configuration (hosts); its connection "
            "says where it is. / El servidor vacío, con su nombre en la configuración.",
        ),
        "new_name": Param(
            None,
            type=["null", "string"],
            maxLength=64,
            title="New name / Nombre nuevo",
            description="One more like it, with this host name. Empty: it takes the lost one's "
            "place. / Otro igual, con este nombre. Vacío: ocupa el lugar del perdido.",
        ),
        "confirm": Param(
            None,
            type=["null", "string"],
            title="Target alive: its name again / Destino en uso: su nombre otra vez",
            description="Only where the target is in use and is to be changed nevertheless. / "
            "Solo si el destino está en uso y aun así debe cambiarse.",
        ),
        "reason": Param(
            type="string",
            minLength=3,
            maxLength=500,
            title="Reason or ticket / Motivo o incidencia",
            description="Kept with the run. / Queda en la ejecución.",
        ),
    },
    tags=["respaldo", "restore"],
    doc_md=DOC,
    default_args={
        "retries": 2,
        "retry_policy": RetryWhatCanHelp(),
        "execution_timeout": timedelta(hours=6),
    },
)
def rebuild_server():
    @task(multiple_outputs=False)
    def plan() -> dict:
        """Choose the backup, look at the target; change nothing."""
        from include.respaldo.jobs.rebuild_report import RebuildRequest
        from include.respaldo.jobs.rebuild_server import plan
        from include.respaldo.jobs.stored_trees import end_of_day

        context = get_current_context()
        params = context["params"]
        with telling_failures():
            opened = deployment()
            planned = plan(
                opened,
                RebuildRequest(
                    host=params["host"],
                    target=params["target"],
                    before=end_of_day(opened, params.get("day")),
                    new_name=(params.get("new_name") or "").strip(),
                    reason=params["reason"].strip(),
                    confirmed=(params.get("confirm") or "").strip(),
                ),
            )
        tell(planned.text, **context)
        return planned.request.to_json()

    @task(multiple_outputs=False)
    def rebuild(request: dict) -> dict:
        """Make the target what the lost host was, part by part."""
        from include.respaldo.jobs.rebuild_report import RebuildRequest
        from include.respaldo.jobs.rebuild_server import rebuild

        with telling_failures():
            return rebuild(deployment(), RebuildRequest(**request)).to_json()

    @task(multiple_outputs=False)
    def compare(request: dict, done: dict) -> dict:
        """Look at the target again; say in what it differs, and why."""
        from include.respaldo.jobs.rebuild_report import RebuildRequest, Rebuilt, text_of
        from include.respaldo.jobs.rebuild_server import compare

        asked = RebuildRequest(**request)
        with telling_failures():
            report = compare(deployment(), asked)
        return {**report.to_json(), "text": text_of(Rebuilt.from_json(asked, done), report)}

    @task
    def summarize(report: dict) -> str:
        """Say what was done and what differs, as the note of this run."""
        from include.respaldo.errors import RestoreFailed

        tell(report["text"], **get_current_context())
        if not report["is_complete"]:
            raise RestoreFailed(
                f"{report['target']} is not yet what the lost host was",
                hint="the note of this run says what is missing; run it again once that is solved",
            )
        return report["text"]

    request = plan()
    done = rebuild(request)
    summarize(compare(request, done))


rebuild_server()
