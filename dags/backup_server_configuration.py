"""Every day: what the Debian and Ubuntu hosts are, into both regions."""

from airflow.sdk import DAG

from include.respaldo.config import load_config
from include.respaldo.model.backup import Category
from include.respaldo.orchestration.backup_dag import backup_dag
from include.respaldo.orchestration.tree_choices import tree_choices

DOC = """
### Back up the configuration of the servers

Writes down what each **Debian or Ubuntu host** is (release, repositories and their keys, packages
with their versions, changed configuration files, /etc, users and groups, units and timers, cron,
mounts, firewall, network, certificates) and stores it each day, encrypted, in both regions.
`rebuild_server` makes a bare host the lost one from it.

| step | what it does |
|---|---|
| `discover` | one source for each configured host |
| `dump` | asks the host over SSH what it is, and writes a report of what changed since yesterday |
| `checksum` | lists every file of that with its digest |
| `upload` | stores a snapshot in the primary vault's repository, checks both, and seals it there |
| `copy` | copies what is new to the vault of the replica region, and seals it there |
| `report` | says what is sealed in both regions and what changed; fails if anything is not |
| `alarm` | fails if a change is suspicious |

The readable report is `changes.txt` in the backup. Clear the failed tasks to try again: only what
is missing is done.

---

### Copia de seguridad de la configuración de los servidores

Anota qué es cada **servidor Debian o Ubuntu** (versión, repositorios y sus claves, paquetes,
archivos de configuración modificados, /etc, usuarios y grupos, servicios, cron, montajes,
cortafuegos, red, certificados) y lo guarda cada día, cifrado, en las dos regiones, con un informe
de lo que cambió desde ayer. Con ello `rebuild_server` convierte un servidor vacío en el perdido.
"""

config = load_config()
dag: DAG = backup_dag(
    Category.SERVER_CONFIGURATION,
    config,
    dag_id="backup_server_configuration",
    title="Back up the configuration of servers",
    doc_md=DOC,
    choices=tree_choices(config, Category.SERVER_CONFIGURATION),
)
