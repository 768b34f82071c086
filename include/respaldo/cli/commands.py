"""The commands: each calls a job and says what came of it."""

from __future__ import annotations

import signal
import threading
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict

from include.respaldo.cli import trees
from include.respaldo.cli.moments import parse_moment, parse_target, parse_zone
from include.respaldo.cli.screen import show
from include.respaldo.errors import ConfigurationError, SomeFailed
from include.respaldo.jobs.acknowledge import TREES
from include.respaldo.jobs.archive_query_log import ArchiveMode, archive
from include.respaldo.jobs.check import check
from include.respaldo.jobs.clean_up import clean_up
from include.respaldo.jobs.deployment import Deployment
from include.respaldo.jobs.discover import discover
from include.respaldo.jobs.discover_trees import find_any, spelled
from include.respaldo.jobs.find_transaction import target_at
from include.respaldo.jobs.plan_restore import RestoreRequest, default_new_name, moment_text, plan
from include.respaldo.jobs.prepare import examine_databases, prepare_databases, unprepare_databases
from include.respaldo.jobs.read_catalog import DATABASES, archived_sources, read_catalog
from include.respaldo.jobs.restore_database import restore_database
from include.respaldo.jobs.retain import retain
from include.respaldo.jobs.show_log import show_log
from include.respaldo.jobs.take_backup import plan_batches, take_backup, unanswered
from include.respaldo.model.backup import Category, Source, backup_id, parse_backup_id
from include.respaldo.model.catalog import large_object_changes, recovery_window
from include.respaldo.model.moments import iso
from include.respaldo.model.target import Target
from include.respaldo.model.units import size_text

Command = Callable[[Deployment, Namespace], int]
#: as the command line spells them
CATEGORIES = tuple(c.value.replace("_", "-") for c in Category if c is not Category.SERVER_GLOBALS)


def run_check(deployment: Deployment, arguments: Namespace) -> int:
    findings = check(deployment)
    lines = [
        f"{'ok   ' if f.ok else 'WRONG'} {f.subject}: {f.text}"
        + (f"\n      next step: {f.hint}" if f.hint else "")
        for f in findings
    ]
    wrong = sum(not f.ok for f in findings)
    lines.append(f"{wrong} problems" if wrong else "everything is in order")
    show("\n".join(lines), [asdict(f) for f in findings], as_json=arguments.json)
    return 1 if wrong else 0


def run_discover(deployment: Deployment, arguments: Namespace) -> int:
    found = discover(deployment, frozenset(DATABASES))
    lines = [f"{size_text(d.size):>10}  {d.source}" for d in found.databases]
    kept = trees.discovered(deployment)
    lines += [f"{size_text(t.size):>10}  {spelled(t.source)}" for t in kept]
    lines += [f"server {server}: {error}" for server, error in found.problems.items()]
    data = {
        "trees": [
            {"source": str(t.source), "category": t.source.category.value, "size": t.size}
            for t in kept
        ],
        "databases": [
            {
                "server": d.source.server,
                "database": d.source.name,
                "category": d.source.category.value,
                "size": d.size,
            }
            for d in found.databases
        ],
        "problems": {server: error.message for server, error in found.problems.items()},
    }
    show("\n".join(lines) or "nothing is protected", data, as_json=arguments.json)
    return 4 if found.problems else 0


def run_prepare(deployment: Deployment, arguments: Namespace) -> int:
    sources = [deployment.source(name) for name in arguments.tenant]
    act = examine_databases if arguments.dry_run else prepare_databases
    results = act(deployment, sources)
    lines: list[str] = []
    for result in results:
        lines.append(f"{result.source}: {result.text}")
        lines += [f"  {change}" for change in result.changes]
        lines += [f"  problem: {p}" for p in result.problems]
    data = [
        {"source": str(r.source), "changes": list(r.changes), "problems": list(r.problems)}
        for r in results
    ]
    show("\n".join(lines), data, as_json=arguments.json)
    return 4 if any(r.problems for r in results) else 0


def run_unprepare(deployment: Deployment, arguments: Namespace) -> int:
    sources = [deployment.source(name) for name in arguments.tenant]
    unprepare_databases(deployment, sources)
    text = "\n".join(f"{source}: nothing of Respaldo is left in it" for source in sources)
    show(text, [str(s) for s in sources], as_json=arguments.json)
    return 0


def run_backup(deployment: Deployment, arguments: Namespace) -> int:
    category = Category(arguments.category.replace("-", "_"))
    if arguments.system:
        category = Category.SYSTEM_DATABASE
    if arguments.id is not None and parse_backup_id(arguments.id) is None:
        raise ConfigurationError(
            f"{arguments.id!r} is no backup id", hint="write it like 20261122T020000.000000Z"
        )
    run_id = arguments.id or backup_id(deployment.clock.now())
    deployment.progress.step(f"backup {run_id} (if interrupted: `backup --id {run_id}` goes on)")
    batches = plan_batches(deployment, category, run_id, arguments.tenant)
    text = take_backup(deployment, batches) if batches else "nothing to back up"
    text = "\n".join(filter(None, [text, clean_up(deployment).text]))
    problems = {} if arguments.tenant else unanswered(deployment, category, batches)
    if problems:
        raise SomeFailed("answer, so that none of their databases was backed up", problems)
    sources = [str(s) for batch in batches for s in batch.sources]
    show(text, {"backup_id": run_id, "sources": sources}, as_json=arguments.json)
    return 0


def run_archive(deployment: Deployment, arguments: Namespace) -> int:
    mode = (
        ArchiveMode.FOLLOW
        if arguments.follow
        else ArchiveMode.UNTIL_IDLE
        if arguments.until_idle
        else ArchiveMode.ONCE
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    names = arguments.server or [s.name for s in deployment.config.servers]
    for name in names:
        deployment.server(name)
    reports: dict[str, object] = {}
    failures: dict[str, BaseException] = {}

    def drain(name: str) -> None:
        try:
            report = archive(deployment, name, mode=mode, stop=stop)
            reports[name] = asdict(report)
            if not arguments.json:
                show(report.text, None, as_json=False)
        except Exception as error:  # noqa: BLE001 - raised again below, by name
            failures[name] = error

    threads = [threading.Thread(target=drain, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(failures) == 1 and len(names) == 1:
        raise next(iter(failures.values()))
    if failures:
        raise SomeFailed("be archived", failures)
    if arguments.json:
        show("", reports, as_json=True)
    return 0


def run_retain(deployment: Deployment, arguments: Namespace) -> int:
    report = retain(deployment, arguments.tenant, dry_run=arguments.dry_run)
    show(report.text, report.to_json(), as_json=arguments.json)
    return 4 if report.held_back else 0


def run_catalog(deployment: Deployment, arguments: Namespace) -> int:
    if arguments.tenant is None:
        sources = [str(s) for s in archived_sources(deployment.vaults)]
        sources += [spelled(s) for s in archived_sources(deployment.vaults, TREES)]
        text = "\n".join(sources) or "the vaults hold no backup yet"
        show(text, sources, as_json=arguments.json)
        return 0
    zone = deployment.config.time_zone
    catalog = read_catalog(deployment, find_any(deployment, arguments.tenant))
    if catalog.source.category.is_tree:
        return trees.show_catalog(deployment, catalog, as_json=arguments.json)
    lines = [f"{catalog.source}: {len(catalog.backups)} full backups"]
    lines += [
        f"  {b.backup_id}  {size_text(b.stored_size):>10}"
        + (f"  as of {moment_text(b.anchor.at, zone)}" if b.anchor else "")
        for b in catalog.backups
    ]
    for chain in catalog.chains:
        size = sum(s.size for s in chain.path)
        until = moment_text(chain.until, zone) if chain.until else "nothing yet"
        lines.append(
            f"  query log begun {moment_text(chain.begin.started_at, zone)} "
            f"({chain.begin.reason}): {len(chain.path)} segments, {size_text(size)}, up to {until}"
            + (f"; closed: {chain.end.reason}" if chain.end else "")
        )
    lines += [f"  note: {note}" for note in (*catalog.notes, *deployment.vaults.notes)]
    data = {
        "source": str(catalog.source),
        "backups": [
            {
                "backup_id": b.backup_id,
                "size": b.stored_size,
                "as_of": iso(b.anchor.at) if b.anchor else None,
            }
            for b in catalog.backups
        ],
        "chains": [
            {
                "chain_id": c.begin.chain_id,
                "segments": len(c.path),
                "head": str(c.head),
                "until": iso(c.until) if c.until else None,
                "closed": c.end.reason if c.end else None,
            }
            for c in catalog.chains
        ],
        "notes": [*catalog.notes, *deployment.vaults.notes],
    }
    show("\n".join(lines), data, as_json=arguments.json)
    return 0


def run_window(deployment: Deployment, arguments: Namespace) -> int:
    zone = deployment.config.time_zone
    catalog = read_catalog(deployment, find_any(deployment, arguments.tenant))
    if catalog.source.category.is_tree:
        return trees.show_window(deployment, catalog, as_json=arguments.json)
    window = recovery_window(catalog)
    lines = [f"{catalog.source} can be restored to any moment of:"]
    for interval in window.intervals:
        start, end = moment_text(interval.start, zone), moment_text(interval.end, zone)
        lines.append(f"  {start}  to  {end}   (then: {interval.ends_because})")
    if not window.intervals:
        lines = [f"{catalog.source} cannot be restored: no full backup is in the vaults"]
    notes = [*catalog.notes, *deployment.vaults.notes]
    large_objects = large_object_changes(catalog)
    if large_objects:
        notes.append(
            f"large objects changed (last {large_objects[-1].what}): restores hold them as of "
            "their full backup"
        )
    lines += [f"  note: {note}" for note in notes]
    data = {
        "source": str(catalog.source),
        "intervals": [
            {"start": iso(i.start), "end": iso(i.end), "ends_because": i.ends_because}
            for i in window.intervals
        ],
        "gaps": [
            {"start": iso(g.start), "end": iso(g.end), "reason": g.reason} for g in window.gaps
        ],
        "notes": notes,
    }
    show("\n".join(lines), data, as_json=arguments.json)
    return 0


def _request(deployment: Deployment, arguments: Namespace) -> RestoreRequest:
    if arguments.tz is not None:
        parse_zone(arguments.tz)
    source = deployment.source(arguments.tenant)
    target = _target(deployment, source, arguments)
    new_name = arguments.new_name
    if new_name is None:
        zone = arguments.tz or deployment.config.time_zone
        new_name = default_new_name(source.name, target, zone)
    return RestoreRequest(
        source,
        target,
        new_name,
        arguments.server or source.server,
        arguments.reason,
        with_large_objects=arguments.refuse_large_objects,
        with_all_roles=arguments.refuse_missing_roles,
    )


def _target(deployment: Deployment, source: Source, arguments: Namespace) -> Target:
    if arguments.before_transaction is not None:
        return target_at(deployment, source, arguments.before_transaction, included=False)
    if arguments.after_transaction is not None:
        return target_at(deployment, source, arguments.after_transaction, included=True)
    return parse_target(arguments.to, arguments.tz)


def run_plan(deployment: Deployment, arguments: Namespace) -> int:
    planned = plan(deployment, _request(deployment, arguments))
    show(planned.text, planned.to_json(), as_json=arguments.json)
    return 0


def run_restore(deployment: Deployment, arguments: Namespace) -> int:
    summary = restore_database(deployment, _request(deployment, arguments))
    show(summary.text, summary.to_json(), as_json=arguments.json)
    return 0


def run_log(deployment: Deployment, arguments: Namespace) -> int:
    start = parse_moment(arguments.start, arguments.tz)
    end = parse_moment(arguments.to, arguments.tz)
    if end < start:
        raise ConfigurationError("--to is before --from", hint="swap them")
    source = deployment.source(arguments.tenant)
    zone = arguments.tz or deployment.config.time_zone
    entries = show_log(deployment, source, start, end, arguments.table, rows=arguments.rows)
    lines: list[str] = []
    data: list[object] = []
    for entry in entries:
        data.append(entry.to_json())
        lines.append(f"{moment_text(entry.at, zone)}  {entry.lsn}  xid {entry.xid}  {entry.text}")
        lines += [f"    {row}" for row in entry.rows]
    show("\n".join(lines) or "nothing changed then", data, as_json=arguments.json)
    return 0


COMMANDS: dict[str, Command] = {
    "check": run_check,
    "discover": run_discover,
    "prepare": run_prepare,
    "unprepare": run_unprepare,
    "backup": run_backup,
    "archive": run_archive,
    "retain": run_retain,
    "catalog": run_catalog,
    "window": run_window,
    "plan": run_plan,
    "restore": run_restore,
    "log": run_log,
}
