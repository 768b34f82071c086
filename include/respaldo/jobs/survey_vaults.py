"""Find what the two regions do not have alike, and what is to be done about each object.

Nothing is downloaded but manifests, sealed JSON that differs, and objects on which the stores'
own records contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from include.respaldo.errors import KeyNotFound
from include.respaldo.jobs.compare_vaults import (
    Judgement,
    Likeness,
    Pair,
    judge,
    likeness,
    side_by_side,
)
from include.respaldo.jobs.going import Going
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest
from include.respaldo.model.redundancy import (
    Stage,
    group_of,
    is_repository,
    promised_digest,
    stage_of,
)

if TYPE_CHECKING:
    from include.respaldo.jobs.deployment import Deployment

#: whether nothing is missing in the primary's repository of a category
RepositoryCheck = Callable[[Category], bool]


@dataclass(frozen=True)
class Fault:
    """One object that a region lacks, or has damaged."""

    key: str
    #: the one that lags
    region: str
    #: it is not there at all; else its bytes are not those that were promised
    missing: bool
    #: bytes to copy
    size: int
    #: "": what the other region has is read and its seal is checked
    sha256: str = ""
    #: further prefix of what must be whole there before
    needs: str = ""

    @property
    def stage(self) -> Stage:
        stage = stage_of(self.key)
        assert stage is not None
        return stage


@dataclass
class Survey:
    """What was compared, and what came of it."""

    #: objects that are alike, or should be
    objects: int = 0
    #: bytes in one region
    size: int = 0
    #: of the objects: those of which the stores keep nothing to compare but the size
    by_size: int = 0
    #: objects that are being written just now, or that wait for a manifest
    under_way: int = 0
    #: objects of one region that retention has removed in the other, or is about to
    going: int = 0
    faults: list[Fault] = field(default_factory=list)
    #: key -> why no region can help
    hopeless: dict[str, str] = field(default_factory=dict)


def survey_vaults(
    deployment: Deployment, settled: datetime, primary_is_whole: RepositoryCheck
) -> Survey:
    """Return what differs between the regions.

    :param settled: what was written later may still be under way.
    :param primary_is_whole: asked where only the replica has objects of a repository.
    :raises VaultUnreachable: a region does not answer: nothing can be said then.
    """
    surveyor = _Surveyor(deployment, settled, primary_is_whole)
    surveyor.backups()
    surveyor.query_logs()
    surveyor.coverage()
    for category in Category:
        if category.is_tree:
            surveyor.repository(category)
    return surveyor.found


class _Surveyor:
    def __init__(
        self, deployment: Deployment, settled: datetime, primary_is_whole: RepositoryCheck
    ) -> None:
        self.found = Survey()
        self._vaults = deployment.vaults
        self._progress = deployment.progress
        self._settled = settled
        self._primary_is_whole = primary_is_whole
        self._going = Going(deployment)
        #: category -> snapshot -> key of the manifest that needs it
        self._snapshots: dict[Category, dict[str, str]] = {}

    # -- the parts of a vault -----------------------------------------------------------------

    def backups(self) -> None:
        pairs = side_by_side(self._vaults, "backups/")
        for _, group in groupby(pairs, key=lambda pair: group_of(pair.key)):
            self._backup(list(group))

    def _backup(self, pairs: list[Pair]) -> None:
        parsed = keys.parse_backup_key(pairs[0].key)
        if parsed is None:
            return
        source, backup_id, _ = parsed
        by_name = {pair.key.rpartition("/")[2]: pair for pair in pairs}
        seal = by_name.get(keys.MANIFEST)
        lacking = [pair for pair in pairs if pair.primary is None or pair.replica is None]
        if seal is None or any(pair.one.modified_at > self._settled for pair in lacking):
            # all of a backup or nothing: no manifest goes before a file that is left
            self.found.under_way += len(pairs)
            return
        manifest = self._manifest(seal)
        if manifest is None:
            return
        category = source.category
        needs = ""
        if manifest.tree is not None:
            if not (lacking and self._going.backup(source, backup_id)):
                self._snapshots.setdefault(category, {})[manifest.tree.snapshot] = seal.key
            needs = keys.repository_prefix(category)
        for file in manifest.files:
            pair = by_name.get(file.name)
            if pair is not None:
                self._compare(pair, file.sha256, size=file.size)
            elif not self._going.backup(source, backup_id):
                key = keys.backup_prefix(source, backup_id) + file.name
                self.found.hopeless[key] = "neither region has it, and the manifest names it"
        self._compare(seal, needs=needs)
        if keys.ACKNOWLEDGED in by_name:
            self._compare(by_name[keys.ACKNOWLEDGED])

    def _manifest(self, seal: Pair) -> Manifest | None:
        """Return what whichever region has it whole says."""
        reasons: list[str] = []
        for vault, stored in (
            (self._vaults.primary, seal.primary),
            (self._vaults.replica, seal.replica),
        ):
            if stored is None:
                continue
            try:
                return Manifest.from_bytes(vault.read(seal.key))
            except KeyNotFound:
                self.found.under_way += 1  # retention has removed it meanwhile
                return None
            except ValueError as error:
                reasons.append(f"{vault.region}: {error}")
        self.found.hopeless[seal.key] = "no region has it whole: " + "; ".join(reasons)
        return None

    def query_logs(self) -> None:
        pairs = side_by_side(self._vaults, "query_log/")
        for prefix, group in groupby(pairs, key=lambda pair: group_of(pair.key)):
            begun = False
            for pair in group:
                stage = stage_of(pair.key)
                begun |= stage is Stage.CHAIN
                if stage is not None:
                    self._compare(pair, promised_digest(pair.key))
            if not begun and stage_of(prefix + "chain.json") is not None:
                self.found.hopeless[prefix + "chain.json"] = (
                    "neither region has it: this query log cannot be used"
                )

    def coverage(self) -> None:
        pairs = side_by_side(self._vaults, "coverage/")
        for _, group in groupby(pairs, key=lambda pair: group_of(pair.key)):
            records = [pair for pair in group if stage_of(pair.key) is not None]
            self._going.coverage(pair.key for pair in records)
            for pair in records:
                self._compare(pair)

    def repository(self, category: Category) -> None:
        prefix = keys.repository_prefix(category)
        only_replica: list[Pair] = []
        #: of the primary, of the replica alone
        there: dict[bool, set[str]] = {True: set(), False: set()}
        for pair in side_by_side(self._vaults, prefix):
            stage = stage_of(pair.key)
            if stage is None:
                continue
            if stage is Stage.SNAPSHOT:
                there[pair.primary is not None].add(promised_digest(pair.key))
            if pair.primary is None:
                only_replica.append(pair)
            else:
                self._compare(pair, promised_digest(pair.key))
        needed = self._snapshots.get(category, {})
        for snapshot in needed.keys() - there[True] - there[False]:
            if self._vaults.find(needed[snapshot]) is not None:
                self.found.hopeless[needed[snapshot]] = (
                    f"its snapshot {snapshot[:8]} is in the repository of neither region"
                )
        if only_replica:
            self._only_in_replica(category, only_replica, lost=needed.keys() - there[True])

    def _only_in_replica(
        self, category: Category, pairs: list[Pair], lost: Collection[str]
    ) -> None:
        """Retention removes in the primary first: what it left in the replica is no fault."""
        if not lost and self._primary_is_whole(category):
            self.found.going += len(pairs)
            return
        for pair in pairs:
            self._compare(pair, promised_digest(pair.key))

    # -- one object ---------------------------------------------------------------------------

    def _compare(
        self, pair: Pair, sha256: str = "", *, size: int | None = None, needs: str = ""
    ) -> None:
        self._progress.advance(self.found.objects, None, "objects")
        if pair.primary is None or pair.replica is None:
            self._missing(pair, sha256, size=size, needs=needs)
            return
        self.found.objects += 1
        self.found.size += pair.one.size
        alike = likeness(pair.primary, pair.replica)
        if alike is Likeness.SAME:
            if size is not None and pair.one.size != size:
                self._no_hope(pair, f"it has {pair.one.size} bytes in both regions, not {size}")
            return
        if alike is Likeness.SAME_SIZE and is_repository(pair.key) and sha256:
            self.found.by_size += 1
            return
        try:
            judgement = judge(self._vaults, pair, sha256, size=size)
        except KeyNotFound:
            self.found.under_way += 1
            return
        if judgement is None:
            self.found.by_size += 1
        else:
            self._judged(pair, judgement, sha256, needs)

    def _judged(self, pair: Pair, judgement: Judgement, sha256: str, needs: str) -> None:
        sides = judgement.primary, judgement.replica
        if judgement.alike and False not in sides:
            return
        if sides in {(True, False), (False, True)}:
            if self._going.has(pair.key):
                self.found.going += 1
                return
            vault = self._vaults.replica if sides[0] else self._vaults.primary
            good = pair.primary if sides[0] else pair.replica
            assert good is not None
            self.found.faults.append(Fault(pair.key, vault.region, False, good.size, sha256, needs))
        elif sides == (False, False):
            self._no_hope(pair, "neither region has it whole: use another backup")
        else:
            why = "both are whole in themselves" if sides[0] else "nothing says which one is right"
            self._no_hope(pair, f"the regions hold different bytes, and {why}")

    def _missing(self, pair: Pair, sha256: str, *, size: int | None, needs: str) -> None:
        if self._going.has(pair.key):
            self.found.going += 1
        elif pair.one.modified_at > self._settled:
            self.found.under_way += 1
        elif size is not None and pair.one.size != size:
            self._no_hope(pair, f"the only copy has {pair.one.size} bytes, not {size}")
        else:
            lags = self._vaults.primary if pair.primary is None else self._vaults.replica
            self.found.faults.append(
                Fault(pair.key, lags.region, True, pair.one.size, sha256, needs)
            )

    def _no_hope(self, pair: Pair, why: str) -> None:
        if self._going.has(pair.key):
            self.found.going += 1
        else:
            self.found.hopeless[pair.key] = why
