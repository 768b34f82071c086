"""An Airflow home and a configuration for the DAG files, both temporary."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_HOME = tempfile.TemporaryDirectory(prefix="respaldo-airflow-home-")

# Airflow reads its settings when it is first imported
os.environ |= {
    "AIRFLOW_HOME": _HOME.name,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME.name}/airflow.db",
}

CONFIGURATION = """
vaults:
  primary: {{uri: "s3://primary/respaldo", connection: vault_primary}}
  replica: {{uri: "s3://replica/respaldo", connection: vault_replica}}
landing_zone: {landing}
time_zone: Europe/Madrid
schedule: "0 2 * * *"
servers:
  - {{name: pg1, connection: pg1, tenants: {{pattern: "tenant_*"}}}}
  - {{name: pg2, connection: pg2, tenants: {{pattern: "tenant_*"}}}}
system_database: {{server: pg1, name: vendor_system}}
"""


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of two servers that nobody answers for."""
    file = tmp_path / "respaldo.yaml"
    file.write_text(CONFIGURATION.format(landing=(tmp_path / "landing").as_uri()))
    monkeypatch.setenv("RESPALDO_CONFIG", str(file))
    return file
