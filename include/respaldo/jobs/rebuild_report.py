"""What a rebuild was asked for, what it did, and in what the result differs: in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from include.respaldo.debian.rebuild import LeftOut, RebuildPlan, grouped
from include.respaldo.model.units import duration_text


@dataclass(frozen=True)
class RebuildRequest:
    """Which host is wanted again, and where."""

    #: the lost host, as it is configured
    host: str
    #: the host that becomes it, as it is configured
    target: str
    #: the last backup begun before this is taken; None: the newest
    before: datetime | None = None
    #: "": the lost host's own: the target takes its place
    new_name: str = ""
    reason: str = ""
    #: the target's name once more: it is alive, and may be changed nevertheless
    confirmed: str = ""
    #: which backup was chosen; "": none yet
    backup_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it for the next task: the backup is chosen, the day has done its work."""
        return {**asdict(self), "before": None}


@dataclass(frozen=True)
class PlannedRebuild:
    """What a rebuild would do."""

    request: RebuildRequest
    lost: str
    plan: RebuildPlan

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        request = self.request
        as_what = (
            f"one more like {request.host}, named {self.plan.wish.name}"
            if not self.plan.wish.as_itself
            else f"{request.host}"
        )
        lines = [
            f"**{request.target} becomes {as_what}** as of backup {request.backup_id}",
            f"- {self.lost}",
        ]
        if request.reason:
            lines.append(f"- reason: {request.reason}")
        return "\n".join(lines) + f"\n\n{self.plan.text}"

    def to_json(self) -> dict[str, Any]:
        return {
            "host": self.request.host,
            "target": self.request.target,
            "name": self.plan.wish.name,
            "backup_id": self.request.backup_id,
            "actions": [
                [a.phase.value, a.verb.value, a.subject, a.argument, a.because]
                for a in self.plan.actions
            ],
            "left_out": [[item.subject, item.because] for item in self.plan.left_out],
        }


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild has done."""

    request: RebuildRequest
    #: phase -> how many actions were carried out
    done: dict[str, int]
    problems: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.request.target,
            "backup_id": self.request.backup_id,
            "done": self.done,
            "problems": list(self.problems),
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, request: RebuildRequest, d: dict[str, Any]) -> Rebuilt:
        return cls(request, dict(d["done"]), tuple(d["problems"]), d["seconds"])


@dataclass(frozen=True)
class Report:
    """In what a rebuilt host differs from the lost one, and why."""

    request: RebuildRequest
    now: str
    differences: tuple[LeftOut, ...]
    #: nothing is left that another rebuild would do
    is_complete: bool

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        request = self.request
        state = "is" if self.is_complete else "is **not yet**"
        lines = [
            f"**{request.target} {state} {request.new_name or request.host}** as of backup "
            f"{request.backup_id}",
            f"- {self.now}",
            f"- it differs from the lost host in {len(self.differences)} points:",
            *(f"  {line}" for line in grouped(self.differences)),
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.request.target,
            "backup_id": self.request.backup_id,
            "is_complete": self.is_complete,
            "now": self.now,
            "differences": [[d.subject, d.because] for d in self.differences],
        }


def text_of(rebuilt: Rebuilt, report: Report) -> str:
    """Return what was done and what came of it, for people, in Markdown."""
    done = ", ".join(f"{phase} {count}" for phase, count in rebuilt.done.items())
    lines = [report.text, f"- done in {duration_text(rebuilt.seconds)}: {done or 'nothing to do'}"]
    lines += [f"- problem: {problem}" for problem in rebuilt.problems]
    return "\n".join(lines)
