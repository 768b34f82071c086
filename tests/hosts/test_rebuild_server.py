"""A host is lost; a bare one becomes it, and says in what it differs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from embedded.host import EmbeddedHostUnavailable, Host
from include.respaldo.config.trees import HostConfig, HostSource
from include.respaldo.debian.asking import ask
from include.respaldo.debian.description import Description
from include.respaldo.errors import RestoreRefused
from include.respaldo.jobs import rebuild_server, stored_hosts
from include.respaldo.jobs.deployment import Silence
from include.respaldo.jobs.describe_host import describe_host
from include.respaldo.jobs.rebuild_report import RebuildRequest, text_of
from include.respaldo.jobs.rebuild_server import compare, plan, rebuild
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


class Hosts:
    """A deployment of two hosts, without vaults: the backup is the folder that describes it."""

    def __init__(self, hosts: dict[str, Host], folder: Path) -> None:
        self.hosts, self.folder = hosts, folder
        self.progress = Steps()
        self.config = self
        self.server_configuration = (HostSource(host="web1"),)
        self.files = self.applications = ()

    def host(self, name: str) -> HostConfig:
        return HostConfig(name=name, connection=name)

    def connections(self, conn_id: str):
        return self.hosts[conn_id].connection(conn_id)

    def scratch(self, *parts: str) -> Path:
        path = self.folder.joinpath("scratch", *parts)
        path.mkdir(parents=True, exist_ok=True)
        return path


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """web1, furnished, described and stopped; web2, bare."""
    folder = Path(tempfile.mkdtemp(prefix="respaldo-rebuild-"))
    hosts: dict[str, Host] = {}
    try:
        hosts["web1"] = bare(folder, "web1")
        furnish(hosts["web1"], folder)
        hosts["web2"] = bare(folder, "web2")
        build_repository(folder, hosts["web2"].root, LATER)
        for host in hosts.values():
            host.start()
        found = Hosts(hosts, folder)
        source = HostSource(host="web1", include=[Path("/usr/local/bin")])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stored_hosts, "newest_description", lambda *_: (None, ""))
            assert describe_host(found, source, folder / "backup") == ()  # type: ignore[arg-type]
        hosts["web1"].stop()
        yield found
    except EmbeddedHostUnavailable as why:
        pytest.skip(f"no host can be made here: {why}")
    finally:
        for host in hosts.values():
            host.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def backup_without_vault(site: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(_deployment, request):
        return None, replace(request, backup_id="20261122T020000.000000Z")

    def fetched(_deployment, _manifest, scratch):
        return shutil.copytree(site.folder / "backup", scratch / "tree", symlinks=True)

    monkeypatch.setattr(rebuild_server, "_choose", chosen)
    monkeypatch.setattr(rebuild_server, "read_description", lambda *_: described(site))
    monkeypatch.setattr(rebuild_server, "fetch_host", fetched)


def described(site: Hosts) -> Description:
    return Description.from_bytes((site.folder / "backup/host.json").read_bytes())


def test_a_description_tells_what_a_person_made_of_the_host(site: Hosts) -> None:
    host = described(site)
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


def test_secrets_are_private_in_the_landing_zone_and_nowhere_else(site: Hosts) -> None:
    backup = site.folder / "backup"
    for name in ("files/etc/shadow", "files/etc/shop/ssl/shop.key", "host.json", "changes.txt"):
        assert (backup / name).stat().st_mode & 0o777 == 0o600
    texts = [(backup / name).read_text() for name in ("host.json", "changes.txt")]
    for text in (*texts, *site.progress.said):
        assert SECRET not in text
        assert HASH not in text


def test_a_bare_host_becomes_the_lost_one_and_a_second_rebuild_has_nothing_to_do(
    site: Hosts,
) -> None:
    request = RebuildRequest("web1", "web2", new_name="shop2", reason="fire")
    web2 = site.hosts["web2"]
    write(web2, "/root/.ssh/authorized_keys", "ssh-ed25519 AAAAC3NzaMine admin\n", 0o600)
    before = plan(site, request)  # type: ignore[arg-type]
    assert "install shop (1.0)" in before.text
    assert not (web2.root / "etc/shop").exists()
    done = rebuild(site, request)  # type: ignore[arg-type]
    report = compare(site, request)  # type: ignore[arg-type]
    print(text_of(done, report))
    assert done.problems == ("still speak of web1: /etc/shop/name",)
    with SshHost.of(web2.connection()) as ssh:
        now = ask(ssh, include=["/usr/local/bin"], digests=True)
    lost = described(site)
    # packages: the version that can still be had, not the newest; what cannot, in another one
    assert now.package["shop"] == lost.package["shop"]
    assert not now.package["shop-common"].asked_for
    assert (now.package["shop-tools"].version, now.package["shop-tools"].held) == ("2.0", True)
    # accounts
    assert now.user["ana"] == lost.user["ana"]
    assert "ana" in now.group["adm"].members
    assert now.user["robot"].uid == lost.user["robot"].uid
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
        there, here = lost.file[path], now.file[path]
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
        assert now.unit[unit] == lost.unit[unit]
    assert now.unit["fstrim.timer"] == "masked"
    # what is the target's own
    assert (web2.root / "etc/hostname").read_text() == "shop2\n"
    assert not (web2.root / "etc/network/interfaces").exists()
    assert "2222" not in (web2.root / "etc/ssh/sshd_config").read_text()
    assert "/dev/sda1" not in (web2.root / "etc/fstab").read_text()
    assert "Mine" in (web2.root / "root/.ssh/authorized_keys").read_text()
    assert now.machine_id != lost.machine_id
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
    assert plan(site, request).plan.actions == ()  # type: ignore[arg-type]
    assert rebuild(site, request).done == {}  # type: ignore[arg-type]
    assert not (web2.root / "var/lib/respaldo/rebuild").exists()
    said = "\n".join([*site.progress.said, text_of(done, report), before.text])
    assert SECRET not in said
    assert HASH not in said


def test_the_lost_host_itself_alive_is_refused_by_name(site: Hosts) -> None:
    web1 = site.hosts["web1"].start()
    try:
        request = RebuildRequest("web1", "web1")
        with pytest.raises(RestoreRefused, match="web1 itself, alive"):
            plan(site, request)  # type: ignore[arg-type]
        confirmed = plan(site, replace(request, confirmed="web1"))  # type: ignore[arg-type]
        assert confirmed.plan.actions == ()
    finally:
        web1.stop()


def test_an_account_in_the_way_is_refused_by_name(site: Hosts) -> None:
    other = bare(site.folder, "web3")
    site.hosts["web3"] = other
    other.run(["useradd", "-u", "4321", "bea"])
    with other, pytest.raises(RestoreRefused, match="'ana' has id 4321, which is 'bea'"):
        rebuild(site, RebuildRequest("web1", "web3"))  # type: ignore[arg-type]
    assert not (other.root / "var/lib/respaldo").exists()


def test_a_rebuild_that_was_cut_off_goes_on(site: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    from include.respaldo.debian.carry_out import Builder
    from include.respaldo.errors import HostUnreachable

    other = bare(site.folder, "web4")
    site.hosts["web4"] = other
    build_repository(site.folder, other.root, VERSIONS)
    request = RebuildRequest("web1", "web4")
    with other:
        carry_out, calls = Builder.carry_out, iter(range(100))

        def cut(self, actions, now):
            if next(calls) == 3:
                raise HostUnreachable("the connection was lost")
            carry_out(self, actions, now)

        with monkeypatch.context() as patch:
            patch.setattr(Builder, "carry_out", cut)
            with pytest.raises(HostUnreachable):
                rebuild(site, request)  # type: ignore[arg-type]
        rebuild(site, request)  # type: ignore[arg-type]
        report = compare(site, request)  # type: ignore[arg-type]
        assert report.is_complete, report.text
        # it came with the package in the run that was cut off
        assert not (other.root / "etc/shop/sites/default").is_symlink()
        assert (other.root / "etc/hostname").read_text() == "web1\n"
        assert "copy them to /etc/ssh" in report.text
        keys = other.root / "var/lib/respaldo/host-keys"
        assert sorted(p.name for p in keys.iterdir())[0] == "ssh_host_ecdsa_key"
        assert keys.stat().st_mode & 0o777 == 0o700
        assert REPOSITORY in (other.root / "etc/apt/sources.list.d/vendor.list").read_text()
