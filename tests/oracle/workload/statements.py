"""All kinds of statements together, and the choice among them."""

from __future__ import annotations

from tests.oracle.workload import (  # noqa: F401 - they register their statements
    columns,
    constraints,
    families,
    objects,
    programs,
    rights,
    rows,
    tables,
)
from tests.oracle.workload.catalog import Model
from tests.oracle.workload.scene import KINDS, Impossible, Kind, Scene

#: what PostgreSQL tells no event trigger of: the schema audit sees it, and refuses (docs/FORMAT.md)
_UNSEEN = {"event_trigger", "reassign_owned"}
#: what is refused by name, and tested by name (jobs/test_restore_commands.py): it is rare in what
#: applications do, and here it must not hide what comes after it
_REFUSED = {"detach_concurrently", "drop_owned", "update_extension"}
_RARELY = 0.02
#: when there are more tables than this, new ones become rarer
_MANY = 16


class Choice:
    """Chooses statements by their weights.

    :param ddl: how much of what is chosen changes the schema: 0 nothing, 1 as the weights say.
    :param unseen: also what PostgreSQL tells no event trigger of.
    """

    def __init__(self, ddl: float, *, unseen: bool = False) -> None:
        self._kinds = [k for k in KINDS if ddl or not k.ddl]
        self.ddl = ddl
        self._unseen = unseen

    def statement(self, scene: Scene, *, alone: bool, ddl: bool | None = None) -> tuple[Kind, str]:
        """Return one that fits what there is.

        :param alone: it may be one that cannot run in a transaction.
        :param ddl: only such that change the schema, or only others.
        """
        kinds = [k for k in self._kinds if (alone or not k.alone) and ddl in {None, k.ddl}]
        weights = [self._weight(k, scene.model) for k in kinds]
        while True:
            (kind,) = scene.rng.choices(kinds, weights)
            try:
                return kind, kind.make(scene)
            except Impossible:
                continue

    def _weight(self, kind: Kind, model: Model) -> float:
        weight = kind.weight * (self.ddl if kind.ddl else 1)
        relations = len(model.of_kind("rp"))
        if kind.name in {"create_table", "create_partitioned", "create_table_like"}:
            return weight * (4 if relations < 4 else 1 if relations < _MANY else 0.1)
        if kind.name in _UNSEEN and not self._unseen:
            return 0
        if kind.name in _REFUSED and not self._unseen:
            return weight * _RARELY
        if kind.name in {"drop_table", "schema_change", "drop_owned"}:
            return weight * (0.2 if relations < 6 else 1 if relations < _MANY else 3)
        if kind.name in {"create_view", "create_matview", "create_function", "create_type"}:
            return weight * (1 if len(model.relations) + len(model.functions) < 60 else 0.1)
        return weight
