"""On demand: say that a person has looked at a suspicious backup."""

from airflow.sdk import Param, dag, get_current_context, task

from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures

DOC = """
### Acknowledge a suspicious backup

A backup of files, of an application or of a server's configuration is **suspicious** when an
unusual share of its files changed, vanished or became incompressible (as encrypted files are). It
is kept and marked, the report of its DAG names it, `check` does until somebody has looked, and till
then **retention removes nothing of that source from before it**.

Look at what changed first; if the files were damaged, restore them from a backup before the
suspicious one. Then fill in who you are and what you found: it is stored in both regions, beside
the backup, and retention goes on. It cannot be taken back.

---

### Confirmar una copia sospechosa

Una copia es **sospechosa** cuando cambió, desapareció o se volvió incompresible (como los archivos
cifrados) una parte inusual de sus archivos. Se guarda y se marca, y **no se borra nada anterior a
ella** hasta que alguien lo haya mirado. Mire primero qué cambió; después indique quién es y qué
encontró. No se puede deshacer.
"""


@dag(
    dag_id="acknowledge_backup",
    dag_display_name="Acknowledge a suspicious backup",
    schedule=None,
    catchup=False,
    params={
        "source": Param(
            type="string",
            minLength=1,
            title="Source / Origen",
            description="Name, server/name or category/server/name. / "
            "Nombre, servidor/nombre o categoría/servidor/nombre.",
        ),
        "backup_id": Param(
            type="string",
            pattern=r"^\d{8}T\d{6}\.\d{6}Z$",
            title="Backup / Copia",
            description="Its id, as the report shows it: 20261122T020000.000000Z. / "
            "Su identificador, como lo muestra el informe.",
        ),
        "by": Param(
            type="string",
            minLength=1,
            title="Who has looked / Quién lo ha mirado",
            description="Your name. / Su nombre.",
        ),
        "note": Param(
            "",
            type="string",
            title="What was found / Qué se encontró",
            description="Kept with the backup. / Se guarda con la copia.",
        ),
    },
    tags=["respaldo", "retention"],
    doc_md=DOC,
    default_args={"retries": 2, "retry_policy": RetryWhatCanHelp()},
)
def acknowledge_backup():
    @task
    def acknowledge() -> str:
        """Store in both regions who has looked at it."""
        from include.respaldo.jobs.acknowledge import acknowledge, tree_source
        from include.respaldo.orchestration.deployment import deployment

        context = get_current_context()
        params = context["params"]
        with telling_failures():
            here = deployment()
            source = tree_source(here.vaults, params["source"])
            done = acknowledge(
                here, source, params["backup_id"], by=params["by"], note=params["note"]
            )
        tell(done.text, **context)
        return done.text

    acknowledge()


acknowledge_backup()
