"""Commands that bring files back, and find them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from include.respaldo.cli.screen import show
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.find_files import find
from include.respaldo.jobs.restore_files import plan, restore
from include.respaldo.jobs.stored_trees import end_of_day, tree_called
from include.respaldo.model.tree_restore_plan import Destination, Place, TreeRestoreRequest

#: name, text -> the parser of a new command
Command = Callable[[str, str], ArgumentParser]
_SOURCE = "name, server/name or category/server/name"


def add_commands(command: Command) -> None:
    """Add the parsers of these commands."""
    files = command("restore-files", "bring files of a backup back; nothing is overwritten")
    files.add_argument("source", help=_SOURCE)
    files.add_argument(
        "path", nargs="*", help="file, folder or pattern ('*.pdf'), in quotes; none: everything"
    )
    when = files.add_mutually_exclusive_group()
    when.add_argument(
        "--day", help="as of this day, 2026-11-22, in the time zone of the configuration"
    )
    when.add_argument("--backup", default="", metavar="ID", help="this backup (`catalog`)")
    to = files.add_mutually_exclusive_group(required=True)
    to.add_argument(
        "--beside",
        action="store_true",
        help="next to the original, as invoice.restored_20261122.pdf",
    )
    to.add_argument("--to", type=Path, metavar="FOLDER", help="to a folder of this machine")
    files.add_argument("--dry-run", action="store_true", help="only show the plan")
    files.add_argument("--reason", default="", help="ticket or reason, kept with the result")
    finding = command("find-files", "find files by a part of their path, in all kept backups")
    finding.add_argument("source", help=_SOURCE)
    finding.add_argument("text", help="a part of the path, in any case")


def run_restore_files(deployment: Deployment, arguments: Namespace) -> int:
    to = (
        Destination()
        if arguments.beside
        else Destination(Place.FOLDER, str(arguments.to.expanduser().absolute()))
    )
    request = TreeRestoreRequest(
        source=tree_called(deployment, arguments.source),
        paths=tuple(arguments.path),
        before=end_of_day(deployment, arguments.day),
        backup_id=arguments.backup,
        destination=to,
        reason=arguments.reason,
    )
    planned = plan(deployment, request)
    if arguments.dry_run:
        show(planned.text, planned.to_json(), as_json=arguments.json)
        return 0
    restored = restore(deployment, planned)
    show(restored.text, restored.to_json(), as_json=arguments.json)
    return 0


def run_find_files(deployment: Deployment, arguments: Namespace) -> int:
    found = find(deployment, tree_called(deployment, arguments.source), arguments.text)
    show(found.text, found.to_json(), as_json=arguments.json)
    return 0 if found.paths else 1


COMMANDS = {"restore-files": run_restore_files, "find-files": run_find_files}
