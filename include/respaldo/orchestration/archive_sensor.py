"""The sensor in front of archiving: holds no worker while nothing happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.triggers.base import StartTriggerArgs

from include.respaldo.errors import ConfigurationError
from include.respaldo.orchestration.archive_trigger import ArchiveTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class WaitForChanges(BaseSensorOperator):
    """Wait until rows were written on a server, or its coverage is due; return those servers.

    Changes while nobody looks (between the end of a drain and the first look after it) are found
    when the coverage is due.

    It begins in the triggerer, without a worker: cheaper, and a look that fires at once cannot
    overtake the scheduler, which would take the worker's end for that of the task.

    :param interval: seconds between two looks.
    """

    start_from_trigger = True

    def __init__(self, *, interval: float = 5.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trigger = ArchiveTrigger(interval)
        path, arguments = self.trigger.serialize()
        self.start_trigger_args = StartTriggerArgs(path, "changes_found", arguments)

    def execute(self, context: Context) -> None:  # noqa: ARG002 - Airflow's signature
        """Hand over to the triggerer, where a worker was given the task all the same."""
        self.defer(trigger=self.trigger, method_name="changes_found")

    def changes_found(self, context: Context, event: dict[str, Any]) -> list[str]:  # noqa: ARG002
        """Return the servers that have something to archive.

        :raises ConfigurationError: looking is not possible, and will not be by itself.
        """
        if "error" in event:
            raise ConfigurationError(event["error"])
        servers: list[str] = event["servers"]
        self.log.info("something to archive on: %s", ", ".join(servers))
        return servers
