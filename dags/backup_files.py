"""Every day: the users' files, into both regions."""

from airflow.sdk import DAG

from include.respaldo.config import load_config
from include.respaldo.model.backup import Category
from include.respaldo.orchestration.backup_dag import backup_dag
from include.respaldo.orchestration.tree_choices import tree_choices

DOC = """
### Back up the users' files

Stores the **users' files** (uploads, documents, images) each day in both regions: paths of this
machine, of hosts over SSH, or prefixes of buckets, as the configuration names them (`files`). After
the first day only what changed travels and is stored. To back up a few now, trigger this DAG and
name them.

| step | what it does |
|---|---|
| `discover` | packs what is configured into batches, by the size of the last backup |
| `dump` | brings the files of a host or bucket here (only what changed); a local path stays |
| `checksum` | lists every file with its digest, and compares with the list of the backup before |
| `upload` | stores a snapshot in the primary vault's repository, checks both, and seals it there |
| `copy` | copies what is new to the vault of the replica region, and seals it there |
| `report` | says what is sealed in both regions and what changed; fails if anything is not |
| `alarm` | fails if a change is **suspicious** |

A backup of which some files could not be read is **partial**, and `report` names them. It is
**suspicious** if far more files than usual vanished, changed, or became incompressible (as
encrypted ones are); it is kept, too, and until somebody has looked at it (`acknowledge_backup`)
nothing older is removed. Clear the failed tasks to try again: only what is missing is done.

---

### Copia de seguridad de los archivos de los usuarios

Guarda cada día en las dos regiones los **archivos de los usuarios** (subidas, documentos,
imágenes): rutas de esta máquina, de servidores por SSH o prefijos de *buckets*. Después del primer
día solo viaja y se guarda lo que cambió. Si algún archivo no se pudo leer, la copia es **parcial**
y `report` lo nombra. Si el cambio es **sospechoso** (desaparecen, cambian o quedan cifrados muchos
más archivos de lo normal), la copia se guarda igualmente, `alarm` falla y no se borra nada anterior
hasta que alguien lo revise (`acknowledge_backup`). Para repetir, limpie (*clear*) las tareas
fallidas.
"""

config = load_config()
dag: DAG = backup_dag(
    Category.FILES,
    config,
    dag_id="backup_files",
    title="Back up files",
    doc_md=DOC,
    choices=tree_choices(config, Category.FILES),
)
