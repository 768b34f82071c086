"""Every day, after the backups: remove from both vaults what is no longer kept."""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from include.respaldo.config import load_config
from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures
from include.respaldo.orchestration.tenant_choices import read_choices

DOC = """
### Retention

Removes from **both regions** the full backups and the parts of the query log that the configuration
(`retention`) no longer keeps. To see what would go and why, without removing anything, trigger it
with **dry run**: the task's log lists every backup with its reason.

Never removed: the newest backup of a tenant; anything that a moment of the recovery window
(`query_log_days`) needs; anything at all of a tenant whose backups could not all be read, or whose
newest one is not whole in both regions. The window of a tenant that is no longer backed up stands
still: its last days stay.

If the replica region is down, what goes there goes the next day. The run can be repeated or killed
at any time: nothing half removed is ever listed as a backup.

---

### Retención

Borra en **ambas regiones** las copias completas y las partes del registro de cambios que la
configuración (`retention`) ya no guarda. Con **dry run** (simulación) no borra nada: el registro de
la tarea dice qué se borraría y por qué. Nunca se borra la copia más reciente de un cliente ni nada
que haga falta para algún momento de la ventana de recuperación.
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
            title="Only these tenants / Solo estos clientes",
            description="Names of databases; none means everything. / "
            "Nombres de bases de datos; ninguno significa todo.",
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
