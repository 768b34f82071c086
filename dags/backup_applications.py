"""Every day: the applications, each whole and with its version, into both regions."""

from airflow.sdk import DAG

from include.respaldo.config import load_config
from include.respaldo.model.backup import Category
from include.respaldo.orchestration.backup_dag import backup_dag
from include.respaldo.orchestration.tree_choices import tree_choices

DOC = """
### Back up the applications

Stores each **application** (program, point of sale, shop, site, service) whole, each day and in
both regions, with the **version** that it announces (a file, a command, or its git revision) and a
comparison with the backup before. The latest few of each are kept, whatever their age
(`retention.applications`). To back up one before an upgrade, trigger this DAG and name it.

| step | what it does |
|---|---|
| `discover` | packs what is configured into batches, by the size of the last backup |
| `dump` | brings a host's application here (only what changed), and asks it for its version |
| `checksum` | lists every file with its digest, and compares with the list of the backup before |
| `upload` | stores a snapshot in the primary vault's repository, checks both, and seals it there |
| `copy` | copies what is new to the vault of the replica region, and seals it there |
| `report` | says what is sealed in both regions, version and changes; fails if anything is not |
| `alarm` | fails if a change is suspicious |

An upgrade may well look suspicious: look, and say so (`acknowledge_backup`). An application that
does not say its version is backed up all the same, and `report` says why. Clear the failed tasks to
try again: only what is missing is done.

---

### Copia de seguridad de las aplicaciones

Guarda cada día en las dos regiones cada **aplicación** completa (programa, TPV, tienda, sitio,
servicio), con la **versión** que anuncia y una comparación con la copia anterior. Se conservan las
últimas de cada una, sea cual sea su antigüedad. Para copiar una antes de actualizarla, lance este
DAG e indique su nombre. `alarm` falla si el cambio es sospechoso; una actualización puede serlo:
revísela y confírmelo (`acknowledge_backup`).
"""

config = load_config()
dag: DAG = backup_dag(
    Category.APPLICATIONS,
    config,
    dag_id="backup_applications",
    title="Back up applications",
    doc_md=DOC,
    choices=tree_choices(config, Category.APPLICATIONS),
)
