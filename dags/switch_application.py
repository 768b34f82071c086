"""On demand, and only once somebody approves: a restored version takes the running one's place."""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, get_current_context, task

from include.respaldo.config import load_config
from include.respaldo.orchestration.applications import approver, switch_params, switch_request
from include.respaldo.orchestration.deployment import deployment
from include.respaldo.orchestration.retries import RetryWhatCanHelp
from include.respaldo.orchestration.run_note import tell, telling_failures

DOC = """
### Switch an application

Lets a version that `restore_application` has brought **take the place of the running one**. The old
one stays beside it (`/opt/erp.replaced_20261123_1130`); the same DAG, given that name, switches back.

| step | what it does |
|---|---|
| `plan` | looks at what is there: versions, sizes, what becomes of the old one; changes nothing |
| `approve` | **waits, up to a day, until a person has read the plan** and approves it (Required actions) or rejects it |
| `switch` | exchanges the two names, at once where the system can; cut off, a retry or the same run again finishes it |
| `summarize` | what was done, and what is left to do: also the note of this run |

It refuses whatever is not as expected: no such version, another file system, something mounted
below, the running one is missing, or anything changed since the plan. **It restarts nothing**:
services go on with the old one until somebody restarts them. Nothing is removed.

---

### Cambiar la versión en uso de una aplicación

Pone una versión recuperada por `restore_application` **en el lugar de la que está en uso**. La
anterior queda al lado, y el mismo DAG, con su nombre, vuelve a ella. `plan` no cambia nada; después
**espera, hasta un día, a que una persona lo apruebe**. Si se corta, repetirlo lo termina. Si algo no
es lo esperado, se rechaza. **No reinicia nada**: los servicios siguen con la anterior hasta que
alguien los reinicie. No se borra nada.
"""  # noqa: E501 - rows of a table

config = load_config()


@dag(
    dag_id="switch_application",
    dag_display_name="Switch an application",
    schedule=None,
    catchup=False,
    max_active_runs=16,
    params=switch_params(config),
    tags=["respaldo", "restore"],
    doc_md=DOC,
    default_args={"retries": 2, "retry_policy": RetryWhatCanHelp()},
)
def switch_application():
    limit = timedelta(hours=1)

    @task(multiple_outputs=False, execution_timeout=limit)
    def plan() -> dict:
        """Look at the running one and at what is beside it; change nothing."""
        from include.respaldo.jobs.switch_application import plan

        context = get_current_context()
        opened = deployment()
        with telling_failures():
            planned = plan(opened, switch_request(opened, context["params"]))
        tell(planned.text, **context)
        return {"plan": planned.to_json(), "text": planned.text}

    @task(multiple_outputs=False, execution_timeout=limit)
    def switch(planned: dict, approval: dict) -> dict:
        """Exchange the two, as it was approved."""
        from include.respaldo.jobs.switch_application import switch
        from include.respaldo.model.application_switch import SwitchPlan

        with telling_failures():
            wanted = SwitchPlan.from_json(planned["plan"])
            return switch(deployment(), wanted, approver(approval)).to_json()

    @task
    def summarize(switched: dict) -> str:
        """Say what was done, and what is left to do, as the note of this run."""
        tell(switched["text"], **get_current_context())
        return switched["text"]

    planned = plan()
    approve = ApprovalOperator(
        task_id="approve",
        subject="Switch {{ params.application }} to {{ params.version }}? / ¿Cambiar de versión?",
        body="{{ ti.xcom_pull(task_ids='plan')['text'] }}",
        response_timeout=timedelta(days=1),
        retries=0,
    )
    planned >> approve
    summarize(switch(planned, approve.output))


switch_application()
