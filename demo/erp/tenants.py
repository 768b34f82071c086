"""The databases of the demo: some tenants, each with its owner, and the vendor's own.

AIRFLOW_CONN_RESPALDO_PG1=… python -m demo.erp.tenants --connection respaldo_pg1
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

from psycopg import sql

from demo.erp import words
from demo.erp.application import Session, enter
from demo.erp.seed import Size, seed
from include.respaldo.connections import Connection, from_environment

TENANTS = (
    "tenant_acme",
    "tenant_bodegas_ruiz",
    "tenant_café_del_mar",
    "tenant_ferretería gómez e hijos",
    'tenant_we"ird; drop--$(x)',
)
SYSTEM_DATABASE = "vendor_system"
_HERE = Path(__file__).parent


def create_tenant(connection: Connection, name: str, size: Size | None = None) -> bool:
    """Make a tenant's database and its owner, of the same name, unless it is there; fill it.

    :returns: whether it was made now.
    """
    if not _create_database(connection, name, "schema.sql"):
        return False
    with enter(connection, name) as session:
        seed(session, name, size or Size())
    return True


def create_system_database(connection: Connection, tenants: Sequence[str] = TENANTS) -> bool:
    """Make the vendor's own database unless it is there; return whether it was made now."""
    if not _create_database(connection, SYSTEM_DATABASE, "system.sql"):
        return False
    rng = random.Random(SYSTEM_DATABASE)
    with enter(connection, SYSTEM_DATABASE, role=SYSTEM_DATABASE) as session, session.transaction():
        for number in range(1, 41):
            session.execute(
                "INSERT INTO users (email, name) VALUES (%s, %s)",
                (f"user{number}@example.com", words.person(rng)),
            )
        for number in range(1, 41):
            for tenant in rng.sample(list(tenants), min(2, len(tenants))):
                session.execute(
                    "INSERT INTO accesses (user_id, tenant, role) VALUES (%s, %s, %s)",
                    (number, tenant, rng.choice(("owner", "manager", "clerk"))),
                )
            session.execute(
                "INSERT INTO sign_ins (user_id, address) VALUES (%s, %s)",
                (number, f"192.0.2.{number}"),
            )
        for tenant in tenants:
            for setting, value in (("currency", "EUR"), ("vat_rates", [4, 10, 21])):
                session.execute(
                    "INSERT INTO settings VALUES (%s, %s, %s)", (tenant, setting, json.dumps(value))
                )
    return True


def _create_database(connection: Connection, name: str, schema: str) -> bool:
    """Make a database with its owner and tables, unless its tables are there."""
    with enter(connection, "postgres") as session:
        identifier = sql.Identifier(name)
        if not _exists(session, "SELECT 1 FROM pg_roles WHERE rolname = %s", name):
            session.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(identifier))
        if not _exists(session, "SELECT 1 FROM pg_database WHERE datname = %s", name):
            session.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'").format(
                    identifier, identifier
                )
            )
            session.execute(
                sql.SQL("ALTER DATABASE {} SET timezone = 'Europe/Madrid'").format(identifier)
            )
    with enter(connection, name, role=name) as session:
        query = "SELECT 1 FROM pg_tables WHERE schemaname = %s LIMIT 1"
        if _exists(session, query, "public"):
            return False
        # The whole file is one query string, hence one transaction: all of it or nothing
        session.execute((_HERE / schema).read_bytes())
    return True


def _exists(session: Session, query: str, name: str) -> bool:
    return session.execute(query.encode(), (name,)).fetchone() is not None


def main() -> None:
    """Make what is missing, and say so."""
    parser = argparse.ArgumentParser(prog="python -m demo.erp.tenants", description=__doc__)
    parser.add_argument("--connection", default="respaldo_pg1", help="id, in AIRFLOW_CONN_<ID>")
    parser.add_argument(
        "--tenant", action="append", metavar="NAME", help="only this one; repeatable"
    )
    parser.add_argument("--megabytes", type=float, default=12.3, help="about, each, on disk")
    chosen = parser.parse_args()
    connection = from_environment(chosen.connection)
    names = chosen.tenant or TENANTS
    for name in names:
        made = create_tenant(connection, name, Size.of_megabytes(chosen.megabytes))
        print(f"{name}: {'created' if made else 'is there already'}", flush=True)
    if not chosen.tenant:
        made = create_system_database(connection)
        print(f"{SYSTEM_DATABASE}: {'created' if made else 'is there already'}", flush=True)


if __name__ == "__main__":
    main()
