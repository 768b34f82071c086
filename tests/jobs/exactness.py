"""Whether a restore to now equals the live database: the smallest oracle there is.

The live database is copied file by file, Respaldo's own objects are taken out of the copy, and the
copy is compared with what was restored to the moment of the copy: schema, rows, sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import sql

from include.respaldo.jobs.archive_query_log import ArchiveMode, archive
from include.respaldo.jobs.plan_restore import RestoreRequest, plan
from include.respaldo.jobs.restore_database import replay, restore, verify
from include.respaldo.model.target import TargetTime
from tests.jobs.site import Site
from tests.oracle.workload.comparison import database_differences, undo_preparation


def empty_tenant(site: Site, suffix: str = "acme", options: str = "") -> str:
    """Make a tenant's database with nothing in it."""
    name = f"{site.name}_{suffix}"
    site.postgres.execute(f"create database {name} {options}")
    site.databases.append(name)
    return name


def run(site: Site, tenant: str, *statements: str) -> None:
    """Run each as a client's string of its own."""
    with site.postgres.connect(tenant, client_encoding="utf8") as conn:
        for statement in statements:
            cursor = conn.execute(statement)  # type: ignore[arg-type]
            while cursor.nextset():
                pass


def differences(site: Site, tenant: str, before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Run statements before and after the first full backup; restore to their end.

    :return: how the restored database differs from the live one.
    :raises RestoreRefused: it cannot be had, or not exactly.
    """
    return differences_of(
        site, tenant, lambda: run(site, tenant, *before), lambda: run(site, tenant, *after)
    )


def differences_of(
    site: Site, tenant: str, before: Callable[[], None], after: Callable[[], None]
) -> list[str]:
    """Do the same with whatever is done before and after the first full backup."""
    deployment = site.deployment()
    before()
    archive(deployment, site.name, mode=ArchiveMode.ONCE)
    after()
    at = site.now()
    # names that no rule of the site takes for a tenant's
    copy, restored = f"copy_of_{tenant}", f"restored_{tenant}"
    site.databases += [copy, restored]
    _copy(site, tenant, copy)
    run(site, tenant, "create schema past_the_target")
    archive(deployment, site.name, mode=ArchiveMode.ONCE)
    planned = plan(
        deployment,
        RestoreRequest(site.source(tenant), TargetTime(at), restored, site.name),
    )
    restore(deployment, planned)
    replay(deployment, planned)
    verify(deployment, planned)
    return database_differences(site.postgres, copy, site.postgres, restored, tenant)


def _copy(site: Site, tenant: str, copy: str) -> None:
    """Copy the database, and take out of the copy what Respaldo put there."""
    identifiers = sql.Identifier(copy), sql.Identifier(tenant)
    with site.postgres.connect() as conn:
        conn.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s",
            [tenant],
        )
        conn.execute(sql.SQL("create database {} template {}").format(*identifiers))
    with site.postgres.connect(copy) as conn:
        undo_preparation(conn)
        conn.execute("set session_replication_role to replica")
        for schema, name in conn.execute(
            "select n.nspname, c.relname from pg_class c join pg_namespace n"
            " on n.oid = c.relnamespace where c.relkind = 'r' and c.relpersistence = 'u'"
        ).fetchall():  # as after a physical recovery
            conn.execute(sql.SQL("delete from only {}").format(sql.Identifier(schema, name)))
