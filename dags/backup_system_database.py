"""Every day: the vendor's own database, into both regions."""

from airflow.sdk import DAG

from include.respaldo.config import load_config
from include.respaldo.model.backup import Category
from include.respaldo.orchestration.backup_dag import backup_dag

DOC = """
### Back up the system database

Takes a full backup of the vendor's **own database** each day and stores it in both regions, with
the same steps as the tenants': `dump` (one consistent snapshot, into the landing zone) →
`checksum` (is it whole, can it be understood?) → `upload` (vault of the primary region) → `copy`
(vault of the replica region). `report` fails if it is not sealed in both.

---

### Copia de seguridad de la base de datos del sistema

Hace cada día una copia completa de la **base de datos propia** del proveedor y la guarda en las dos
regiones, con los mismos pasos que las de los clientes. `report` falla si no está en ambas.
"""

config = load_config()
if config.system_database is not None:
    dag: DAG = backup_dag(
        Category.SYSTEM_DATABASE,
        config,
        dag_id="backup_system_database",
        title="Back up the system database",
        doc_md=DOC,
    )
