"""What retention removed, or would: for people and for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from include.respaldo.model.backup import Category
from include.respaldo.model.retention import Backup, RetentionPlan
from include.respaldo.model.units import size_text


@dataclass(frozen=True)
class Tended:
    """What became of the repository of a category of trees; a dry run: what would."""

    category: Category
    #: snapshots forgotten
    forgotten: int
    #: objects, and their bytes, that its removal freed in the primary
    pruned: int = 0
    freed: int = 0
    #: objects that went in the replica
    removed_in_replica: int = 0
    #: for people: why it was not done, or not wholly
    note: str = ""

    @property
    def text(self) -> str:
        """One line for people."""
        done = [f"{self.forgotten:,} snapshots forgotten"]
        if self.pruned:
            done.append(f"{self.pruned:,} objects ({size_text(self.freed)}) gone in the primary")
        if self.removed_in_replica:
            done.append(f"{self.removed_in_replica:,} in the replica")
        said = f"; {self.note}" if self.note else ""
        return f"repository of {self.category.value}: {', '.join(done)}{said}"

    @property
    def says_something(self) -> bool:
        return bool(self.forgotten or self.pruned or self.removed_in_replica or self.note)


@dataclass(frozen=True)
class RetentionReport:
    """What became of each source."""

    dry_run: bool
    plans: tuple[RetentionPlan, ...]
    #: coverage records removed
    coverage: int = 0
    #: source -> why nothing of it goes
    held_back: dict[str, str] = field(default_factory=dict)
    #: sentences for people
    notes: tuple[str, ...] = ()
    #: of trees
    repositories: tuple[Tended, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes that go in each region."""
        return sum(plan.freed for plan in self.plans) + sum(r.freed for r in self.repositories)

    @property
    def headline(self) -> str:
        """One line for people."""
        backups = sum(len(plan.removed) for plan in self.plans)
        segments = sum(plan.segments for plan in self.plans)
        if not backups and not segments and not self.coverage:
            return f"nothing {'would be' if self.dry_run else 'was'} removed: all of it is needed"
        coverage = f" and {self.coverage:,} coverage records" if self.coverage else ""
        return (
            f"{'would remove' if self.dry_run else 'removed'} {backups:,} backups, "
            f"{segments:,} segments{coverage}: {size_text(self.freed)} in each region"
        )

    @property
    def text(self) -> str:
        """For people, in Markdown: what went and why; a dry run also says what stays and why."""
        lines = [f"**{self.headline}**"]
        lines += [f"- nothing of {name} goes: {why}" for name, why in self.held_back.items()]
        lines += [
            f"- **{plan.source} is suspicious**: nothing from before {plan.waiting[0]} goes until "
            "somebody has looked at it (`acknowledge`)"
            for plan in self.plans
            if plan.waiting
        ]
        lines += [f"- {done.text}" for done in self.repositories if done.says_something]
        lines += [f"- note: {note}" for note in self.notes]
        for plan in self.plans:
            if self.dry_run or plan.removes_anything:
                lines += ["", *self._of_source(plan)]
        return "\n".join(lines)

    def _of_source(self, plan: RetentionPlan) -> Iterator[str]:
        total = len(plan.kept) + len(plan.removed)
        what = "backup" if plan.source.category.is_tree else "full backup"
        yield (
            f"{plan.source}: {len(plan.kept)} of {total} {what}s stay, "
            f"{size_text(plan.freed)} {'would go' if self.dry_run else 'gone'}"
        )
        for stays, backup, reason in _verdicts(plan):
            if self.dry_run or not stays:
                size, what = size_text(backup.stored_size), "stays" if stays else "goes "
                yield f"    {what} {backup.backup_id}  {size:>8}  {reason}"
        for log in plan.logs:
            if self.dry_run or log.goes:
                stay = len(log.chain.segments) - len(log.removed)
                gone = size_text(sum(s.size for s in log.removed))
                yield (
                    f"    query log begun {log.chain.begin.chain_id}: {len(log.removed)} segments "
                    f"({gone}) go, {stay} stay: {log.reason}"
                )

    def to_json(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "freed": self.freed,
            "coverage": self.coverage,
            "held_back": self.held_back,
            "notes": list(self.notes),
            "repositories": [
                {**asdict(done), "category": done.category.value} for done in self.repositories
            ],
            "sources": [
                {
                    "source": str(plan.source),
                    "category": plan.source.category.value,
                    "freed": plan.freed,
                    "unacknowledged": list(plan.waiting),
                    "backups": [
                        {
                            "backup_id": backup.backup_id,
                            "size": backup.stored_size,
                            "stays": stays,
                            "reason": reason,
                        }
                        for stays, backup, reason in _verdicts(plan)
                    ],
                    "query_logs": [
                        {
                            "chain_id": log.chain.begin.chain_id,
                            "segments": len(log.chain.segments),
                            "removed": len(log.removed),
                            "size_removed": sum(s.size for s in log.removed),
                            "goes_whole": log.whole,
                            "reason": log.reason,
                        }
                        for log in plan.logs
                    ],
                }
                for plan in self.plans
            ],
        }


def _verdicts(plan: RetentionPlan) -> Iterator[tuple[bool, Backup, str]]:
    """Yield each backup, newest first: does it stay, and why."""
    yield from ((True, verdict.backup, verdict.reason) for verdict in plan.kept)
    yield from ((False, backup, plan.why_removed) for backup in plan.removed)
