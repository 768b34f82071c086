"""The forms for restoring an application and for switching to it, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from include.respaldo.model.backup import Category
from include.respaldo.orchestration.restore_trees import day_param, reason_param
from include.respaldo.orchestration.tree_choices import tree_choices

if TYPE_CHECKING:
    from include.respaldo.config import Config
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.jobs.restore_application import ApplicationRequest
    from include.respaldo.model.application_switch import SwitchRequest


def application_param(config: Config) -> Param:
    """Return the field for the application."""
    choices = tree_choices(config, Category.APPLICATIONS)
    offered: dict[str, Any] = {"examples": choices} if choices else {}
    return Param(
        type="string",
        **offered,
        minLength=1,
        title="Application / Aplicación",
        description="Its name, or server/name. / Su nombre, o servidor/nombre.",
    )


def restore_params(config: Config) -> dict[str, Param]:
    """Return the fields of the form for restoring one, in order."""
    return {
        "application": application_param(config),
        "version": Param(
            None,
            type=["null", "string"],
            title="Version / Versión",
            description="As the application announced it, or its number: `1.4.2`. Empty: the day "
            "decides. / Como la anunció la aplicación, o su número. Vacío: decide el día.",
        ),
        "day": day_param(config),
        "backup": Param(
            None,
            type=["null", "string"],
            title="Backup / Copia",
            description="Its id, where one certain backup is meant; else empty. / Su "
            "identificador, si se quiere una copia concreta; si no, vacío.",
        ),
        "reason": reason_param(),
    }


def switch_params(config: Config) -> dict[str, Param]:
    """Return the fields of the form for switching, in order."""
    return {
        "application": application_param(config),
        "version": Param(
            type="string",
            minLength=1,
            title="Folder of the version / Carpeta de la versión",
            description="Beside the running one, as the report of the restore says: "
            "`erp.restored_1.4.2_20261121`; to switch back: `erp.replaced_20261123_1130`. / Junto "
            "a la que está en uso, como indica el informe de la restauración.",
        ),
        "lost": Param(
            False,
            type="boolean",
            title="The running one is lost / La que estaba en uso se ha perdido",
            description="Only where nothing is in its place: nothing is replaced then. / Solo si "
            "no hay nada en su lugar: entonces no se reemplaza nada.",
        ),
        "reason": reason_param(),
    }


def restore_request(deployment: Deployment, params: Mapping[str, Any]) -> ApplicationRequest:
    """Return what the form for restoring asks for.

    :raises RestoreRefused: a field cannot be what is meant; the hint says what to write.
    """
    from include.respaldo.jobs.restore_application import ApplicationRequest, find_application
    from include.respaldo.jobs.stored_trees import end_of_day

    return ApplicationRequest(
        find_application(deployment, _text(params, "application")),
        version=_text(params, "version"),
        before=end_of_day(deployment, params.get("day")),
        backup_id=_text(params, "backup"),
        reason=_text(params, "reason"),
    )


def switch_request(deployment: Deployment, params: Mapping[str, Any]) -> SwitchRequest:
    """Return what the form for switching asks for.

    :raises RestoreRefused: no application is called so.
    """
    from include.respaldo.jobs.application_folders import configured_application
    from include.respaldo.model.application_switch import SwitchRequest

    return SwitchRequest(
        configured_application(deployment, _text(params, "application")),
        _text(params, "version"),
        lost=bool(params.get("lost")),
        reason=_text(params, "reason"),
    )


def approver(approval: Mapping[str, Any]) -> str:
    """Return who has approved; "": Airflow does not say."""
    user = approval.get("responded_by_user") or {}
    return str(user.get("name") or user.get("id") or "")


def _text(params: Mapping[str, Any], name: str) -> str:
    return str(params.get(name) or "").strip()
