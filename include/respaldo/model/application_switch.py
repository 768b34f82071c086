"""Exchanging the running version of an application and one beside it: what is wanted, and how far.

A switch is written down beside the application before anything moves; what each folder *is* (its
inode) then tells at any time how far it has got, so that it can be finished after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from include.respaldo.model.backup import Category, Source
from include.respaldo.model.file_tree import shown
from include.respaldo.model.units import size_text


class Step(StrEnum):
    """What a switch has to do next."""

    #: the running one and the chosen one exchange their names
    EXCHANGE = "exchange"
    #: the old one, by now under the chosen one's name, gets the name it keeps
    SET_ASIDE = "set aside"
    #: nothing runs: the chosen one takes the place
    PUT_IN_PLACE = "put in place"
    DONE = "done"


@dataclass(frozen=True)
class Switch:
    """Which folder takes which name: absolute paths, and what stands there at the beginning."""

    running: str
    chosen: str
    #: what the old one is called afterwards
    replaced: str
    #: inodes of the running one (0: it is lost) and of the chosen one
    old: int
    new: int

    def next_step(self, there: Mapping[str, int]) -> Step | None:
        """Return what is to be done next; None: what is there is not what this has left.

        :param there: path -> inode, of what exists.
        """
        running, chosen, replaced = self.running, self.chosen, self.replaced
        state = (there.get(running, 0), there.get(chosen, 0), there.get(replaced, 0))
        if not self.old:
            lost = {(0, self.new, 0): Step.PUT_IN_PLACE, (self.new, 0, 0): Step.DONE}
            return lost.get(state)
        return {
            (self.old, self.new, 0): Step.EXCHANGE,
            (self.new, self.old, 0): Step.SET_ASIDE,
            (0, self.new, self.old): Step.PUT_IN_PLACE,
            (self.new, 0, self.old): Step.DONE,
        }.get(state)

    def to_bytes(self) -> bytes:
        """Return it as it is written down; an odd byte of a name stays."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Switch:
        """:raises ValueError: it is none."""
        try:
            found = cls(**json.loads(data))
        except TypeError as error:
            raise ValueError(str(error)) from None
        if any(
            not isinstance(v, type(d)) for v, d in zip(asdict(found).values(), _KINDS, strict=True)
        ):
            raise ValueError("a field is of another kind")
        return found


_KINDS = ("", "", "", 0, 0)


@dataclass(frozen=True)
class SwitchRequest:
    """Which application, and what is to take its place."""

    application: Source
    #: a folder beside the running one: its name, or its path
    chosen: str
    #: the running one is lost: nothing is replaced
    lost: bool = False
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> SwitchRequest:
        source = d["application"]
        known = Source(Category(source["category"]), source["server"], source["name"])
        return cls(**{**d, "application": known})


@dataclass(frozen=True)
class Version:
    """One version of an application, as it lies there."""

    path: str
    #: as it announces it; "": it does not, or could not be asked
    version: str = ""
    #: bytes of its files; None: not known
    size: int | None = None

    @property
    def text(self) -> str:
        """For people."""
        size = size_text(self.size) if self.size is not None else "size not known"
        return f"`{shown(self.path)}` ({shown(self.version) or 'version not known'}, {size})"


@dataclass(frozen=True)
class SwitchPlan:
    """What a switch would do; it changes nothing."""

    request: SwitchRequest
    switch: Switch
    #: "this machine", or the host
    place: str
    #: None: there is none
    running: Version | None
    chosen: Version
    #: other versions beside it, that stay as they are
    others: tuple[str, ...] = ()
    #: an earlier attempt was cut off; this one finishes it
    goes_on: bool = False
    #: what a person must know before
    marks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        lines = [
            f"**{self.request.application}** on {shown(self.place)}: exchange of what runs",
            f"- running: {self.running.text if self.running else 'nothing, it is lost'}",
            f"- takes its place: {self.chosen.text}",
        ]
        if self.running is not None:
            lines.append(f"- the old one stays as `{shown(self.switch.replaced)}`")
        if self.goes_on:
            lines.append("- an earlier attempt was cut off: this finishes it")
        lines += [f"- stays as it is: `{shown(path)}`" for path in self.others]
        lines += [f"- **note**: {shown(mark)}" for mark in self.marks]
        if self.request.reason:
            lines.append(f"- reason: {shown(self.request.reason)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> SwitchPlan:
        return cls(**{
            **d,
            "request": SwitchRequest.from_json(d["request"]),
            "switch": Switch(**d["switch"]),
            "running": Version(**d["running"]) if d["running"] else None,
            "chosen": Version(**d["chosen"]),
            "others": tuple(d["others"]),
            "marks": tuple(d["marks"]),
        })


@dataclass(frozen=True)
class Switched:
    """What a switch has done."""

    plan: SwitchPlan
    #: what people should know
    notes: tuple[str, ...] = ()
    #: who allowed it; "": nobody was asked
    approved_by: str = ""

    @property
    def text(self) -> str:
        """For people, in Markdown; ends with what is theirs to do."""
        plan, switch = self.plan, self.plan.switch
        version = f" {shown(plan.chosen.version)}" if plan.chosen.version else ""
        lines = [
            f"**{plan.request.application}{version} is in its place** on {shown(plan.place)}",
            f"- `{shown(switch.running)}` is what was `{shown(switch.chosen)}`",
        ]
        if switch.old:
            lines += [
                f"- the old one is `{shown(switch.replaced)}`",
                "- the next backup finds much changed: it may be marked suspicious until somebody "
                "acknowledges it",
            ]
        lines += [f"- **note**: {shown(note)}" for note in self.notes]
        if self.approved_by:
            lines.append(f"- approved by {shown(self.approved_by)}")
        if plan.request.reason:
            lines.append(f"- reason: {shown(plan.request.reason)}")
        lines.append(
            "- **nothing was restarted**: services that run of it use the old one until they are "
            "(`systemctl restart …`)"
        )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "text": self.text}
