"""What is protected, where to, and for how long: one YAML file, checked when it is read.

`respaldo.example.yaml` documents every field. A file with mistakes is refused with all of them at
once, each with its line, what was found and what is allowed.
"""

from include.respaldo.config.loading import load_config, parse_config
from include.respaldo.config.schema import (
    Batches,
    Config,
    QueryLog,
    Redundancy,
    Restore,
    Retention,
    ServerConfig,
    SystemDatabase,
    Tenants,
    VaultLocation,
    Vaults,
)

__all__ = [
    "Batches",
    "Config",
    "QueryLog",
    "Redundancy",
    "Restore",
    "Retention",
    "ServerConfig",
    "SystemDatabase",
    "Tenants",
    "VaultLocation",
    "Vaults",
    "load_config",
    "parse_config",
]
