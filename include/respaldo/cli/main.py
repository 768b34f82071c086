"""Parse the command line, run the job, turn its outcome into text and an exit code."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from include.respaldo.cli import applications, commands, rebuild, redundancy, restore_trees
from include.respaldo.cli.screen import TerminalProgress
from include.respaldo.config import load_config
from include.respaldo.connections import from_environment
from include.respaldo.errors import (
    Busy,
    ConfigurationError,
    RespaldoError,
    RestoreRefused,
    SomeFailed,
    UnreachableError,
)
from include.respaldo.jobs.deployment import Deployment

EXIT_CODES = """exit codes:
  0  done
  1  failed
  2  the command line, the configuration or a connection is wrong
  3  refused: it could not be done exactly; the message names the points that can be had
  4  some sources failed, the others are done
  5  a server or a vault does not answer, or somebody else is at it: try again later
"""

#: modules of further commands
TOPICS = (redundancy, rebuild, restore_trees, applications)
COMMANDS: dict[str, commands.Command] = commands.COMMANDS | {
    name: run for topic in TOPICS for name, run in topic.COMMANDS.items()
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="python -m include.respaldo",
        description="Back up PostgreSQL tenants into two regions and restore them to any minute.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--config", type=Path, help="configuration (default: $RESPALDO_CONFIG)")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print the result as JSON")
    shared.add_argument("--quiet", action="store_true", help="no progress")
    sub = top.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return sub.add_parser(name, help=text, description=text, parents=[shared])

    command("check", "check everything at once, each problem with its next step")
    command("discover", "list the databases and trees that the configuration means")
    prepare = command("prepare", "make databases ready for archiving (archive does it by itself)")
    prepare.add_argument("tenant", nargs="*", help="database or server/database; none: all")
    prepare.add_argument("--dry-run", action="store_true", help="only say what would change")
    unprepare = command("unprepare", "remove from databases all that prepare installed")
    unprepare.add_argument("tenant", nargs="+", help="database or server/database")
    backup = command("backup", "take backups now")
    backup.add_argument("tenant", nargs="*", help="name or server/name; none: all")
    backup.add_argument(
        "--id", metavar="BACKUP_ID", help="go on with an interrupted run: only what is missing"
    )
    kind = backup.add_mutually_exclusive_group()
    kind.add_argument("--system", action="store_true", help="the system database instead")
    kind.add_argument(
        "--category",
        choices=commands.CATEGORIES,
        default=commands.CATEGORIES[0],
        help="of what (default: %(default)s)",
    )
    archive = command("archive", "archive the query logs")
    archive.add_argument("--server", action="append", help="only this server (may be repeated)")
    how_long = archive.add_mutually_exclusive_group()
    how_long.add_argument("--once", action="store_true", help="up to now, then stop (default)")
    how_long.add_argument("--until-idle", action="store_true", help="until nothing changes")
    how_long.add_argument("--follow", action="store_true", help="until interrupted")
    retain = command("retain", "remove from both vaults what is no longer kept")
    retain.add_argument(
        "tenant", nargs="*", help="name, server/name or category/server/name; none: everything"
    )
    retain.add_argument(
        "--dry-run", action="store_true", help="only say what would go, what stays, and why"
    )
    catalog = command("catalog", "list what the vaults hold")
    catalog.add_argument("tenant", nargs="?", help="one source in detail")
    window = command(
        "window", "show to which moments a database, or to which days a tree, can be restored"
    )
    window.add_argument("tenant", help="name, server/name or category/server/name")
    for name, text in (
        ("plan", "show how a restore would be done; changes nothing"),
        ("restore", "restore a database beside the live one"),
    ):
        restore = command(name, text)
        restore.add_argument("tenant", help="database or server/database")
        to = restore.add_mutually_exclusive_group(required=True)
        to.add_argument("--to", help="a time with its offset, a local time with --tz, or an LSN")
        to.add_argument(
            "--before-transaction",
            metavar="XID|LSN",
            help="right before this transaction committed (`log` shows ids and positions)",
        )
        to.add_argument(
            "--after-transaction", metavar="XID|LSN", help="right after this transaction committed"
        )
        restore.add_argument("--tz", help="time zone of a time without offset (Europe/Madrid)")
        restore.add_argument("--as", dest="new_name", help="name of the new database")
        restore.add_argument("--server", help="server to restore onto (default: where it was)")
        restore.add_argument("--reason", default="", help="ticket or reason, kept with the result")
        restore.add_argument(
            "--refuse-large-objects",
            action="store_true",
            help="refuse if large objects changed: else they are as of the full backup",
        )
        restore.add_argument(
            "--refuse-missing-roles",
            action="store_true",
            help="refuse if the server lacks roles of the original: else it goes without them",
        )
    changes = command("log", "show what changed, transaction by transaction")
    changes.add_argument("tenant")
    changes.add_argument("--from", dest="start", required=True, help="a time (see restore --to)")
    changes.add_argument("--to", required=True, help="a time (see restore --to)")
    changes.add_argument("--tz", help="time zone of times without offset")
    changes.add_argument("--table", help="only this table (schema.table)")
    changes.add_argument("--rows", action="store_true", help="show the changed rows too")
    for topic in TOPICS:
        topic.add_commands(command)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    progress = TerminalProgress(quiet=arguments.quiet or arguments.json)
    try:
        deployment = Deployment(load_config(arguments.config), from_environment, progress=progress)
        return COMMANDS[arguments.command](deployment, arguments)
    except RespaldoError as error:
        if arguments.json:
            problem = {
                "error": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
                "failures": {
                    name: str(e)
                    for name, e in (error.failures if isinstance(error, SomeFailed) else {}).items()
                },
            }
            print(json.dumps(problem, ensure_ascii=False))
        print(f"error: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("interrupted; whatever was begun can be run again", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def exit_code(error: RespaldoError) -> int:
    """Return the exit code that scripts can rely on."""
    table: tuple[tuple[type[RespaldoError], int], ...] = (
        (ConfigurationError, 2),
        (RestoreRefused, 3),
        (SomeFailed, 4),
        (UnreachableError, 5),
        (Busy, 5),
    )
    return next((code for kind, code in table if isinstance(error, kind)), 1)
