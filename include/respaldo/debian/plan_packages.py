"""Plan a rebuild's packages: the recorded versions where they can be had, else what can."""

from __future__ import annotations

from collections.abc import Iterator

from include.respaldo.debian.description import Description, Offer, Package, Target
from include.respaldo.debian.kept_back import package_kept_back
from include.respaldo.debian.rebuild import Action, LeftOut, Phase, Verb
from include.respaldo.debian.versions import compare_versions


def plan_architectures(lost: Description, now: Description) -> Iterator[Action]:
    """Yield the foreign architectures that packages need."""
    for name in lost.foreign_architectures:
        if name not in now.foreign_architectures:
            yield Action(
                Phase.REPOSITORIES, Verb.ADD_ARCHITECTURE, name, "the lost host had packages of it"
            )


def plan_packages(
    lost: Description, target: Target, *, repositories_change: bool
) -> Iterator[Action | LeftOut]:
    """Yield what makes the target's packages those of the lost host; none of its own goes.

    :param repositories_change: what can be had is not known yet.
    """
    now = target.now
    known = target.knows_packages and not repositories_change
    for package in lost.packages:
        here = now.package.get(package.name)
        kept = package_kept_back(package.name)
        if kept is not None:
            if here is None or here.version != package.version:
                yield LeftOut(f"{package.name} {package.version}", kept)
            continue
        offer = target.offers.get(package.name, Offer()) if known else None
        if here is None or compare_versions(here.version, package.version) < 0:
            yield _install(package, here, offer)
        elif here.version != package.version:
            yield LeftOut(
                f"{package.name} {here.version} (lost: {package.version})",
                "the target has it newer",
            )
        yield from _marks(package, here)


def _install(package: Package, here: Package | None, offer: Offer | None) -> Action | LeftOut:
    why = "it was asked for on the lost host" if package.asked_for else "another package needs it"
    if here is not None:
        why = f"the target has {here.version}"
    if offer is None:
        why += "; another version where this one cannot be had any more"
        return Action(Phase.PACKAGES, Verb.INSTALL, package.name, why, package.version)
    if package.version in offer.versions:
        return Action(Phase.PACKAGES, Verb.INSTALL, package.name, why, package.version)
    candidate = offer.candidate
    if candidate and (here is None or compare_versions(candidate, here.version) > 0):
        why += f"; {package.version} cannot be had any more"
        return Action(Phase.PACKAGES, Verb.INSTALL, package.name, why, candidate)
    if here is not None:
        return LeftOut(
            f"{package.name} {here.version} (lost: {package.version})",
            "no repository has it newer",
        )
    return LeftOut(f"{package.name} {package.version}", "no repository has it")


def _marks(package: Package, here: Package | None) -> Iterator[Action]:
    if here is None:
        return  # as it is installed
    if here.asked_for != package.asked_for:
        why = "asked for by a person" if package.asked_for else "only another package needs it"
        mark = "manual" if package.asked_for else "auto"
        yield Action(Phase.PACKAGES, Verb.MARK, package.name, why, mark)
    if here.held != package.held:
        why = "it was on hold" if package.held else "it was not on hold"
        mark = "hold" if package.held else "unhold"
        yield Action(Phase.PACKAGES, Verb.HOLD, package.name, why, mark)
