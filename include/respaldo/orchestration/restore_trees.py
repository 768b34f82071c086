"""The fields that the forms for restoring files and applications share, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from include.respaldo.errors import RestoreRefused
from include.respaldo.model.backup import Category
from include.respaldo.orchestration.tree_choices import tree_choices

if TYPE_CHECKING:
    from include.respaldo.config import Config
    from include.respaldo.jobs.deployment import Deployment
    from include.respaldo.model.tree_restore_plan import TreeRestoreRequest

BESIDE = "beside the original / junto al original"
FOLDER = "to a folder of the worker / a una carpeta del worker"


def source_choices(config: Config) -> list[str]:
    """Return the trees that files are restored of: ``files/web1/uploads``."""
    return [
        f"{category.value}/{name}"
        for category in (Category.FILES, Category.APPLICATIONS)
        for name in tree_choices(config, category)
    ]


def day_param(config: Config) -> Param:
    """Return the field for the day."""
    return Param(
        None,
        type=["null", "string"],
        format="date",
        title="As of which day / De qué día",
        description=f"The last backup of that day or before ({config.time_zone}). Empty: the "
        "newest. / La última copia de ese día o anterior. Vacío: la más reciente.",
    )


def reason_param() -> Param:
    """Return the field for the reason."""
    return Param(
        type="string",
        minLength=3,
        maxLength=500,
        title="Reason or ticket / Motivo o incidencia",
        description="Kept with the run. / Queda en la ejecución.",
    )


def files_params(config: Config) -> dict[str, Param]:
    """Return the fields of the form for files, in order."""
    choices = source_choices(config)
    offered: dict[str, Any] = {"examples": choices} if choices else {}
    return {
        "source": Param(
            type="string",
            **offered,
            minLength=1,
            title="Source / Origen",
            description="Of the list, or any other that the vaults hold. / De la lista, o "
            "cualquier otro que esté en las bóvedas.",
        ),
        "paths": Param(
            [],
            type="array",
            items={"type": "string", "minLength": 1},
            title="Files, folders, patterns / Archivos, carpetas, patrones",
            description="One a line, from the source's root: `2026/11/invoice.pdf`, `2026/11`, "
            "`*.pdf`. Empty: everything. / Uno por línea, desde la raíz del origen. Vacío: todo.",
        ),
        "day": day_param(config),
        "destination": Param(
            BESIDE,
            type="string",
            enum=[BESIDE, FOLDER],
            title="Where to / Adónde",
            description="Beside: `invoice.restored_20261122.pdf`, where the original is or was. "
            "Nothing is ever overwritten. / Junto al original, o donde estaba. Nunca se "
            "sobrescribe nada.",
        ),
        "folder": Param(
            None,
            type=["null", "string"],
            pattern="^/",
            title="Folder / Carpeta",
            description="Only for a folder: its absolute path on the worker. / Solo para una "
            "carpeta: su ruta absoluta en el worker.",
        ),
        "reason": reason_param(),
    }


def files_request(deployment: Deployment, params: Mapping[str, Any]) -> TreeRestoreRequest:
    """Return what the form asks for.

    :raises RestoreRefused: a field cannot be what is meant; the hint says what to write.
    """
    from include.respaldo.jobs.stored_trees import end_of_day, tree_called
    from include.respaldo.model.tree_restore_plan import Destination, Place, TreeRestoreRequest

    folder = str(params.get("folder") or "").strip()
    if (params["destination"] == FOLDER) != bool(folder):
        raise RestoreRefused(
            "expected a folder only where the files go to one, found "
            + ("one beside the original" if folder else "none"),
            hint="name the folder, or leave it empty and choose `beside the original`",
        )
    return TreeRestoreRequest(
        source=tree_called(deployment, str(params["source"]).strip()),
        paths=tuple(line for path in params.get("paths") or () if (line := path.strip())),
        before=end_of_day(deployment, params.get("day")),
        destination=Destination(Place.FOLDER, folder) if folder else Destination(),
        reason=str(params.get("reason") or "").strip(),
    )
