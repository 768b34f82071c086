"""Commands about the two regions, and about what people must look at."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from include.respaldo.cli.screen import show
from include.respaldo.jobs.acknowledge import acknowledge, tree_source
from include.respaldo.jobs.check_redundancy import check_redundancy
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.model.moments import iso

#: name, text -> the parser of a new command
Command = Callable[[str, str], ArgumentParser]


def add_commands(command: Command) -> None:
    """Add the parsers of these commands."""
    redundancy = command(
        "check-redundancy", "compare the two vaults object by object and heal the one that lags"
    )
    redundancy.add_argument("--dry-run", action="store_true", help="only say what would be healed")
    looked = command(
        "acknowledge", "say that somebody has looked at a suspicious backup: retention goes on"
    )
    looked.add_argument("source", help="name, server/name or category/server/name")
    looked.add_argument("backup_id", metavar="BACKUP_ID", help="as `catalog` shows it")
    looked.add_argument("--by", required=True, metavar="NAME", help="who has looked at it")
    looked.add_argument("--note", default="", help="what was found")


def run_check_redundancy(deployment: Deployment, arguments: Namespace) -> int:
    report = check_redundancy(deployment, dry_run=arguments.dry_run)
    show(report.text, report.to_json(), as_json=arguments.json)
    return 0 if report.ok else 4


def run_acknowledge(deployment: Deployment, arguments: Namespace) -> int:
    source = tree_source(deployment.vaults, arguments.source)
    done = acknowledge(
        deployment, source, arguments.backup_id, by=arguments.by, note=arguments.note
    )
    found = done.acknowledgement
    data = {
        "source": str(source),
        "category": source.category.value,
        "backup_id": found.backup_id,
        "by": found.by,
        "at": iso(found.at),
        "note": found.note,
        "already": done.already,
        "notes": [done.note] if done.note else [],
    }
    show(done.text, data, as_json=arguments.json)
    return 0


COMMANDS = {"check-redundancy": run_check_redundancy, "acknowledge": run_acknowledge}
