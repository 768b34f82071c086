"""Every day, after retention: compare the two regions object by object; heal the lagging one."""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from include.respaldo.config import load_config
from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures

DOC = """
### Geo-redundancy check

Compares **both regions** object by object (listings, sizes, the stores' own checksums and the
digests that keys and manifests promise; nothing is downloaded where these agree) and heals the one
that lags, in either direction: what is missing is copied, what is damaged is replaced by the other
region's copy once that was read and proven. Data comes before what speaks of it, so no region ever
lists as whole what is not.

The run **fails** when something could not be healed, and names it: no region has a whole copy,
nothing says which of two copies is right, or a region does not answer. What retention has removed,
and what was written in the last hour (`redundancy.settle`), is no fault.

With **dry run** nothing is changed; the task's log says what would be. It can be repeated or killed
at any time.

---

### Comprobación de la redundancia geográfica

Compara **las dos regiones** objeto por objeto (listados, tamaños y sumas de verificación, sin
descargar nada) y repara la que va atrasada, en cualquiera de los dos sentidos: copia lo que falta y
sustituye lo dañado, después de leer y comprobar la copia de la otra región. La ejecución **falla**
cuando algo no se pudo reparar, y dice qué y por qué. Con **dry run** (simulación) no cambia nada.
"""

config = load_config()


@dag(
    dag_id="geo_redundancy_check",
    dag_display_name="Geo-redundancy check",
    schedule=CronTriggerTimetable(config.redundancy.schedule, timezone=config.time_zone),
    catchup=False,
    max_active_runs=1,
    params={
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run / Simulación",
            description="Only say what would be healed. / Solo decir qué se repararía.",
        ),
    },
    tags=["respaldo", "redundancy"],
    doc_md=DOC,
    default_args={
        "retries": 2,
        "retry_policy": RetryWhatCanHelp(),
        "execution_timeout": timedelta(hours=23),
    },
)
def geo_redundancy_check():
    @task
    def compare_and_heal() -> str:
        """Compare both vaults, heal what can be healed, and fail if anything could not be."""
        from include.respaldo.jobs.check_redundancy import check_redundancy
        from include.respaldo.orchestration.deployment import deployment

        context = get_current_context()
        with telling_failures():
            report = check_redundancy(deployment(), dry_run=bool(context["params"]["dry_run"]))
        tell(report.text, **context)
        report.raise_for_failures()
        return report.headline

    compare_and_heal()


geo_redundancy_check()
