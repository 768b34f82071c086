"""Commands that bring a version of an application back, and let it take the running one's place."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from include.respaldo.cli.screen import show
from include.respaldo.jobs import restore_application, switch_application
from include.respaldo.jobs.application_folders import configured_application
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.restore_application import ApplicationRequest, find_application, text_of
from include.respaldo.jobs.stored_trees import end_of_day
from include.respaldo.model.application_switch import SwitchRequest

#: name, text -> the parser of a new command
Command = Callable[[str, str], ArgumentParser]


def add_commands(command: Command) -> None:
    """Add the parsers of these commands."""
    restore = command(
        "restore-application", "bring a version of an application back beside the running one"
    )
    restore.add_argument("application", help="name or server/name")
    which = restore.add_mutually_exclusive_group()
    which.add_argument("--version", default="", help="as it was announced, or its number: 1.4.2")
    which.add_argument("--backup", default="", metavar="ID", help="this backup (`catalog`)")
    restore.add_argument(
        "--day", help="as of this day, 2026-11-22, in the time zone of the configuration"
    )
    switch = command(
        "switch-application",
        "let a restored version take the running one's place; the old one stays beside",
    )
    switch.add_argument("application", help="name or server/name")
    switch.add_argument(
        "version",
        metavar="FOLDER",
        help="beside the running one: erp.restored_1.4.2_20261121, or to switch back "
        "erp.replaced_20261123_1130",
    )
    switch.add_argument(
        "--lost", action="store_true", help="nothing runs: put it in its place, replace nothing"
    )
    for parser in (restore, switch):
        parser.add_argument("--dry-run", action="store_true", help="only show the plan")
        parser.add_argument("--reason", default="", help="ticket or reason, kept with the result")


def run_restore_application(deployment: Deployment, arguments: Namespace) -> int:
    request = ApplicationRequest(
        find_application(deployment, arguments.application),
        version=arguments.version,
        before=end_of_day(deployment, arguments.day),
        backup_id=arguments.backup,
        reason=arguments.reason,
    )
    planned = restore_application.plan(deployment, request)
    if arguments.dry_run:
        show(text_of(planned), planned.to_json(), as_json=arguments.json)
        return 0
    restored = restore_application.restore(deployment, planned)
    show(text_of(planned, restored), restored.to_json(), as_json=arguments.json)
    return 0


def run_switch_application(deployment: Deployment, arguments: Namespace) -> int:
    request = SwitchRequest(
        configured_application(deployment, arguments.application),
        arguments.version,
        lost=arguments.lost,
        reason=arguments.reason,
    )
    planned = switch_application.plan(deployment, request)
    if arguments.dry_run:
        show(planned.text, planned.to_json(), as_json=arguments.json)
        return 0
    switched = switch_application.switch(deployment, planned)
    show(switched.text, switched.to_json(), as_json=arguments.json)
    return 0


COMMANDS = {
    "restore-application": run_restore_application,
    "switch-application": run_switch_application,
}
