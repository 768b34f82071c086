"""A host is lost; a bare one becomes it, and says in what it differs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from embedded.host import EmbeddedHostUnavailable, Host
from embedded.installation import Installation
from embedded.postgres import PostgresServer
from include.respaldo.config.trees import HostSource
from include.respaldo.connections import from_environment
from include.respaldo.debian.asking import ask
from include.respaldo.debian.description import Description
from include.respaldo.debian.rebuild import Action
from include.respaldo.errors import Busy, RestoreRefused
from include.respaldo.jobs import rebuild_server
from include.respaldo.jobs.deployment import Deployment, Silence
from include.respaldo.jobs.describe_host import describe_host
from include.respaldo.jobs.rebuild_report import RebuildRequest, text_of
from include.respaldo.jobs.rebuild_server import compare, plan, rebuild
from include.respaldo.jobs.take_backup import plan_batches, take_backup
from include.respaldo.model.backup import Category, backup_id
from include.respaldo.ssh.host import SshHost
from tests.hosts.vendor_packages import REPOSITORY, SOURCE, build_repository

SECRET = "TOP-SECRET-OF-A-KEY"
#: openssl passwd -6 -salt x secret
HASH = "$6$x$LZCr3rPnNQVUUmSA4wzkvhTV4nVHpGdpDHNf4RnTjS0vkPVBkrbyhtpUMFxU/GGP6wFVr/nLGkjfKyWlfZKTk1"
VERSIONS = {"shop": ["1.0"], "shop-common": ["1.0"], "shop-tools": ["1.0"]}
LATER = {"shop": ["1.0", "1.1"], "shop-common": ["1.0"], "shop-tools": ["2.0"]}


class Steps(Silence):
    """What was said, to be looked through for secrets."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def step(self, message: str) -> None:
        self.said.append(message)


def write(host: Host, path: str, text: str, mode: int = 0o644, owner: str = "root:root") -> None:
    file = host.root / path.removeprefix("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    host.run(["chown", owner, path])


def bare(folder: Path, name: str) -> Host:
    """A fresh host with an identity of its own, and the vendor's repository in reach."""
    host = Host(folder / name, name)
    host.create()
    (host.root / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")
    (host.root / "etc/apt/sources.list").write_text("")
    return host


def furnish(host: Host, scratch: Path) -> None:
    """Make it what a vendor's host is after some years."""
    build_repository(scratch, host.root, VERSIONS)
    (host.root / "etc/apt/sources.list.d/vendor.list").write_text(SOURCE)
    write(host, "/usr/share/keyrings/vendor.gpg", "the vendor's key\n")
    host.run(["apt-get", "-q", "update"])
    host.run(["groupadd", "--gid", "4000", "staff2"])
    host.run(["useradd", "-m", "-u", "4321", "-g", "staff2", "-G", "adm", "-s", "/bin/sh", "ana"])
    host.run(["chpasswd", "-e"], input=f"ana:{HASH}\n")
    host.run(["useradd", "--system", "--no-create-home", "robot"])
    host.run(["apt-get", "-qy", "install", "shop", "shop-tools"])
    host.run(["apt-mark", "hold", "shop-tools"])
    write(host, "/home/ana/.ssh/authorized_keys", "ssh-ed25519 AAAAC3NzaKey ana@desk\n", 0o600)
    write(host, "/etc/shop/shop.conf", "port = 8080\n")
    (host.root / "etc/shop/motd.conf").unlink()
    (host.root / "etc/shop/sites/default").unlink()
    write(host, "/etc/shop/ssl/shop.key", SECRET, 0o640, "root:shop")
    write(host, "/etc/shop/name", "I am web1, at your service\n")
    write(host, "/etc/ssl/certs/shop.pem", "CERTIFICATE\n")
    write(host, "/etc/cron.d/shop", "0 3 * * * ana /bin/true\n")
    write(host, "/var/spool/cron/crontabs/ana", "0 4 * * * /bin/true\n", 0o600, "ana:root")
    write(host, "/etc/sysctl.d/50-shop.conf", "vm.swappiness = 10\n")
    write(host, "/etc/systemd/system/till.service", "[Install]\nWantedBy=multi-user.target\n")
    write(host, "/etc/systemd/system/shop.service.d/limits.conf", "[Service]\nNice=5\n")
    host.run(["systemctl", "-q", "enable", "till.service", "shop-report.timer"])
    host.run(["systemctl", "-q", "disable", "e2scrub_reap.service"])
    host.run(["systemctl", "-q", "mask", "fstrim.timer"])
    write(host, "/etc/network/interfaces", "auto eth0\n")
    write(host, "/etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n")
    write(host, "/etc/ssh/sshd_config", "Port 2222\n")
    write(host, "/usr/local/bin/close-till", "#!/bin/sh\n", 0o755, "ana:staff2")
    (host.root / "etc/odd\nname \udcff").write_text("odd")


class Lost:
    """An installation whose host web1 was backed up and lost; web2 is bare."""

    def __init__(self, folder: Path, hosts: dict[str, Host], postgres: PostgresServer) -> None:
        self.folder, self.hosts, self.steps = folder, hosts, Steps()
        source = {"host": "web1", "include": ["/usr/local/bin"]}
        self.installation = Installation(
            folder / "installation",
            postgres=postgres,
            settings={"server_configuration": [source]},
            hosts=hosts,
        )

    def deployment(self) -> Deployment:
        return self.installation.deployment(self.steps)

    def back_up(self) -> str:
        deployment = self.deployment()
        run = backup_id(deployment.clock.now())
        take_backup(deployment, plan_batches(deployment, Category.SERVER_CONFIGURATION, run))
        return run

    @property
    def landed(self) -> Path:
        """Where the tree was put together."""
        return next((self.folder / "installation/landing/mirrors").glob("*/*/*/tree"))

    @property
    def described(self) -> Description:
        return Description.from_bytes((self.landed / "host.json").read_bytes())

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "include.respaldo", *arguments],
            env={**os.environ, **self.installation.environment()},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )

    def one_more(self, name: str) -> Host:
        """Return another bare host, which the configuration knows."""
        self.hosts[name] = self.installation.hosts[name] = made = bare(self.folder, name)
        self.installation.start()
        return made


@pytest.fixture(scope="module")
def lost(postgres: PostgresServer) -> Iterator[Lost]:
    """web1, furnished, backed up and gone; web2, bare."""
    folder = Path(tempfile.mkdtemp(prefix="respaldo-rebuild-"))
    hosts: dict[str, Host] = {}
    found = Lost(folder, hosts, postgres)
    try:
        hosts["web1"] = bare(folder, "web1")
        furnish(hosts["web1"], folder)
        hosts["web2"] = bare(folder, "web2")
        build_repository(folder, hosts["web2"].root, LATER)
        found.installation.hosts.update(hosts)
        for host in hosts.values():
            host.start()
        found.installation.start()
        found.back_up()
        write(hosts["web1"], "/etc/shop/news", "1\n")
        found.back_up()
        hosts["web1"].stop()
        yield found
    except EmbeddedHostUnavailable as why:
        pytest.skip(f"no host can be made here: {why}")
    finally:
        for host in hosts.values():
            host.stop()
        found.installation.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_description_tells_what_a_person_made_of_the_host(lost: Lost) -> None:
    host = lost.described
    assert host.package["shop"].asked_for
    assert not host.package["shop-common"].asked_for
    assert host.package["shop-tools"].held
    standings = {c.path: c.standing.value for c in host.conffiles if c.package == "shop"}
    assert standings == {
        "/etc/shop/shop.conf": "changed",
        "/etc/shop/colours.conf": "intact",
        "/etc/shop/motd.conf": "deleted",
    }
    assert (host.user["ana"].uid, host.group["staff2"].gid) == (4321, 4000)
    assert host.unit["till.service"] == "enabled"
    assert host.unit["fstrim.timer"] == "masked"
    assert host.file["/etc/odd\nname \udcff"].sha256
    assert host.mounts == ("/dev/sda1 / ext4 defaults 0 1",)
    assert "/usr/share/keyrings/vendor.gpg" in host.file
    assert dict(host.missing)["firewall (nft)"] == "nft is not installed"


def test_secrets_are_private_in_the_landing_zone_and_nowhere_else(lost: Lost) -> None:
    backup = lost.landed
    for name in ("files/etc/shadow", "files/etc/shop/ssl/shop.key", "host.json", "changes.txt"):
        assert (backup / name).stat().st_mode & 0o777 == 0o600
    texts = [(backup / name).read_text() for name in ("host.json", "changes.txt")]
    for text in (*texts, *lost.steps.said):
        assert SECRET not in text
        assert HASH not in text


def test_a_bare_host_becomes_the_lost_one_and_a_second_rebuild_has_nothing_to_do(
    lost: Lost,
) -> None:
    request = RebuildRequest("web1", "web2", new_name="shop2", reason="fire")
    web2 = lost.hosts["web2"]
    write(web2, "/root/.ssh/authorized_keys", "ssh-ed25519 AAAAC3NzaMine admin\n", 0o600)
    before = plan(lost.deployment(), request)
    assert "install shop (1.0)" in before.text
    assert not (web2.root / "etc/shop").exists()
    done = rebuild(lost.deployment(), request)
    report = compare(lost.deployment(), request)
    print(text_of(done, report))
    assert done.problems == ("still speak of web1: /etc/shop/name",)
    with SshHost.of(web2.connection()) as ssh:
        now = ask(ssh, include=["/usr/local/bin"], digests=True)
    host = lost.described
    # packages: the version that can still be had, not the newest; what cannot, in another one
    assert now.package["shop"] == host.package["shop"]
    assert not now.package["shop-common"].asked_for
    assert (now.package["shop-tools"].version, now.package["shop-tools"].held) == ("2.0", True)
    # accounts
    assert now.user["ana"] == host.user["ana"]
    assert "ana" in now.group["adm"].members
    assert now.user["robot"].uid == host.user["robot"].uid
    assert ("ana", ("ssh-ed25519 AAAAC3NzaKey ana@desk",)) in now.authorized_keys
    # files, with owners by name
    for path in (
        "/etc/shop/shop.conf",
        "/etc/shop/ssl/shop.key",
        "/etc/ssl/certs/shop.pem",
        "/etc/cron.d/shop",
        "/var/spool/cron/crontabs/ana",
        "/etc/sysctl.d/50-shop.conf",
        "/etc/systemd/system/shop.service.d/limits.conf",
        "/usr/share/keyrings/vendor.gpg",
        "/usr/local/bin/close-till",
        "/etc/odd\nname \udcff",
    ):
        there, here = host.file[path], now.file[path]
        assert (here.sha256, here.mode, here.uid, here.gid) == (
            there.sha256,
            there.mode,
            there.uid,
            there.gid,
        ), path
    assert "/etc/shop/motd.conf" not in now.file
    assert "/etc/shop/sites/default" not in now.file
    # units
    for unit in ("till.service", "shop.service", "shop-report.timer", "e2scrub_reap.service"):
        assert now.unit[unit] == host.unit[unit]
    assert now.unit["fstrim.timer"] == "masked"
    # what is the target's own
    assert (web2.root / "etc/hostname").read_text() == "shop2\n"
    assert not (web2.root / "etc/network/interfaces").exists()
    assert "2222" not in (web2.root / "etc/ssh/sshd_config").read_text()
    assert "/dev/sda1" not in (web2.root / "etc/fstab").read_text()
    assert "Mine" in (web2.root / "root/.ssh/authorized_keys").read_text()
    assert now.machine_id != host.machine_id
    # the report
    reasons = {d.subject: d.because for d in report.differences}
    assert "network" in reasons["/etc/network/interfaces"]
    assert "SSH" in reasons["/etc/ssh/sshd_config"]
    assert "shown" in reasons["/etc/fstab"]
    assert "shop-tools 2.0 (lost: 1.0)" in reasons
    assert "identity" in reasons["/etc/machine-id"]
    assert "/etc/group" not in reasons
    # again
    assert report.is_complete
    assert plan(lost.deployment(), request).plan.actions == ()
    assert rebuild(lost.deployment(), request).done == {}
    assert not (web2.root / "var/lib/respaldo/rebuild").exists()
    said = "\n".join([*lost.steps.said, text_of(done, report), before.text])
    assert SECRET not in said
    assert HASH not in said


def test_a_login_that_may_not_read_all_describes_what_it_may_and_names_the_rest(
    lost: Lost, tmp_path: Path
) -> None:
    web2 = lost.hosts["web2"]
    web2.add_user("clerk")
    uri = web2.connection_uri("clerk")
    installation = Installation(
        lost.folder / "installation",
        postgres=lost.installation.postgres,
        hosts={"web2": web2},
        settings={"server_configuration": [{"host": "web2"}]},
    )
    deployment = installation.deployment()
    environ = {**installation.environment(), "AIRFLOW_CONN_RESPALDO_WEB2": uri}
    deployment.connections = lambda conn_id: from_environment(conn_id, environ)
    problems = describe_host(deployment, HostSource(host="web2"), tmp_path / "tree")
    assert "files/etc/shadow" in {p.path for p in problems}
    host = Description.from_bytes((tmp_path / "tree/host.json").read_bytes())
    assert "Permission denied" in dict(host.missing)["passwords"]
    assert host.file["/etc/shadow"].sha256 == ""
    assert host.user["clerk"].password == ""


def test_the_report_says_what_changed_since_the_backup_before(lost: Lost) -> None:
    text = (lost.landed / "changes.txt").read_text()
    assert "/etc/shop/news: added" in text
    assert text.count("\n- ") == 1  # the time of its folder is no news


def test_the_command_line_plans_from_the_replica_while_the_primary_is_down(lost: Lost) -> None:
    lost.installation.primary.stop()
    try:
        done = lost.command(*(
            "rebuild-server",
            "web1",
            "--to",
            "web2",
            "--as",
            "shop2",
            "--dry-run",
            "--json",
        ))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["name"] == "shop2"
        early = lost.command("rebuild-server", "web1", "--to", "web2", "--day", "2020-01-01")
        assert early.returncode == 3
        assert "no backup of the configuration of 'web1'" in early.stderr
    finally:
        lost.installation.primary.start()


def test_the_lost_host_itself_alive_is_refused_by_name(lost: Lost) -> None:
    web1 = lost.hosts["web1"].start()
    try:
        request = RebuildRequest("web1", "web1")
        with pytest.raises(RestoreRefused, match="web1 itself, alive"):
            plan(lost.deployment(), request)
        confirmed = plan(lost.deployment(), replace(request, confirmed="web1"))
        assert confirmed.plan.actions == ()
    finally:
        web1.stop()


def test_two_rebuilds_of_one_target_at_once_are_refused(lost: Lost) -> None:
    with (
        rebuild_server._alone(lost.deployment(), "web2"),
        pytest.raises(Busy, match="another rebuild of web2"),
    ):
        rebuild(lost.deployment(), RebuildRequest("web1", "web2"))


def test_an_account_in_the_way_is_refused_by_name(lost: Lost) -> None:
    other = lost.one_more("web3")
    other.run(["useradd", "-u", "4321", "bea"])
    with other, pytest.raises(RestoreRefused, match="'ana' has id 4321, which is 'bea'"):
        rebuild(lost.deployment(), RebuildRequest("web1", "web3"))
    assert not (other.root / "var/lib/respaldo").exists()


def test_a_rebuild_that_was_cut_off_goes_on(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    from include.respaldo.debian.carry_out import Builder
    from include.respaldo.errors import HostUnreachable

    other = lost.one_more("web4")
    build_repository(lost.folder, other.root, VERSIONS)
    request = RebuildRequest("web1", "web4")
    with other:
        carry_out, calls = Builder.carry_out, iter(range(100))

        def cut(self: Builder, actions: Sequence[Action], now: Description) -> None:
            if next(calls) == 3:
                raise HostUnreachable("the connection was lost")
            carry_out(self, actions, now)

        with monkeypatch.context() as patch:
            patch.setattr(Builder, "carry_out", cut)
            with pytest.raises(HostUnreachable):
                rebuild(lost.deployment(), request)
        rebuild(lost.deployment(), request)
        report = compare(lost.deployment(), request)
        assert report.is_complete, report.text
        # it came with the package in the run that was cut off
        assert not (other.root / "etc/shop/sites/default").is_symlink()
        assert (other.root / "etc/hostname").read_text() == "web1\n"
        assert "copy them to /etc/ssh" in report.text
        keys = other.root / "var/lib/respaldo/host-keys"
        assert sorted(p.name for p in keys.iterdir())[0] == "ssh_host_ecdsa_key"
        assert keys.stat().st_mode & 0o777 == 0o700
        assert REPOSITORY in (other.root / "etc/apt/sources.list.d/vendor.list").read_text()
