"""The commands of a transaction at the places in the log where a replay runs them."""

from __future__ import annotations

from collections.abc import Sequence

from include.respaldo.errors import LogDiverged
from include.respaldo.model.schema_change import ReplayCommand
from include.respaldo.querylog.ddl.messages import parse_messages_at
from include.respaldo.querylog.ddl.replayable import replay_commands_at


def commands_by_message(contents: Sequence[bytes]) -> list[list[ReplayCommand]]:
    """Return, for each message of one transaction, the commands to run where it stands.

    :param contents: of its ``respaldo.ddl`` messages, whose seals were checked when they came.
    :raises LogDiverged: one of them cannot be replayed: no plan leads across it.
    """
    read = parse_messages_at(contents, None)
    found: list[list[ReplayCommand]] = [[] for _ in contents]
    place = 0
    for index, item in replay_commands_at([captured for _, captured in read]):
        if not isinstance(item, ReplayCommand):
            raise LogDiverged(
                f"{item.what} cannot be replayed: {item.reason}",
                hint="choose a moment before it, or after the next full backup",
            )
        place = max(place, read[index][0])
        found[place].append(item)
    return found
