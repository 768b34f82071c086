"""The DAG of one category: discover, then dump, checksum, upload, copy for each batch.

The four steps of a batch run one after the other whatever became of the step before: each does what
it can for the sources that got that far, and `report`, at the end, fails the run if anything is not
sealed in both regions. What passes between tasks lies in the landing zone. Of trees, `alarm` fails
the run, too, when all is sealed but something is suspicious: that is how Airflow calls people.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import (
    DAG,
    CronTriggerTimetable,
    Param,
    chain,
    get_current_context,
    task,
    task_group,
)

from include.respaldo.errors import SomeFailed, SourceError
from include.respaldo.model.backup import Category, backup_id
from include.respaldo.model.batches import Batch
from include.respaldo.orchestration.deployment import deployment
from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures
from include.respaldo.orchestration.tenant_choices import refresh_choices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk import Context

    from include.respaldo.config import Config
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.jobs.take_backup import StepReport

STEPS = ("dump", "checksum", "upload", "copy")
#: XCom of a step that did not succeed for all: source -> why
FAILURES = "failures"


def backup_dag(
    category: Category,
    config: Config,
    *,
    dag_id: str,
    title: str,
    doc_md: str,
    choices: Sequence[str] | None = None,
) -> DAG:
    """Return the DAG that backs up a category every day, and on demand.

    A category of trees of which none is configured has no schedule, and says why in its doc.

    :param choices: sources that the form suggests; None: there is nothing to choose.
    """
    is_idle = category.is_tree and not choices
    with DAG(
        dag_id,
        dag_display_name=title,
        # no start date: the first run is that of the next night, not one for the night before
        schedule=None
        if is_idle
        else CronTriggerTimetable(config.schedule, timezone=config.time_zone),
        catchup=False,
        # a tenant on demand does not wait for the nightly run; two runs would share a tree's mirror
        max_active_runs=1 if category.is_tree else 4,
        params={} if choices is None else {"only": _only(category, choices)},
        tags=["respaldo", "backup"],
        doc_md=_nothing(category) + doc_md if is_idle else doc_md,
        default_args={
            "retries": 2,
            "retry_policy": RetryWhatCanHelp(),
            # what has landed moves on before more lands: the landing zone stays small
            "weight_rule": "upstream",
        },
    ) as dag:
        found = discover.override(task_id="discover")(category.value)
        backed_up = batch.expand(batch=found)
        # both are leaves: either of them fails the run
        backed_up >> report(category.value, found)  # type: ignore[arg-type]
        if category.is_tree:
            backed_up >> alarm(found)  # type: ignore[arg-type]
    return dag


def _nothing(category: Category) -> str:
    section = category.value
    return (
        f"\n**Nothing is configured**: add the section `{section}` to the configuration.\n"
        f"**No hay nada configurado**: añada la sección `{section}` a la configuración.\n"
    )


def _only(category: Category, choices: Sequence[str]) -> Param:
    suggested: dict[str, Any] = {"examples": list(choices)} if choices else {}
    title = "Only these tenants / Solo estos clientes"
    text = (
        "Names of databases; none means all. / Nombres de bases de datos; ninguno significa todas."
    )
    if category.is_tree:
        title = "Only these / Solo estos"
        text = (
            "Names (`name` or `host/name`); none means all. / "
            "Nombres (`nombre` o `servidor/nombre`); ninguno significa todos."
        )
    return Param(
        [],
        type="array",
        items={"type": "string", "minLength": 1},
        uniqueItems=True,
        **suggested,
        title=title,
        description=text,
    )


@task(multiple_outputs=False)
def discover(category: str) -> list[dict[str, Any]]:
    """Find the sources of the category, and pack them into batches."""
    from include.respaldo.jobs.take_backup import plan_batches

    context = get_current_context()
    started_at = context["dag_run"].start_date or context["dag_run"].run_after
    opened = deployment()
    with telling_failures():
        batches = plan_batches(
            opened,
            Category(category),
            backup_id(started_at),  # the same for every attempt
            only=tuple(context["params"].get("only") or ()),
        )
    if category == Category.TENANT_DATABASES.value:
        refresh_choices(opened)
    return [{"label": b.label, **b.to_json()} for b in batches]


@task_group(group_id="batch")
def batch(batch: dict[str, Any]) -> None:
    """Back up the sources of one batch."""
    steps = dump(batch=batch), checksum(batch=batch), upload(batch=batch), copy(batch=batch)
    chain(*steps)


_LABEL = "{{ task.op_kwargs['batch']['label'] }}"
_LIMIT = timedelta(hours=12)


@task(map_index_template=_LABEL, execution_timeout=_LIMIT)
def dump(batch: dict[str, Any]) -> str:
    """Dump each database, or bring each tree, to where it can be read: the landing zone."""
    from include.respaldo.jobs import take_backup

    return _carry_out(take_backup.dump, batch)


@task(trigger_rule="all_done", map_index_template=_LABEL, execution_timeout=_LIMIT)
def checksum(batch: dict[str, Any]) -> str:
    """Read what has landed: is it whole, what is in it, what has changed?"""
    from include.respaldo.jobs import take_backup

    return _carry_out(take_backup.checksum, batch)


@task(trigger_rule="all_done", map_index_template=_LABEL, execution_timeout=_LIMIT)
def upload(batch: dict[str, Any]) -> str:
    """Store what is verified in the vault of the primary region, and seal it."""
    from include.respaldo.jobs import take_backup

    return _carry_out(take_backup.upload, batch)


@task(trigger_rule="all_done", map_index_template=_LABEL, execution_timeout=_LIMIT)
def copy(batch: dict[str, Any]) -> str:
    """Copy what is sealed to the vault of the replica region, and clear the landing zone."""
    from include.respaldo.jobs import take_backup

    return _carry_out(take_backup.copy, batch)


def _carry_out(step: Callable[[Deployment, Batch], StepReport], batch: dict[str, Any]) -> str:
    opened = deployment()
    try:
        done = step(opened, Batch.from_json(batch))
    except SomeFailed as error:
        failures = {source: str(why) for source, why in error.failures.items()}
        get_current_context()["ti"].xcom_push(FAILURES, failures)
        raise
    opened.progress.step(done.text)
    return done.text


@task(trigger_rule="all_done", retries=1)
def report(category: str, batches: list[dict[str, Any]] | None = None) -> str:
    """Say what is sealed in both regions; fail if anything is not, with the reason.

    A server that does not answer fails the run by its name, too.
    """
    from include.respaldo.jobs import take_backup
    from include.respaldo.jobs.clean_up import clean_up

    context = get_current_context()
    with telling_failures():
        here = deployment()
        left_over = clean_up(here).text
        planned = [Batch.from_json(b) for b in batches or ()]
        silent: dict[str, BaseException] = {}
        if not context["params"].get("only"):
            silent = take_backup.unanswered(here, Category(category), planned)
        try:
            text = take_backup.report(here, planned)
        except SomeFailed as error:
            failures = {**_explain(error, context), **silent}
            raise SomeFailed("be sealed in both regions", failures) from None
        if silent:
            raise SomeFailed("answer", silent)
    text = "\n\n".join(filter(None, [text, left_over]))
    tell(text, **context)
    return text


@task(trigger_rule="all_done", retries=0)
def alarm(batches: list[dict[str, Any]] | None = None) -> str:
    """Fail where a change is suspicious and nobody has looked at it; clear this task afterwards."""
    from include.respaldo.jobs import take_backup

    planned = [Batch.from_json(b) for b in batches or ()]
    found = take_backup.alarms(deployment(), planned)
    if found:
        # sealed and copied all the same: `report` says so, and its note stays
        raise SourceError("\n".join(alarm.text for alarm in found))
    return "nothing is suspicious"


def _explain(error: SomeFailed, context: Context) -> dict[str, BaseException]:
    """Return what each unsealed source failed of first, where a step has said so."""
    reasons: dict[str, BaseException] = dict(error.failures)
    for step in reversed(STEPS):
        # a list of ids: then the answer is a list too, one entry for each batch that has failed
        for failures in context["ti"].xcom_pull(task_ids=[f"batch.{step}"], key=FAILURES):
            for source, why in (failures or {}).items():
                if source in reasons:
                    reasons[source] = SourceError(f"{step}: {why}")
    return reasons
