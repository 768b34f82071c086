"""On demand: a file, a folder or everything of a source, as of a day."""

from datetime import timedelta

from airflow.sdk import dag, get_current_context, task

from include.respaldo.config import load_config
from include.respaldo.orchestration.deployment import deployment
from include.respaldo.orchestration.restore_trees import files_params, files_request
from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures

DOC = """
### Restore files

*"Yesterday's invoice is gone; give it back."* Brings **one file, a folder, everything, or what fits
a pattern** (`*.pdf`) back, as of a day. It comes **beside the original** (`invoice.pdf` becomes
`invoice.restored_20261122.pdf`) on this machine, on its host or in its bucket; or into a folder of
the worker. Nothing is ever overwritten.

| step | what it does |
|---|---|
| `plan` | finds the backup of that day and the files in it; says how many, how large, where to; changes nothing |
| `restore` | brings them under a temporary name, compares every file with the list (content, mode, owner, times, links), then gives them their final names |
| `summarize` | what came back, and where: also the note of this run |

Whatever cannot be had is refused with the next step: the days there are, the paths that may be
meant, how much space is missing. If the primary region does not answer or its repository is
damaged, the replica is used, and the summary says so. Run again, a restore goes on.

---

### Restaurar archivos

*«Falta la factura de ayer.»* Recupera **un archivo, una carpeta, todo, o lo que cumpla un patrón**
(`*.pdf`), tal como estaba un día. Queda **junto al original** (`invoice.restored_20261122.pdf`), en
esta máquina, en su servidor o en su bucket; o en una carpeta del worker. Nunca se sobrescribe nada.
`plan` no cambia nada; cada archivo se compara con la lista de la copia antes de recibir su nombre
definitivo. Si algo no se puede recuperar, se indica el siguiente paso. El resumen queda como nota de
la ejecución.
"""  # noqa: E501 - rows of a table

config = load_config()


@dag(
    dag_id="restore_files",
    dag_display_name="Restore files",
    schedule=None,
    catchup=False,
    max_active_runs=16,
    params=files_params(config),
    tags=["respaldo", "restore"],
    doc_md=DOC,
    default_args={
        "retries": 2,
        "retry_policy": RetryWhatCanHelp(),
        "execution_timeout": timedelta(hours=12),
    },
)
def restore_files():
    @task(multiple_outputs=False)
    def plan() -> dict:
        """Find the backup and the files; change nothing."""
        from include.respaldo.jobs.restore_files import plan

        context = get_current_context()
        opened = deployment()
        with telling_failures():
            planned = plan(opened, files_request(opened, context["params"]))
        tell(planned.text, **context)
        return planned.to_json()

    @task(multiple_outputs=False)
    def restore(planned: dict) -> dict:
        """Bring the files, compare them with the list, give them their final names."""
        from include.respaldo.jobs.restore_files import restore
        from include.respaldo.model.tree_restore_plan import TreeRestorePlan

        with telling_failures():
            restored = restore(deployment(), TreeRestorePlan.from_json(planned))
        return {**restored.to_json(), "text": restored.text}

    @task
    def summarize(restored: dict) -> str:
        """Say what came back and where, as the note of this run."""
        tell(restored["text"], **get_current_context())
        return restored["text"]

    summarize(restore(plan()))


restore_files()
