"""The hosts of the demo and the tests: they leave no trace, and say why they cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import embedded.host
from embedded.host import EmbeddedHostUnavailable, Host
from embedded.host_base import find_base
from embedded.process import wait_until
from include.respaldo.ssh.host import SshHost

ROOT = Path(__file__).resolve().parents[2]

#: makes as little as ours looks at, and says that it was called
FAKE = """\
#!/bin/sh
for target; do case $target in /*.making) root=$target;; esac; done
mkdir -p "$root/usr/sbin" "$root/etc/ssh"
echo called >>"${0%/*}/calls"
sleep 0.5
"""


@pytest.fixture
def own(host: Host, tmp_path: Path) -> Host:
    """A host of the test's own; depends on `host` for being skipped where none can be made."""
    return Host(tmp_path / "own", "shop")


def programs_in(root: Path) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "root").readlink() == root:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_stopped_host_leaves_no_process_and_no_mount(
    own: Host, namespaces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not namespaces:
        monkeypatch.setattr(embedded.host, "_NAMESPACES", ("false",))
    with own, SshHost.of(own.connection()) as ssh:
        assert own.run(["cat", "/etc/hostname"]).stdout == "shop\n"
        assert ssh.run(["id", "-un"]).text == "root\n"
        ssh.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 </dev/null &"])
        hanging = subprocess.Popen(
            ["ssh", "-F", ssh._config, "respaldo", "sleep 600"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert wait_until(lambda: len(programs_in(own.root)) > 2, 10)
        inside = programs_in(own.root)
    hanging.wait(10)
    if namespaces:
        assert wait_until(lambda: not programs_in(own.root), 10)
    else:
        # what a session has left running by itself outlives it, as it does anywhere
        for pid in programs_in(own.root):
            assert pid in inside
            os.kill(pid, 9)
    assert str(own.root) not in Path("/proc/self/mounts").read_text()


def test_a_host_is_the_same_after_a_restart_also_for_another_python(own: Host) -> None:
    with own:
        before = (own.port, own.host_key, own.private_key)
        (own.root / "srv" / "kept").write_text("kept")
    found = Host.attach(own.folder)
    with found:
        assert (found.port, found.host_key, found.private_key) == before
        assert found.run(["cat", "/srv/kept"]).stdout == "kept"
        assert found.name == "shop"
    found.remove()
    assert not own.folder.exists()
    with pytest.raises(FileNotFoundError):
        Host.attach(own.folder)


def test_a_host_goes_on_in_the_place_of_a_lost_one(own: Host, tmp_path: Path) -> None:
    spare = Host(tmp_path / "spare", "spare")
    try:
        with own, spare:
            address = (own.port, own.host_key, own.private_key)
            (own.root / "srv" / "lost").write_text("lost")
            (spare.root / "srv" / "kept").write_text("kept")
        keys = spare.host_key
        spare.move_to(own)
        with own, spare:
            assert (own.port, own.host_key, own.private_key) == address
            assert own.run(["ls", "/srv"]).stdout == "kept\n"
            assert spare.host_key == keys
            assert spare.run(["ls", "/srv"]).stdout == ""
        own.reinstall()
        with own:
            assert (own.port, own.host_key, own.private_key) == address
            assert own.run(["ls", "/srv"]).stdout == ""
    finally:
        spare.remove()


def test_two_hosts_have_keys_of_their_own(own: Host, host: Host) -> None:
    own.create()
    assert own.host_key != host.host_key
    name = "etc/ssh/ssh_host_ed25519_key.pub"
    assert (own.root / name).read_text() != (host.root / name).read_text()


def test_of_several_processes_one_makes_the_base_and_the_others_wait(tmp_path: Path) -> None:
    environment = with_debootstrap(tmp_path, FAKE)
    code = "from embedded.host_base import find_base; print(find_base())"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    found = {process.communicate(timeout=60)[0] for process in running}
    assert len(found) == 1
    assert Path(found.pop().decode().strip()).is_dir()
    assert (tmp_path / "bin" / "calls").read_text() == "called\n"


def test_what_keeps_debootstrap_from_making_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = '#!/bin/sh\nmkdir -p "$4/x"\necho "E: cannot mount proc"\nexit 1\n'
    for name, value in with_debootstrap(tmp_path, broken).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EmbeddedHostUnavailable, match=r"ended with 1\nE: cannot mount proc"):
        find_base()
    (tmp_path / "bin" / "debootstrap").unlink()
    monkeypatch.setattr("embedded.host_base._path", lambda: str(tmp_path / "bin"))
    with pytest.raises(EmbeddedHostUnavailable, match="apt-get install debootstrap"):
        find_base()


def with_debootstrap(folder: Path, script: str) -> dict[str, str]:
    """Return an environment with a debootstrap of our own and no base yet."""
    if os.geteuid() != 0:
        pytest.skip("a chroot needs root")
    program = folder / "bin" / "debootstrap"
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    return os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
    }


def test_who_is_not_root_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EmbeddedHostUnavailable, match="needs root"):
        Host(tmp_path / "own").start()
