"""On demand: a version of an application, beside the running one."""

from datetime import timedelta

from airflow.sdk import dag, get_current_context, task

from include.respaldo.config import load_config
from include.respaldo.orchestration.applications import restore_params, restore_request
from include.respaldo.orchestration.deployment import deployment
from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures

DOC = """
### Restore an application

*"The new release is broken; give us the one of before."* Brings a **version** of an ERP, a point of
sale, a shop, a site or a service back: the one that it announced (`1.4.2`), that of a day, or one
certain backup. It lands **beside the running one** (`/opt/erp.restored_1.4.2_20261121`), on this
machine or on its host, and **the running one goes on running**.

| step | what it does |
|---|---|
| `plan` | finds the backup, says which version and day, how large, where to; changes nothing |
| `restore` | brings it under a temporary name, compares every file with the list, then gives it its final name |
| `summarize` | what came back, and **how to switch to it**: also the note of this run |

What cannot be had is refused, with the versions and days that can. To let it take the place of the
running one is another, explicit step: **`switch_application`**.

---

### Restaurar una aplicación

*«La versión nueva no funciona.»* Recupera una **versión** de una aplicación: la que anunció
(`1.4.2`), la de un día, o una copia concreta. Queda **junto a la que está en uso**, que sigue
funcionando. `plan` no cambia nada; cada archivo se compara con la lista de la copia. Si no se puede
recuperar, se indican las versiones y los días disponibles. El informe termina con cómo ponerla en su
lugar: es otro paso, explícito, `switch_application`.
"""  # noqa: E501 - rows of a table

config = load_config()


@dag(
    dag_id="restore_application",
    dag_display_name="Restore an application",
    schedule=None,
    catchup=False,
    max_active_runs=16,
    params=restore_params(config),
    tags=["respaldo", "restore"],
    doc_md=DOC,
    default_args={
        "retries": 2,
        "retry_policy": RetryWhatCanHelp(),
        "execution_timeout": timedelta(hours=12),
    },
)
def restore_application():
    @task(multiple_outputs=False)
    def plan() -> dict:
        """Find the backup of that version or day; change nothing."""
        from include.respaldo.jobs.restore_application import plan, text_of

        context = get_current_context()
        opened = deployment()
        with telling_failures():
            planned = plan(opened, restore_request(opened, context["params"]))
        tell(text_of(planned), **context)
        return planned.to_json()

    @task(multiple_outputs=False)
    def restore(planned: dict) -> dict:
        """Bring it, compare it with the list, give it its final name beside the running one."""
        from include.respaldo.jobs.restore_application import restore, text_of
        from include.respaldo.model.tree_restore_plan import TreeRestorePlan

        wanted = TreeRestorePlan.from_json(planned)
        with telling_failures():
            restored = restore(deployment(), wanted)
        return {**restored.to_json(), "text": text_of(wanted, restored)}

    @task
    def summarize(restored: dict) -> str:
        """Say what came back, and how to switch to it, as the note of this run."""
        tell(restored["text"], **get_current_context())
        return restored["text"]

    summarize(restore(plan()))


restore_application()
