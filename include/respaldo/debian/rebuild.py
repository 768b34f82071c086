"""What a rebuild does, as values: actions with their reasons, and what is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from include.respaldo.model.file_tree import shown

#: subjects of one reason that a text names
_NAMED = 12


class Phase(StrEnum):
    """The parts of a rebuild, in their order."""

    REPOSITORIES = "repositories"
    ACCOUNTS = "accounts"
    PACKAGES = "packages"
    FILES = "files"
    UNITS = "units"


class Verb(StrEnum):
    """What one action does."""

    PUT = "put"
    REMOVE = "remove"
    ADD_ARCHITECTURE = "add architecture"
    UPDATE = "read the repositories"
    ADD_GROUP = "add group"
    ADD_USER = "add user"
    CHANGE_USER = "change user"
    SET_PASSWORD = "set password"  # noqa: S105 - an action, no secret
    ADD_MEMBER = "add member"
    ADD_KEYS = "add keys"
    INSTALL = "install"
    MARK = "mark"
    HOLD = "hold"
    SET_NAME = "set name"
    ENABLE = "enable"
    DISABLE = "disable"
    MASK = "mask"
    UNMASK = "unmask"


@dataclass(frozen=True)
class Wish:
    """What the target is to be."""

    #: its host name
    name: str
    #: it takes the place of the lost host; else it is one more like it
    as_itself: bool


@dataclass(frozen=True)
class Action:
    """One thing that is done on the target."""

    phase: Phase
    verb: Verb
    #: a path, a package, an account, a unit
    subject: str
    #: why, for people
    because: str
    #: a version, another path, "on" or "off", a group
    argument: str = ""

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.verb.value} {self.what}: {self.because}"

    @property
    def what(self) -> str:
        """The subject with its argument, for people."""
        return shown(self.subject) + (f" ({shown(self.argument)})" if self.argument else "")


@dataclass(frozen=True)
class LeftOut:
    """Something in which the target differs and will go on to."""

    subject: str
    because: str


@dataclass(frozen=True)
class RebuildPlan:
    """What is to be done on a target; nothing has been changed yet."""

    wish: Wish
    actions: tuple[Action, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    #: why it must not be done at all
    refusals: tuple[str, ...] = ()

    def of(self, phase: Phase) -> tuple[Action, ...]:
        """Return the actions of one phase, in their order."""
        return tuple(a for a in self.actions if a.phase is phase)

    @property
    def counts(self) -> str:
        """For people: ``repositories 2, packages 14``; ``nothing to do``."""
        counted = [(p, len(self.of(p))) for p in Phase]
        return ", ".join(f"{p.value} {n}" for p, n in counted if n) or "nothing to do"

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        parts = [f"**{self.counts}**"]
        for phase in Phase:
            lines = _listed(self.of(phase))
            if lines:
                parts.append("\n".join([f"### {phase.value.capitalize()}", "", *lines]))
        if self.left_out:
            parts.append("\n".join(["### Left as the target has it", "", *grouped(self.left_out)]))
        return "\n\n".join(parts)


def _listed(actions: Iterable[Action]) -> list[str]:
    """Return one line for all that is done in the same way for the same reason."""
    found: dict[tuple[Verb, str], list[str]] = defaultdict(list)
    for action in actions:
        found[action.verb, action.because].append(action.what)
    return [
        f"- {verb.value} {', '.join(what)}: {because}" for (verb, because), what in found.items()
    ]


def grouped(items: Iterable[LeftOut]) -> list[str]:
    """Return one line a reason, with what it is about."""
    found: dict[str, list[str]] = defaultdict(list)
    for item in items:
        found[item.because].append(shown(item.subject))
    lines = []
    for reason, subjects in found.items():
        more = f" and {len(subjects) - _NAMED} more" if len(subjects) > _NAMED else ""
        lines.append(f"- {reason}: {', '.join(subjects[:_NAMED])}{more}")
    return lines
