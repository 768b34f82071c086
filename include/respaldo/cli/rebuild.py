"""Commands that bring a whole server back."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from include.respaldo.cli.screen import show
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.rebuild_report import RebuildRequest, text_of
from include.respaldo.jobs.rebuild_server import compare, plan, rebuild
from include.respaldo.jobs.stored_trees import end_of_day

#: name, text -> the parser of a new command
Command = Callable[[str, str], ArgumentParser]


def add_commands(command: Command) -> None:
    """Add the parsers of these commands."""
    server = command("rebuild-server", "make a bare Debian host the lost one, or one more like it")
    server.add_argument("host", help="the lost host, as the configuration names it (hosts)")
    server.add_argument("--to", required=True, metavar="TARGET", help="the bare host (hosts)")
    server.add_argument(
        "--day", help="as of this day, 2026-11-22, in the time zone of the configuration"
    )
    server.add_argument(
        "--as",
        dest="new_name",
        default="",
        metavar="NAME",
        help="another host name: one more like it (default: it takes the lost one's place)",
    )
    server.add_argument("--reason", default="", help="ticket or reason, kept with the result")
    server.add_argument("--dry-run", action="store_true", help="only show the plan")
    server.add_argument(
        "--confirm",
        default="",
        metavar="TARGET",
        help="the target's name once more, where it is alive and to be changed nevertheless",
    )


def run_rebuild_server(deployment: Deployment, arguments: Namespace) -> int:
    request = RebuildRequest(
        host=arguments.host,
        target=arguments.to,
        before=end_of_day(deployment, arguments.day),
        new_name=arguments.new_name,
        reason=arguments.reason,
        confirmed=arguments.confirm,
    )
    if arguments.dry_run:
        planned = plan(deployment, request)
        show(planned.text, planned.to_json(), as_json=arguments.json)
        return 0
    done = rebuild(deployment, request)
    report = compare(deployment, done.request)
    data = {**report.to_json(), **done.to_json(), "reason": request.reason}
    show(text_of(done, report), data, as_json=arguments.json)
    return 0 if report.is_complete else 1


COMMANDS = {"rebuild-server": run_rebuild_server}
