"""What a rebuild would do is decided without a host: every action has its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.respaldo.debian.description import (
    Conffile,
    Description,
    Group,
    Offer,
    Package,
    Standing,
    Target,
    Unit,
)
from include.respaldo.debian.plan_rebuild import compare_rebuilt, plan_rebuild
from include.respaldo.debian.rebuild import Phase, RebuildPlan, Verb, Wish
from tests.unit.debian.hosts import (
    AS_ITSELF,
    BARE,
    LOST,
    OFFERS,
    ONE_MORE,
    file,
    folder,
    link,
    target,
    user,
)


def actions(
    lost: Description = LOST, at: Target | None = None, wish: Wish = AS_ITSELF
) -> dict[tuple[Verb, str], str]:
    planned = plan_rebuild(lost, at or target(), wish)
    return {(a.verb, a.subject): a.argument for a in planned.actions}


def left_out(lost: Description, at: Target, wish: Wish = AS_ITSELF) -> dict[str, str]:
    return {item.subject: item.because for item in plan_rebuild(lost, at, wish).left_out}


def with_files(host: Description, *files) -> Description:
    return replace(host, files=tuple(sorted((*host.files, *files), key=lambda f: f.path)))


def test_a_bare_host_gets_all_that_the_lost_one_was() -> None:
    assert actions() == {
        (Verb.UPDATE, "apt"): "",
        (Verb.ADD_GROUP, "ana"): "1000",
        (Verb.ADD_GROUP, "shop"): "105",
        (Verb.ADD_USER, "ana"): "1000",
        (Verb.ADD_USER, "shop"): "105",
        (Verb.SET_PASSWORD, "ana"): "",
        (Verb.ADD_MEMBER, "ana"): "shop",
        (Verb.INSTALL, "shop"): "1.0",
        (Verb.INSTALL, "shop-common"): "2.0",
        (Verb.PUT, "/etc/shop.conf"): "",
        (Verb.PUT, "/etc/shop.key"): "",
        (Verb.SET_NAME, "web1"): "",
        (Verb.DISABLE, "tidy.timer"): "",
    }


def test_phases_come_in_the_order_in_which_each_needs_the_one_before() -> None:
    planned = plan_rebuild(LOST, target(), AS_ITSELF)
    order = list(Phase)
    numbers = [order.index(a.phase) for a in planned.actions]
    assert numbers == sorted(numbers)
    accounts = [a.verb for a in planned.of(Phase.ACCOUNTS)]
    assert accounts.index(Verb.ADD_USER) > max(
        i for i, verb in enumerate(accounts) if verb is Verb.ADD_GROUP
    )
    assert planned.counts == "repositories 1, accounts 6, packages 2, files 3, units 1"


def test_the_lost_host_itself_needs_nothing() -> None:
    assert plan_rebuild(LOST, target(LOST), AS_ITSELF) == RebuildPlan(AS_ITSELF)


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"release": "13"}, "debian 13"),
        ({"distribution": "ubuntu"}, "ubuntu 12"),
        ({"architecture": "arm64"}, "arm64"),
        ({"users": (user("bea", 1000),)}, "user 'ana' has id 1000, which is 'bea'"),
        ({"users": (user("ana", 1001),)}, "user 'ana' has id 1000; the target has it with id 1001"),
        ({"groups": (Group("bea", 1000),)}, "group 'ana' has id 1000, which is 'bea'"),
    ],
)
def test_a_target_that_cannot_become_it_is_refused_by_name(
    change: dict[str, object], words: str
) -> None:
    (refusal,) = plan_rebuild(LOST, target(replace(BARE, **change)), AS_ITSELF).refusals
    assert words in refusal


def test_an_account_of_the_system_keeps_its_id_and_files_go_by_its_name() -> None:
    now = replace(BARE, users=(user("shop", 300),), groups=(Group("shop", 301),))
    planned = plan_rebuild(LOST, target(now), AS_ITSELF)
    assert planned.refusals == ()
    assert "user shop (300, lost: 105)" in {item.subject for item in planned.left_out}
    there = with_files(now, file("/etc/shop.key", "key", 0o640, 0, 301))
    assert (Verb.PUT, "/etc/shop.key") not in actions(at=target(there))


def test_an_id_of_the_system_that_is_taken_gives_another_one() -> None:
    now = replace(BARE, users=(user("sshd", 105),))
    assert actions(at=target(now))[Verb.ADD_USER, "shop"] == ""


# -- packages -----------------------------------------------------------------------------------


def test_a_version_that_cannot_be_had_is_the_candidate_and_it_is_said() -> None:
    planned = plan_rebuild(LOST, target(), AS_ITSELF)
    (action,) = (a for a in planned.actions if a.subject == "shop-common")
    assert action.argument == "2.0"
    assert "1.0 cannot be had any more" in action.because


def test_what_no_repository_has_is_left_out_and_it_is_said() -> None:
    at = target(offers={})
    assert (Verb.INSTALL, "shop") not in actions(at=at)
    assert left_out(LOST, at)["shop 1.0"] == "no repository has it"


def test_while_repositories_change_the_recorded_version_is_hoped_for() -> None:
    lost = with_files(LOST, file("/etc/apt/sources.list", "own"))
    found = actions(lost, target(offers={}))
    assert found[Verb.PUT, "/etc/apt/sources.list"] == ""
    assert found[Verb.INSTALL, "shop"] == "1.0"
    assert (Verb.UPDATE, "apt") in found


@pytest.mark.parametrize(
    ("here", "expected"),
    [("0.9", {"shop": "1.0"}), ("1.0", {}), ("1.1", {})],
)
def test_an_older_version_is_raised_and_a_newer_one_stays(
    here: str, expected: dict[str, str]
) -> None:
    lost = replace(LOST, packages=(Package("shop", "1.0", True),))
    now = replace(BARE, packages=(Package("shop", here, True),))
    found = actions(lost, target(now))
    assert {s: v for (verb, s), v in found.items() if verb is Verb.INSTALL} == expected


def test_kernel_and_boot_loader_are_the_targets_own() -> None:
    names = ("linux-image-6.1", "grub-pc", "intel-microcode")
    lost = replace(LOST, packages=tuple(Package(n, "1") for n in names))
    at = target(offers={n: Offer("1", frozenset({"1"})) for n in names})
    assert not [a for a in plan_rebuild(lost, at, AS_ITSELF).actions if a.verb is Verb.INSTALL]
    assert "own" in left_out(lost, at)["grub-pc 1"]


def test_marks_and_holds_are_those_of_the_lost_host() -> None:
    lost = replace(LOST, packages=(Package("bash", "5.2", asked_for=True, held=True),))
    found = actions(lost, target())
    assert (found[Verb.MARK, "bash"], found[Verb.HOLD, "bash"]) == ("manual", "hold")


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/network/interfaces", "network"),
        ("/etc/netplan/01.yaml", "network"),
        ("/etc/resolv.conf", "network"),
        ("/etc/hosts", "network"),
        ("/etc/systemd/network/eth.network", "network"),
        ("/etc/ssh/sshd_config", "SSH"),
        ("/etc/ssh/sshd_config.d/port.conf", "SSH"),
        ("/etc/pam.d/sshd", "SSH"),
        ("/etc/hosts.deny", "SSH"),
        ("/etc/systemd/system/ssh.service.d/port.conf", "SSH"),
        ("/root/.ssh/authorized_keys", "SSH"),
        ("/etc/fstab", "shown"),
        ("/etc/default/grub", "boot"),
        ("/etc/machine-id", "identity"),
    ],
)
def test_what_is_the_targets_own_never_comes_from_the_lost_host(path: str, words: str) -> None:
    lost = replace(with_files(LOST, file(path, "lost")), roots=("/etc", "/root"))
    for now in (BARE, with_files(BARE, file(path, "own"))):
        assert (Verb.PUT, path) not in actions(lost, target(now))
        assert words in left_out(lost, target(now))[path]
    extra = target(with_files(BARE, file(path, "own")), before=frozenset())
    without = replace(LOST, roots=("/etc", "/root"))
    assert (Verb.REMOVE, path) not in actions(without, extra)


@pytest.mark.parametrize(
    "path",
    ["/etc/ssh/ssh_config", "/etc/ssh/ssh_known_hosts", "/etc/hosts.equiv", "/etc/sysctl.conf"],
)
def test_what_only_looks_alike_is_brought(path: str) -> None:
    assert (Verb.PUT, path) in actions(with_files(LOST, file(path, "lost")))


def test_links_that_the_system_makes_of_certificates_are_left_to_it() -> None:
    made = (
        link("/etc/ssl/certs/CA.pem", "/usr/share/ca-certificates/mozilla/CA.crt"),
        link("/etc/ssl/certs/0a1b2c3d.0", "CA.pem"),
    )
    own = link("/etc/ssl/certs/own.pem", "/etc/letsencrypt/live/own.pem")
    found = actions(with_files(LOST, *made, own))
    assert (Verb.PUT, own.path) in found
    assert not {(Verb.PUT, item.path) for item in made} & set(found)


def test_who_may_not_read_all_may_not_say_what_was_not_there() -> None:
    lost = replace(LOST, missing=(("passwords", "cat ended with 1: Permission denied"),))
    now = with_files(BARE, file("/etc/came-with-a-package"))
    assert (Verb.REMOVE, "/etc/came-with-a-package") in actions(at=target(now, before=frozenset()))
    found = actions(lost, target(now, before=frozenset()))
    assert (Verb.REMOVE, "/etc/came-with-a-package") not in found


def test_units_of_the_network_and_of_ssh_stay_as_they_are() -> None:
    wants = "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    lost = replace(
        with_files(LOST, link(wants, "/lib/systemd/system/systemd-networkd.service")),
        units=(Unit("systemd-networkd.service", "enabled"), Unit("ssh.service", "disabled")),
    )
    now = replace(
        BARE, units=(Unit("systemd-networkd.service", "disabled"), Unit("ssh.service", "enabled"))
    )
    assert not plan_rebuild(lost, target(now), AS_ITSELF).of(Phase.UNITS)
    assert wants in left_out(lost, target(now))


def test_a_packages_untouched_file_is_left_to_the_package_of_another_version() -> None:
    lost = with_files(LOST, file("/etc/zshrc", "old"))
    lost = replace(
        lost,
        packages=(*lost.packages, Package("zsh", "1")),
        conffiles=(*lost.conffiles, Conffile("/etc/zshrc", "zsh", Standing.INTACT)),
    )
    newer = with_files(
        replace(BARE, packages=(*BARE.packages, Package("zsh", "2"))), file("/etc/zshrc", "new")
    )
    same = replace(newer, packages=(*BARE.packages, Package("zsh", "1")))
    assert (Verb.PUT, "/etc/zshrc") not in actions(lost, target(newer))
    assert "version" in left_out(lost, target(newer))["/etc/zshrc"]
    assert (Verb.PUT, "/etc/zshrc") in actions(lost, target(same))


def test_what_came_with_a_package_goes_and_what_the_target_had_stays() -> None:
    now = with_files(
        replace(BARE, conffiles=(Conffile("/etc/shop.new", "shop", Standing.INTACT),)),
        file("/etc/own"),
        folder("/etc/sites"),
        link("/etc/sites/default", "x"),
        file("/etc/shop.motd"),
        file("/etc/shop.new"),
    )
    before = frozenset({"/etc", "/etc/own", "/etc/bash.bashrc"})
    planned = plan_rebuild(LOST, target(now, before=before), AS_ITSELF)
    removed = [a.subject for a in planned.actions if a.verb is Verb.REMOVE]
    # what the newer package needs stays; a folder goes after what is in it
    assert removed == ["/etc/shop.motd", "/etc/sites/default", "/etc/sites"]
    idle = plan_rebuild(LOST, target(now), AS_ITSELF)
    assert [a.subject for a in idle.actions if a.verb is Verb.REMOVE] == ["/etc/shop.motd"]


def test_host_keys_are_laid_ready_for_the_same_host_and_never_for_another() -> None:
    key = "/etc/ssh/ssh_host_rsa_key"
    lost = with_files(LOST, file(key, "lost"))
    ready = "/var/lib/respaldo/host-keys/ssh_host_rsa_key"
    bare = with_files(BARE, file(key, "own"))
    assert actions(lost, target(bare))[Verb.PUT, ready] == key
    assert (Verb.PUT, ready) not in actions(lost, target(bare), ONE_MORE)
    assert "one host alone" in left_out(lost, target(bare), ONE_MORE)[key]
    laid = with_files(bare, file(ready, "lost"))
    assert (Verb.PUT, ready) not in actions(lost, target(laid))
    assert "copy them" in left_out(lost, target(laid))[key]
    placed = with_files(BARE, file(key, "lost"))
    assert key not in left_out(lost, target(placed))


def test_keys_that_open_accounts_are_added_and_none_is_taken_away() -> None:
    lost = replace(LOST, authorized_keys=(("root", ("ssh-rsa AAAAx a", "ssh-rsa AAAAy b")),))
    one = replace(BARE, authorized_keys=(("root", ("ssh-rsa AAAAx other", "ssh-rsa AAAAz own")),))
    both = replace(one, authorized_keys=(("root", ("ssh-rsa AAAAx", "ssh-rsa AAAAy")),))
    assert (Verb.ADD_KEYS, "root") in actions(lost, target(one))
    assert (Verb.ADD_KEYS, "root") not in actions(lost, target(both))


def test_what_could_not_be_read_then_is_left_out_by_name() -> None:
    lost = with_files(LOST, file("/etc/secret", ""))
    assert "could not be read" in left_out(lost, target())["/etc/secret"]


# -- the report ---------------------------------------------------------------------------------


def test_the_report_names_what_was_not_done_and_what_only_the_target_has() -> None:
    now = with_files(
        replace(
            BARE,
            packages=(*BARE.packages, Package("vim", "9")),
            users=(*BARE.users, user("cloud", 1500)),
            kernel="6.2",
        ),
        file("/etc/own"),
    )
    at = target(now)
    found = compare_rebuilt(LOST, at, plan_rebuild(LOST, at, AS_ITSELF))
    reasons = {item.subject: item.because for item in found}
    assert "not done" in reasons["install shop"]
    for subject in ("package vim", "user cloud", "/etc/own"):
        assert "only the target has it" in reasons[subject]
    assert "kernel 6.2 (lost: )" in reasons


def test_offers_of_everything_and_a_host_that_is_done_leave_nothing_to_do() -> None:
    done = replace(LOST, machine_id="2222")
    assert plan_rebuild(LOST, target(done, offers=OFFERS), AS_ITSELF).actions == ()
    named = replace(done, name="web2")
    assert plan_rebuild(LOST, target(named), ONE_MORE).actions == ()
