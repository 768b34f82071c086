"""On demand: one tenant, beside the live one, as it was at any moment."""

from datetime import timedelta

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from include.respaldo.config import load_config
from include.respaldo.orchestration.deployment import deployment
from include.respaldo.orchestration.restore_request import (
    clear_away,
    hand_over,
    request_from,
    restore_params,
    take_over,
)
from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures
from include.respaldo.orchestration.tenant_choices import read_choices

DOC = """
### Restore a tenant database

*"An order was deleted at 11:30; give this customer 11:29."* Makes a **new database beside the live
one**, exactly as it was at the moment you choose. The live database is never touched, nor are other
tenants.

| step | what it does |
|---|---|
| `plan` | finds the full backup and the log that lead to the moment, or refuses and names the nearest moments that can be had |
| `restore` | loads the full backup under a temporary name |
| `replay` | applies every change up to the moment, and none after it |
| `verify` | compares the row counts of every table, then gives the database its final name |
| `summarize` | what was reached, how long it took, how to connect: also the note of this run |
| `discard` | only after a failure: removes the unfinished database |

If the primary region does not answer, the replica is used, and the summary says so.

---

### Restaurar la base de datos de un cliente

*«Se borró un pedido a las 11:30; devuélvanos las 11:29.»* Crea una **base de datos nueva junto a la que
está en uso**, exactamente como estaba en el momento elegido. La base en uso y los demás clientes no
se tocan. Si el momento no se puede recuperar con exactitud, `plan` lo rechaza e indica los más
cercanos. Si algo falla, no queda nada a medias (`discard`). El resumen queda como nota de la
ejecución: qué se alcanzó, cuánto tardó y cómo conectarse.
"""  # noqa: E501 - rows of a table

config = load_config()


@dag(
    dag_display_name="Restore a tenant database",
    schedule=None,
    max_active_runs=16,
    params=restore_params(config, read_choices(config)),
    tags=["respaldo", "restore"],
    doc_md=DOC,
    default_args={
        "retries": 2,
        "retry_policy": RetryWhatCanHelp(),
        "execution_timeout": timedelta(hours=12),
    },
)
def restore_tenant_database():
    @task(multiple_outputs=False)
    def plan() -> dict:
        """Find the way to the moment; change nothing."""
        from include.respaldo.jobs.plan_restore import plan

        context = get_current_context()
        opened = deployment()
        with telling_failures():
            planned = plan(opened, request_from(opened, context["params"]))
        tell(planned.text, **context)
        return hand_over(opened, planned, context["run_id"])

    @task
    def restore(handed: dict) -> str:
        """Load the full backup under a temporary name."""
        from include.respaldo.jobs.restore_database import restore

        opened = deployment()
        with telling_failures():
            return restore(opened, take_over(opened, handed))

    @task
    def replay(handed: dict) -> str:
        """Apply every change up to the moment, and none after it."""
        from include.respaldo.jobs.restore_database import replay

        opened = deployment()
        with telling_failures():
            return replay(opened, take_over(opened, handed))

    @task(multiple_outputs=False)
    def verify(handed: dict) -> dict:
        """Compare row counts, then give the database its final name."""
        from include.respaldo.jobs.restore_database import verify

        opened = deployment()
        with telling_failures():
            summary = verify(opened, take_over(opened, handed))
        return {**summary.to_json(), "text": summary.text}

    @task
    def summarize(handed: dict, summary: dict) -> str:
        """Say what was reached, as the note of this run."""
        tell(summary["text"], **get_current_context())
        clear_away(deployment(), handed)
        return summary["text"]

    @task(trigger_rule="one_failed")
    def discard(handed: dict | None = None) -> str:
        """Remove what a failed restore has left."""
        from include.respaldo.jobs.restore_database import discard

        if handed is None:
            raise AirflowSkipException("nothing was begun")
        opened = deployment()
        planned = take_over(opened, handed)
        discard(opened, planned)
        clear_away(opened, handed)
        return f"nothing is left of {planned.request.new_name}"

    handed = plan()
    restored, replayed, verified = restore(handed), replay(handed), verify(handed)
    restored >> replayed >> verified
    [restored, replayed, verified] >> discard(handed)
    summarize(handed, verified)


restore_tenant_database()
