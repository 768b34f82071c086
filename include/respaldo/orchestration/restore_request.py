"""From the restore form to a request, and the plan's way from task to task."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from include.respaldo.errors import ConfigurationError, RestoreRefused
from include.respaldo.model.moments import parse_iso
from include.respaldo.model.target import Target, TargetTime

if TYPE_CHECKING:
    from include.respaldo.config import Config
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.jobs.plan_restore import RestorePlan, RestoreRequest
    from include.respaldo.model.backup import Source

SAME_SERVER = "the tenant's own server / el servidor del cliente"
GO_ON = "go on, and say so / seguir, y decirlo"
REFUSE = "refuse / rechazar"
_TRANSACTION = re.compile(r"\s*(before|after)\s+([0-9]+|[0-9A-Fa-f]+/[0-9A-Fa-f]+)\s*")


def restore_params(config: Config, choices: Sequence[str]) -> dict[str, Param]:
    """Return the fields of the form, in order.

    :param choices: the tenants; none (no backup has run yet) makes the field free text.
    """
    zone = config.time_zone
    tenant: dict[str, Any] = {"enum": list(choices)} if choices else {"minLength": 1}
    return {
        "tenant": Param(
            type="string",
            **tenant,
            title="Tenant / Cliente",
            description="Database to bring back. The list is renewed by every backup and by "
            "archiving. / Base de datos que se recupera. La lista se renueva con cada copia y con "
            "el archivado.",
        ),
        "target_time": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Moment to return to / Momento al que volver",
            description_md="The database as it was at this moment: everything committed up to "
            "then, nothing after it. The picker shows the time zone of the clock at the bottom "
            f"left of the page; the plan repeats the moment in **{zone}** time. / La base de datos "
            "tal como estaba en ese momento: todo lo confirmado hasta entonces, nada posterior. El "
            "selector usa la zona horaria del reloj de abajo a la izquierda; el plan repite el "
            f"momento en hora de **{zone}**.",
        ),
        "target_transaction": Param(
            None,
            type=["null", "string"],
            pattern=r"^(before|after) ([0-9]+|[0-9A-Fa-f]+/[0-9A-Fa-f]+)$",
            title="Or: right before or after a transaction / O: justo antes o después de una "
            "transacción",
            description="Instead of a moment: `before 4711` or `after 16/B374D848`, with an id or "
            "a position that `log` shows. / En lugar de un momento, con el identificador o la "
            "posición que muestra `log`.",
        ),
        "new_name": Param(
            None,
            type=["null", "string"],
            maxLength=63,
            title="Name of the new database / Nombre de la nueva base de datos",
            description="Empty: made of the tenant and the moment, such as "
            "acme_restored_20261122_1129. The live database is never touched. / Vacío: se forma "
            "con el cliente y el momento. La base de datos en uso nunca se toca.",
        ),
        "server": Param(
            SAME_SERVER,
            type="string",
            enum=[SAME_SERVER, *(server.name for server in config.servers)],
            title="Server / Servidor",
            description="Where the new database is made. / Dónde se crea la nueva base de datos.",
        ),
        "large_objects": Param(
            GO_ON,
            type="string",
            enum=[GO_ON, REFUSE],
            title="Large objects that changed since the full backup / Objetos grandes cambiados",
            description="The log does not hold them: they are as of the full backup. / El registro "
            "no los contiene: quedan como en la copia completa.",
        ),
        "missing_roles": Param(
            GO_ON,
            type="string",
            enum=[GO_ON, REFUSE],
            title="Roles that the server does not have / Roles que faltan en el servidor",
            description="What they own goes to the administrator, their privileges are left out. / "
            "Lo suyo pasa al administrador y sus permisos se omiten.",
        ),
        "reason": Param(
            type="string",
            minLength=3,
            maxLength=500,
            title="Reason or ticket / Motivo o incidencia",
            description="Kept with the run and with the new database. / Queda en la ejecución y "
            "en la nueva base de datos.",
        ),
    }


def request_from(deployment: Deployment, params: Mapping[str, Any]) -> RestoreRequest:
    """Return what the form asks for.

    :raises RestoreRefused: a field cannot be what is meant; the hint says what to write.
    :raises SourceError: no tenant, or more than one, is called so.
    """
    from include.respaldo.jobs.plan_restore import RestoreRequest, default_new_name

    moment, transaction = params.get("target_time"), params.get("target_transaction")
    if bool(moment) == bool(transaction):
        raise RestoreRefused(
            "expected either a moment or a transaction, found " + ("both" if moment else "neither"),
            hint="fill in one of the two fields, and leave the other empty",
        )
    reason = str(params.get("reason") or "").strip()
    if not reason:
        raise RestoreRefused(
            "a restore needs a reason", hint="write the ticket or why the customer asks for it"
        )
    source = deployment.source(str(params.get("tenant") or ""))
    target = _transaction(deployment, source, transaction) if transaction else _moment(moment)
    server = str(params.get("server") or SAME_SERVER)
    name = str(params.get("new_name") or "").strip()
    return RestoreRequest(
        source=source,
        target=target,
        new_name=name or default_new_name(source.name, target, deployment.config.time_zone),
        to_server=source.server if server == SAME_SERVER else server,
        reason=reason,
        with_large_objects=params.get("large_objects") == REFUSE,
        with_all_roles=params.get("missing_roles") == REFUSE,
    )


def _transaction(deployment: Deployment, source: Source, text: Any) -> Target:
    from include.respaldo.jobs.find_transaction import target_at

    match = _TRANSACTION.fullmatch(str(text))
    if match is None:
        raise RestoreRefused(
            f"expected before or after, and a transaction, found {text!r}",
            hint="write it like `before 4711` or `after 16/B374D848`; `log` shows both",
        )
    return target_at(deployment, source, match[2], included=match[1] == "after")


def _moment(text: Any) -> Target:
    try:
        return TargetTime(parse_iso(str(text)))
    except ValueError:
        raise RestoreRefused(
            f"expected a moment with its offset from UTC, found {text!r}",
            hint="write it like 2026-11-22T11:29:00+01:00 (or …Z for UTC)",
        ) from None


def hand_over(deployment: Deployment, plan: RestorePlan, run_id: str) -> dict[str, Any]:
    """Put the plan into the landing zone; return its URI and what people want to see of it.

    A plan can name thousands of segments: too much for an XCom.
    """
    name = f"{sha256(run_id.encode()).hexdigest()[:32]}.json"
    file = deployment.landing_zone.path("restores", name)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(plan.to_json()), "utf-8")
    partial.replace(file)
    request, route = plan.request, plan.routes[0]
    return {
        "plan": deployment.landing_zone.uri_of(file),
        "source": str(request.source),
        "target": str(request.target),
        "new_name": request.new_name,
        "server": request.to_server,
        "backup_id": route.backup_id,
        "segments": len(route.segments),
        "bytes": route.size,
    }


def take_over(deployment: Deployment, handed: Mapping[str, Any]) -> RestorePlan:
    """Return the plan that `hand_over` put into the landing zone.

    :raises ConfigurationError: this worker does not see it.
    """
    from include.respaldo.jobs.plan_restore import RestorePlan

    file = deployment.landing_zone.path_of(handed["plan"])
    try:
        return RestorePlan.from_json(json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        raise ConfigurationError(
            f"the plan {handed['plan']} is not there",
            hint="all workers have to mount the same landing zone; else begin the restore again",
        ) from None


def clear_away(deployment: Deployment, handed: Mapping[str, Any]) -> None:
    """Remove the plan; nothing to do where that was done."""
    deployment.landing_zone.path_of(handed["plan"]).unlink(missing_ok=True)
