"""What the geo-redundancy check found and did: for people and for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from include.respaldo.errors import RespaldoError, SomeFailed, SourceError
from include.respaldo.jobs.survey_vaults import Fault, Survey
from include.respaldo.model import keys
from include.respaldo.model.backup import Category
from include.respaldo.model.redundancy import NAMES, group_of, stage_of
from include.respaldo.model.units import duration_text, size_text

#: lines about single objects; the rest is counted
_SHOWN = 50


@dataclass(frozen=True)
class RedundancyReport:
    """What became of every object that the regions do not have alike."""

    dry_run: bool
    survey: Survey
    seconds: float
    healed: tuple[Fault, ...] = ()
    failed: dict[Fault, RespaldoError] = field(default_factory=dict)
    #: sentences for people
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> dict[str, BaseException]:
        """Return what no region could help with, or could not be healed: key -> why."""
        hopeless = {key: SourceError(why) for key, why in self.survey.hopeless.items()}
        return {**hopeless, **{f.key: error for f, error in self.failed.items()}}

    @property
    def ok(self) -> bool:
        """Whether both regions have everything alike now (a dry run: or could have)."""
        return not self.failures

    def raise_for_failures(self) -> None:
        """:raises SomeFailed: something could not be healed; names the first few."""
        failures = self.failures
        if failures:
            raise SomeFailed("be healed", dict(list(failures.items())[:_SHOWN]))

    @property
    def headline(self) -> str:
        """One line for people."""
        found = self.survey
        both = f"{found.objects:,} objects, {size_text(found.size)}"
        parts = []
        healed = found.faults if self.dry_run else self.healed
        if healed:
            did = "would be healed" if self.dry_run else "were healed"
            parts.append(
                f"{len(healed):,} objects ({size_text(sum(f.size for f in healed))}) {did}"
            )
        if not self.ok:
            parts.append(f"{len(self.failures):,} objects could not be healed")
        if not parts:
            return f"both regions hold the same: {both}"
        return f"{' and '.join(parts)}; both regions have {both}"

    @property
    def text(self) -> str:
        """For people, in Markdown."""
        found = self.survey
        lines = [f"**{self.headline}**", ""]
        verb = "would be copied" if self.dry_run else "copied"
        for what, faults in _grouped(found.faults if self.dry_run else self.healed):
            size = size_text(sum(fault.size for fault in faults))
            source = "primary" if faults[0].region == "replica" else "replica"
            lines.append(f"- {what}: {len(faults):,} ({size}) {verb} from the {source}")
        for key, error in list(self.failures.items())[:_SHOWN]:
            reason = error.message if isinstance(error, RespaldoError) else str(error)
            lines.append(f"- **not healed** {_place(key)}, `{key}`: {reason}")
        if len(self.failures) > _SHOWN:
            lines.append(f"- … and {len(self.failures) - _SHOWN:,} more")
        lines += [f"- note: {note}" for note in self.notes]
        if found.going:
            lines.append(f"- {found.going:,} objects are left to retention, which removes them")
        if found.under_way:
            lines.append(f"- {found.under_way:,} objects are too young: they may be under way")
        if found.by_size:
            lines.append(
                f"- {found.by_size:,} objects of repositories were compared by their size: the "
                "stores keep no digests of them that can be compared"
            )
        lines.append(f"- compared in {duration_text(self.seconds)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        found = self.survey
        done = found.faults if self.dry_run else self.healed
        return {
            "dry_run": self.dry_run,
            "ok": self.ok,
            "objects": found.objects,
            "size": found.size,
            "compared_by_size": found.by_size,
            "under_way": found.under_way,
            "left_to_retention": found.going,
            "seconds": round(self.seconds, 1),
            "would_heal" if self.dry_run else "healed": [
                {
                    "key": fault.key,
                    "region": fault.region,
                    "what": "missing" if fault.missing else "damaged",
                    "size": fault.size,
                }
                for fault in done
            ],
            "not_healed": {key: str(error) for key, error in self.failures.items()},
            "notes": list(self.notes),
        }


def _grouped(faults: Iterable[Fault]) -> Iterator[tuple[str, list[Fault]]]:
    """Yield what lacks, or was damaged, where, in words; and the faults that these words mean."""
    found: dict[str, list[Fault]] = {}
    for fault in faults:
        state = "missing" if fault.missing else "damaged"
        words = f"{_place(fault.key)}, {NAMES[fault.stage]} {state} in the {fault.region}"
        found.setdefault(words, []).append(fault)
    yield from found.items()


def _place(key: str) -> str:
    """Return what people call the thing that an object belongs to."""
    kind, *parts = group_of(key).rstrip("/").split("/")
    names = [keys.decode_name(part) for part in parts]
    if kind == "backups" and len(parts) == 4:
        return f"{names[1]}/{names[2]} ({_category(parts[0])})"
    if kind == "query_log" and len(parts) == 4:
        return f"query log of {names[1]}/{names[2]}"
    if kind == "coverage":
        return f"coverage of {names[0]}"
    if kind == "restic":
        return f"repository of {_category(parts[0])}"
    stage = stage_of(key)
    return NAMES[stage] if stage is not None else kind


def _category(text: str) -> str:
    return text.replace("_", " ") if text in set(Category) else text
