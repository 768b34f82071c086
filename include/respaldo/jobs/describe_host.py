"""Write down what a Debian or Ubuntu host is, as a tree of files that can be kept and compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from include.respaldo.config.trees import HostSource

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: (a path of the host or a part of the description, what is wrong), both for people
Problem = tuple[str, str]


def describe_host(deployment: Deployment, host: HostSource, to: Path) -> tuple[Problem, ...]:
    """Bring what the host is into a folder, kept from day to day so that only changes travel.

    The folder's layout is that of `include.respaldo.debian.description`.

    :raises HostUnreachable: no connection; trying again can help.
    :raises ConfigurationError: the host is no Debian or Ubuntu, or does not let us in.
    """
    raise NotImplementedError(deployment, host, to)
