"""Plan a rebuild: from what the lost host was and what the target is, to actions with reasons.

Pure. A rebuild plans anew after each phase, on what the target is then; so an interrupted one goes
on, and one that is done has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from include.respaldo.debian.comparison import LINES_SHOWN
from include.respaldo.debian.description import Description, Target
from include.respaldo.debian.kept_back import unit_kept_back
from include.respaldo.debian.plan_accounts import plan_accounts, plan_keys, refuse_accounts
from include.respaldo.debian.plan_files import plan_files
from include.respaldo.debian.plan_packages import plan_architectures, plan_packages
from include.respaldo.debian.rebuild import Action, LeftOut, Phase, RebuildPlan, Verb, Wish

_STATES = {"enabled": Verb.ENABLE, "disabled": Verb.DISABLE, "masked": Verb.MASK}
_ORDER = {phase: number for number, phase in enumerate(Phase)}
#: within a phase, what is not in this order stays as it was planned
_VERBS = {Verb.ADD_GROUP: -2, Verb.ADD_USER: -1, Verb.UPDATE: 1, Verb.MARK: 1, Verb.HOLD: 2}


def plan_rebuild(lost: Description, target: Target, wish: Wish) -> RebuildPlan:
    """Return what makes the target the lost host, or one more like it; changes nothing."""
    now = target.now
    refusals = (*_refuse_system(lost, now), *refuse_accounts(lost, now))
    found: list[Action | LeftOut] = [*plan_architectures(lost, now)]
    found += plan_accounts(lost, now)
    found += plan_files(lost, target, wish)
    found += plan_keys(lost, now)
    changing = any(isinstance(f, Action) and f.phase is Phase.REPOSITORIES for f in found)
    found += plan_packages(lost, target, repositories_change=changing)
    installing = any(isinstance(f, Action) and f.verb is Verb.INSTALL for f in found)
    if changing or installing:
        why = "what can be had has to be known" if not changing else "they are to change"
        found.append(Action(Phase.REPOSITORIES, Verb.UPDATE, "apt", why))
    if now.name != wish.name:
        why = "the target takes the lost host's place" if wish.as_itself else "so it was wished"
        found.append(Action(Phase.FILES, Verb.SET_NAME, wish.name, f"it is {now.name!r}; {why}"))
    found += _plan_units(lost, now)
    found += (LeftOut(line, "the lost host was not asked") for line in _unasked(lost))
    actions = (f for f in found if isinstance(f, Action))
    return RebuildPlan(
        wish,
        tuple(sorted(actions, key=lambda a: (_ORDER[a.phase], _VERBS.get(a.verb, 0)))),
        tuple(f for f in found if isinstance(f, LeftOut)),
        refusals,
    )


def _refuse_system(lost: Description, now: Description) -> Iterator[str]:
    system = (lost.distribution, lost.release)
    if (now.distribution, now.release) != system:
        yield f"the lost host was {lost.title}; the target is {now.title}"
    elif now.architecture != lost.architecture:
        yield f"the lost host was {lost.architecture}; the target is {now.architecture}"


def _plan_units(lost: Description, now: Description) -> Iterator[Action | LeftOut]:
    for name, state in lost.unit.items():
        here = now.unit.get(name)
        if state == here or state not in _STATES:
            continue
        kept = unit_kept_back(name)
        if kept is not None:
            yield LeftOut(f"{name} ({state})", kept)
        elif here is None:
            yield LeftOut(f"{name} ({state})", "the target has no such unit")
        elif here == "masked" and state != "masked":
            yield Action(Phase.UNITS, Verb.UNMASK, name, f"it was {state} on the lost host")
        else:
            yield Action(Phase.UNITS, _STATES[state], name, f"it is {here} on the target")


def _unasked(lost: Description) -> Iterator[str]:
    needed = ("packages asked for", "packages on hold", "passwords", "conffiles", "units", "files")
    missing = dict(lost.missing)
    return (f"{part} ({missing[part]})" for part in needed if part in missing)


def compare_rebuilt(lost: Description, target: Target, plan: RebuildPlan) -> tuple[LeftOut, ...]:
    """Return in what a rebuilt host differs from the lost one, and why.

    :param plan: of what the target is now: what it still would do was not done.
    """
    now = target.now
    found = [
        LeftOut(f"{a.verb.value} {a.subject}", "not done: a rebuild again tries it")
        for a in plan.actions
        if a.verb is not Verb.UPDATE
    ]
    found += plan.left_out
    if lost.kernel != now.kernel:
        found.append(LeftOut(f"kernel {now.kernel} (lost: {lost.kernel})", "the target's own"))
    own = "only the target has it: nothing of its own is taken away"
    found += (LeftOut(f"package {n}", own) for n in now.package if n not in lost.package)
    found += (LeftOut(f"user {n}", own) for n in now.user if n not in lost.user)
    found += (LeftOut(f"group {n}", own) for n in now.group if n not in lost.group)
    found += (
        LeftOut(f"unit {n} (enabled)", own)
        for n, state in now.unit.items()
        if state == "enabled" and n not in lost.unit
    )
    extra = [f.path for f in now.files if f.path not in lost.file and _counts(f.path, lost)]
    found += (LeftOut(path, own) for path in extra[:LINES_SHOWN])
    return tuple(found)


def _counts(path: str, lost: Description) -> bool:
    return any(path.startswith(root.rstrip("/") + "/") for root in lost.roots)
