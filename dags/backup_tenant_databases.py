"""Every day: each tenant's database, into both regions."""

from airflow.sdk import DAG

from include.respaldo.config import load_config
from include.respaldo.model.backup import Category
from include.respaldo.orchestration.backup_dag import backup_dag
from include.respaldo.orchestration.tenant_choices import read_choices

DOC = """
### Back up the tenant databases

Takes a full backup of **every tenant database** on every configured server, each day, and stores it
in both regions. New tenants are found by themselves. To back up a few tenants now, trigger this DAG
and name them.

| step | what it does |
|---|---|
| `discover` | asks each server for its tenants and packs them into batches by size |
| `dump` | `pg_dump` on one consistent snapshot, into the landing zone |
| `checksum` | reads the dump back: is it whole, can it be understood? |
| `upload` | stores it in the vault of the primary region and seals it with its manifest |
| `copy` | copies it to the vault of the replica region and seals it there |
| `report` | says what is sealed in both regions, and fails if anything is not |

One broken tenant fails alone: the others of its batch go on, and `report` names it with the reason.
Clear the failed tasks to try again: only what is missing is done.

---

### Copia de seguridad de las bases de datos de los clientes

Hace cada día una copia completa de **todas las bases de datos de clientes** y la guarda en las dos
regiones. Los clientes nuevos se descubren solos. Para copiar ahora solo algunos, lance este DAG e
indique sus nombres. Si un cliente falla, falla solo: los demás continúan y `report` lo nombra con
el motivo. Para repetir, limpie (*clear*) las tareas fallidas: solo se hace lo que falta.
"""

config = load_config()
dag: DAG = backup_dag(
    Category.TENANT_DATABASES,
    config,
    dag_id="backup_tenant_databases",
    title="Back up tenant databases",
    doc_md=DOC,
    choices=read_choices(config),
)
