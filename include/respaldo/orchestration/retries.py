"""Retry or fail now: the one table of `errors.can_retry`, as Airflow's retry policy."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from include.respaldo.errors import can_retry

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

#: waiting before the second attempt, the third …; the last one counts for all that follow
DELAYS = (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=2))


class RetryWhatCanHelp(RetryPolicy):
    """Fail at once where trying again cannot help; otherwise wait, a little longer each time."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,  # noqa: ARG002 - Airflow calls it by name
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Return the decision; Airflow itself bounds the number of attempts."""
        kind = type(exception).__name__
        if not can_retry(exception):
            return RetryDecision.fail(f"{kind}: trying again cannot help")
        delay = DELAYS[min(max(try_number, 1), len(DELAYS)) - 1]
        return RetryDecision.retry(delay, f"{kind}: trying again can help")

    def serialize(self) -> dict[str, Any]:
        """Return nothing: it has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RetryWhatCanHelp:  # noqa: ARG003
        return cls()
