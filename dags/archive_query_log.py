"""Always: every committed change of every database, into both regions."""

from datetime import datetime, timedelta

from airflow.sdk import dag, task

from include.respaldo.config import load_config
from include.respaldo.orchestration.archive_sensor import WaitForChanges

DOC = """
### Archive the query log

Archives **every committed change** of every database, so that a tenant can be restored to any
moment, not just to last night. It runs all the time, one run after the other.

| step | what it does |
|---|---|
| `wait_for_changes` | waits, without holding a worker, until rows are written somewhere |
| `archive` | one task a server: drains its databases until nothing happens any more |

New databases are prepared (publication, replication slot) and get a full backup at once. A change
counts as archived when it is in both regions; only then may PostgreSQL drop its own log. If the
replica region is down, archiving goes on with the primary and catches up later.

**Do not leave this DAG paused**: PostgreSQL keeps its log for it (up to `max_slot_wal_keep_size`),
and past that the recovery window has a gap.

---

### Archivo del registro de cambios

Archiva **cada cambio confirmado** de cada base de datos, para poder devolver un cliente a cualquier
momento. Funciona siempre, una ejecución tras otra. **No lo deje en pausa**: PostgreSQL guarda su
registro para él, y pasado el límite la ventana de recuperación tiene un hueco.
"""

config = load_config()


@dag(
    dag_display_name="Archive the query log",
    schedule="@continuous",
    start_date=datetime(2026, 1, 1, tzinfo=config.zone),
    catchup=False,
    max_active_runs=1,
    tags=["respaldo", "query log"],
    doc_md=DOC,
    default_args={
        # The next run starts a second after this one: whatever is wrong, wait before trying again.
        "retries": 3,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(seconds=15),  # the other databases of a server wait, too
    },
)
def archive_query_log():
    @task(map_index_template="{{ task.op_kwargs['server'] }}")
    def archive(server: str) -> str:
        """Drain all databases of the server, until nothing happens any more."""
        from include.respaldo.jobs.archive_query_log import ArchiveMode, archive
        from include.respaldo.orchestration.deployment import deployment
        from include.respaldo.orchestration.tenant_choices import refresh_choices

        opened = deployment()
        refresh_choices(opened)
        return archive(opened, server, mode=ArchiveMode.UNTIL_IDLE).text

    archive.expand(server=WaitForChanges(task_id="wait_for_changes").output)


archive_query_log()
