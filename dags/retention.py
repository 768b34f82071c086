"""Every day, after the backups: remove from both vaults what is no longer kept."""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from include.respaldo.config import load_config
from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures
from include.respaldo.orchestration.tenant_choices import read_choices

DOC = """
### Retention

Removes from **both regions** the backups and the parts of the query log that the configuration
(`retention`) no longer keeps: of databases, files and server configuration so many days, weeks and
months; of each application the latest few, whatever their age. To see what would go and why,
without removing anything, trigger it with **dry run**: the task's log lists every backup with its
reason.

Never removed: the newest backup of a source; anything that a moment of the recovery window
(`query_log_days`) needs; anything from before a **suspicious** backup that nobody has looked at
(*Acknowledge a suspicious backup*); anything at all of a source whose backups could not all be
read, or whose newest one is not whole in both regions. The window of a tenant that is no longer
backed up stands still: its last days stay.

In the same run the repositories of files forget what is gone and are pruned: the primary's first,
and the replica's once the primary's was checked. One that a backup is writing to just now is left
for the next day, and the report says so.

If the replica region is down, what goes there goes the next day. The run can be repeated or killed
at any time: nothing half removed is ever listed as a backup.

---

### Retención

Borra en **ambas regiones** las copias y las partes del registro de cambios que la configuración
(`retention`) ya no guarda. Con **dry run** (simulación) no borra nada: el registro de la tarea dice
qué se borraría y por qué. Nunca se borra la copia más reciente de un origen, nada que haga falta
para algún momento de la ventana de recuperación, ni nada anterior a una copia **sospechosa** que
nadie ha mirado todavía.
"""

config = load_config()
choices = read_choices(config)


@dag(
    dag_id="retention",
    dag_display_name="Retention",
    schedule=CronTriggerTimetable(config.retention.schedule, timezone=config.time_zone),
    catchup=False,
    max_active_runs=1,
    params={
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run / Simulación",
            description="Only say what would go, and why. / Solo decir qué se borraría y por qué.",
        ),
        "only": Param(
            [],
            type="array",
            items={"type": "string", "minLength": 1},
            uniqueItems=True,
            **({"examples": choices} if choices else {}),
            title="Only these / Solo estos",
            description="Names of databases, applications or files; none means everything. / "
            "Nombres de bases de datos, aplicaciones o archivos; ninguno significa todo.",
        ),
    },
    tags=["respaldo", "retention"],
    doc_md=DOC,
    default_args={
        "retries": 2,
        "retry_policy": RetryWhatCanHelp(),
        "execution_timeout": timedelta(hours=12),
    },
)
def retention():
    @task
    def retain() -> str:
        """Decide what is kept, remove the rest in both regions, and say what went."""
        from include.respaldo.jobs.retain import retain
        from include.respaldo.orchestration.deployment import deployment

        context = get_current_context()
        params = context["params"]
        with telling_failures():
            report = retain(
                deployment(), tuple(params.get("only") or ()), dry_run=bool(params["dry_run"])
            )
        tell(report.text, **context)
        return report.headline

    retain()


retention()
