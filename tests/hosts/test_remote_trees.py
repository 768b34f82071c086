"""Trees of hosts: brought here as they are, by what changed, with every failure by its name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from embedded.host import Host
from embedded.process import wait_until
from include.respaldo.errors import ConfigurationError, HostUnreachable, SourceError, ToolFailed
from include.respaldo.filetree import rsync
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.remote import fetch_tree, send_tree
from include.respaldo.filetree.rsync import Ended, _problem
from include.respaldo.model.file_tree import Problem, ReadProblem
from include.respaldo.ssh.host import SshHost

ODD = [
    b"a b",
    b"it's",
    b'say "x"',
    b"two\nlines",
    b"$(touch pwned)",
    b"-n",
    b"*",
    b"\\#012",
    b"latin \xe9",
    b"x" * 255,
]


ALL = Patterns()


class Watch:
    """Progress that remembers, and can be told to do something at the first byte."""

    def __init__(self, at_first: Callable[[], object] | None = None) -> None:
        self.done = 0
        self._at_first = at_first

    def step(self, message: str) -> None:
        pass

    def advance(self, done: int, total: int | None, unit: str) -> None:
        self.done = done
        at_first, self._at_first = self._at_first, None
        if at_first:
            at_first()


def fetch(ssh: SshHost, path: Path, to: Path, patterns: Patterns = ALL, **more: object):  # type: ignore[no-untyped-def]
    return fetch_tree(ssh, path, to, patterns, **({"progress": Watch()} | more))  # type: ignore[arg-type]


def told(problems: tuple[ReadProblem, ...]) -> dict[str, Problem]:
    return {p.path: p.problem for p in problems}


def facts(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Return what every entry below a root is, times and links included."""
    found: dict[bytes, tuple[object, ...]] = {}
    inodes: dict[int, bytes] = {}
    for path in sorted(os.fsencode(p) for p in [root, *root.rglob("*")]):
        s = os.lstat(path)
        relative = path.removeprefix(os.fsencode(root))
        first = inodes.setdefault(s.st_ino, relative)
        content: object = None
        if os.path.islink(path):  # noqa: PTH114
            content = os.readlink(path)  # noqa: PTH115
        elif os.path.isfile(path):  # noqa: PTH113
            content = Path(os.fsdecode(path)).read_bytes()
        attributes = {n: os.getxattr(path, n, follow_symlinks=False) for n in _names(path)}
        ids = (s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns)
        found[relative] = (*ids, first, content, attributes)
    return found


def _names(path: bytes) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


@pytest.fixture
def tree(host: Host, remote: Path) -> Path:
    """A folder of the host with a few files, seen from here."""
    root = host.root / remote.relative_to("/")
    (root / "d").mkdir()
    (root / "a").write_text("a")
    (root / "d" / "b").write_text("b")
    return root


@pytest.fixture(scope="session")
def alice(host: Host) -> Iterator[SshHost]:
    """The host, entered as somebody who may not read everything."""
    host.add_user("alice")
    with SshHost.of(host.connection(login="alice")) as entered:
        yield entered


def test_everything_that_a_file_is_arrives(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    for name in ODD:
        Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).write_bytes(name)
    os.link(tree / "a", tree / "d" / "same")
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "nowhere").symlink_to("two\nlines $(x)")
    os.mkfifo(tree / "fifo")
    (tree / "a").chmod(0o4750)
    os.chown(tree / "d", 1234, 5678)
    os.setxattr(tree / "a", "user.word", b"\0\xff")
    if shutil.which("setfacl"):
        subprocess.run(["setfacl", "-m", "u:1234:rwx", tree / "d" / "b"], check=True)
    with (tree / "sparse").open("wb") as sparse:
        sparse.truncate(50_000_000)
    os.utime(tree / "d", ns=(1, 1_500_000_000_123_456_789))

    to = tmp_path / "a b" / "$(x)"
    assert fetch(ssh, remote, to) == ()
    assert facts(to) == facts(tree)
    assert (to / "sparse").stat().st_blocks < 1000


@pytest.mark.parametrize("name", ['it\'s "$(x)" `y`\ntwo', "-n", os.fsdecode(b"\xff")])
def test_a_root_with_an_odd_name_is_found(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path, name: str
) -> None:
    (tree / name).mkdir()
    (tree / name / "x").write_text("x")
    assert fetch(ssh, remote / name, tmp_path / "to") == ()
    assert (tmp_path / "to" / "x").read_text() == "x"
    send_tree(ssh, tmp_path / "to", remote / (name + "2") / "deep", progress=Watch())
    assert (tree / (name + "2") / "deep" / "x").read_text() == "x"


def test_only_what_changed_travels_and_what_went_goes(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    (tree / "large").write_bytes(os.urandom(3_000_000))
    fetch(ssh, remote, to)
    kept = (to / "large").stat().st_ino
    # in the same second, of the same size: only the nanoseconds tell
    was = (tree / "a").stat().st_mtime_ns
    (tree / "a").write_text("z")
    os.utime(tree / "a", ns=(was, was // 10**9 * 10**9 + (was + 1) % 10**9))
    (tree / "d" / "b").unlink()
    (tree / "d" / "c").write_text("c")
    watch = Watch()
    assert fetch(ssh, remote, to, progress=watch) == ()
    assert facts(to) == facts(tree)
    assert (to / "large").stat().st_ino == kept
    assert watch.done < 1000


def test_what_is_excluded_today_leaves_the_mirror(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    fetch(ssh, remote, tmp_path / "to")
    fetch(ssh, remote, tmp_path / "to", Patterns(exclude=["/d"]))
    assert sorted(p.name for p in (tmp_path / "to").iterdir()) == ["a"]


def test_what_is_included_arrives_with_the_folders_that_lead_to_it(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    (tree / "d" / "deep").mkdir()
    (tree / "d" / "deep" / "x.pdf").write_text("pdf")
    (tree / "d" / "deep" / "x.tmp").write_text("tmp")
    fetch(ssh, remote, tmp_path / "to", Patterns(include=["*.pdf"]))
    names = [p.name for p in (tmp_path / "to").rglob("*") if p.is_file()]
    assert names == ["x.pdf"]


def test_what_is_mounted_below_the_root_is_left_out_unless_it_is_wanted(
    host: Host, ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(remote / "d")]
    if host.run(mount, check=False).returncode:
        pytest.skip("this machine permits no mounts")
    host.run(["touch", str(remote / "d" / "mounted")])
    fetch(ssh, remote, tmp_path / "to")
    assert list((tmp_path / "to" / "d").iterdir()) == []
    fetch(ssh, remote, tmp_path / "to", one_file_system=False)
    assert [p.name for p in (tmp_path / "to" / "d").iterdir()] == ["mounted"]
    host.run(["umount", str(remote / "d")])


def test_what_cannot_be_read_is_named_and_no_earlier_copy_passes_for_it(
    alice: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    odd = os.fsdecode(b'odd\n" \xe9')
    (tree / odd).write_text("odd")
    to = tmp_path / "to"
    assert fetch(alice, remote, to) == ()
    for path in (tree / "a", tree / odd):
        path.write_text("changed")
        path.chmod(0o600)
    (tree / "d").chmod(0o700)
    problems = fetch(alice, remote, to)
    assert told(problems) == dict.fromkeys(("a", odd, "d"), Problem.UNREADABLE)
    assert {p.reason for p in problems} == {"Permission denied"}
    assert [p.name for p in to.rglob("*")] == ["d"]


def test_what_vanishes_while_it_is_read_is_named_and_is_no_failure(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    with (tree / "first").open("wb") as large:
        large.truncate(400_000_000)
    (tree / "z").write_text("z")
    watch = Watch(at_first=(tree / "z").unlink)
    problems = fetch(ssh, remote, tmp_path / "to", progress=watch)
    assert told(problems) == {"z": Problem.VANISHED}
    assert sorted(p.name for p in (tmp_path / "to").iterdir()) == ["a", "d", "first"]


@pytest.mark.parametrize("what", ["missing", "file", "locked"])
def test_without_its_root_nothing_is_brought_and_nothing_is_lost(
    alice: SshHost, remote: Path, tree: Path, tmp_path: Path, what: str
) -> None:
    to = tmp_path / "to"
    fetch(alice, remote, to)
    before = facts(to)
    words = {"missing": "there is no", "file": "is no folder", "locked": "cannot be read by"}
    if what == "file":
        shutil.rmtree(tree)
        tree.write_text("")
    elif what == "locked":
        tree.chmod(0o700)
    else:
        tree.rename(tree.with_name(tree.name + "-gone"))
    with pytest.raises(SourceError, match=words[what]) as caught:
        fetch(alice, remote, to)
    assert caught.value.hint
    assert facts(to) == before


def test_a_connection_lost_half_way_is_told_and_the_next_run_goes_on(
    host: Host, ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    (tree / "large").write_bytes(os.urandom(1_000_000) * 100)
    to = tmp_path / "to"
    try:
        with pytest.raises(HostUnreachable, match=r"lost|reached") as caught:
            fetch(ssh, remote, to, progress=Watch(at_first=host.stop))
        assert "goes on" in caught.value.hint
        with pytest.raises(HostUnreachable, match="Connection refused"):
            fetch(ssh, remote, to)
    finally:
        host.start()
    assert fetch(ssh, remote, to) == ()
    assert facts(to) == facts(tree)
    assert [p.name for p in tmp_path.iterdir()] == ["to"]


def test_a_host_that_falls_silent_is_given_up(
    host: Host,
    ssh: SshHost,
    remote: Path,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (tree / "large").open("wb") as large:
        large.truncate(2_000_000_000)
    stopped: list[int] = []

    def stop_senders() -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_rsync = (folder / "comm").read_text() == "rsync\n"
                if is_rsync and (folder / "root").readlink() == host.root:
                    stopped.append(int(folder.name))
                    os.kill(stopped[-1], signal.SIGSTOP)

    monkeypatch.setattr(rsync, "SILENCE", 2)
    try:
        with pytest.raises(HostUnreachable, match="has sent nothing for"):
            fetch(ssh, remote, tmp_path / "to", progress=Watch(at_first=stop_senders))
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
    assert stopped


def test_an_interrupted_run_ends_its_rsync(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    with (tree / "large").open("wb") as large:
        large.truncate(2_000_000_000)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        fetch(ssh, remote, tmp_path / "to", progress=Watch(at_first=interrupt))
    assert wait_until(lambda: not _programs_at(tmp_path), 10)


def _programs_at(folder: Path) -> list[bytes]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(file.read_bytes())
    return [argv for argv in found if os.fsencode(folder) in argv]


def test_no_secret_is_in_the_arguments_of_a_program(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    seen: list[bytes] = []
    watch = Watch(at_first=lambda: seen.extend(_programs_at(tmp_path)))
    with (tree / "large").open("wb") as large:
        large.truncate(100_000_000)
    fetch(ssh, remote, tmp_path / "to", progress=watch)
    assert any(b"rsync" in argv for argv in seen)
    assert not any(b"PRIVATE" in argv or b"openssh-key" in argv for argv in seen)


def test_a_full_disk_is_told_with_sizes_and_the_next_step(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine permits no mounts")
    try:
        (tree / "large").write_bytes(os.urandom(8_000_000))
        with pytest.raises(SourceError, match=r"is full: .* of 4\.\d MB free") as caught:
            fetch(ssh, remote, small / "to")
        assert "make room" in caught.value.hint
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_who_is_not_root_here_keeps_owners_beside_the_files_and_can_put_them_back(
    host: Host, ssh: SshHost, remote: Path, tree: Path
) -> None:
    os.chown(tree / "a", 1234, 5678)
    before = facts(tree)
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        os.chown(folder, 65534, 65534)

        connection = host.connection()

        def there_and_back() -> None:
            with SshHost.of(connection) as entered:
                assert fetch(entered, remote, folder / "to") == ()
                send_tree(entered, folder / "to", remote.with_name("back"), progress=Watch())

        as_nobody(there_and_back)
        assert (folder / "to" / "a").stat().st_uid == 65534
    assert facts(tree.with_name("back")) == before


def as_nobody(do: Callable[[], None]) -> None:
    """Do something in a child process without rights."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            do()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_host_without_rsync_is_told_so(
    host: Host, ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    program = host.root / "usr/bin/rsync"
    program.rename(program.with_name("rsync.away"))
    try:
        with pytest.raises(SourceError, match="rsync is not installed on host") as caught:
            fetch(ssh, remote, tmp_path / "to")
    finally:
        program.with_name("rsync.away").rename(program)
    assert "apt-get install rsync" in caught.value.hint


def test_without_rsync_here_the_configuration_is_at_fault(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").symlink_to(str(shutil.which("ssh")))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ConfigurationError, match="rsync is not installed"):
        fetch(ssh, remote, tmp_path / "to")


def test_a_tree_is_sent_as_it_is_and_only_deletes_when_told(
    ssh: SshHost, remote: Path, tree: Path, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    fetch(ssh, remote, to)
    before = facts(to)
    (tree / "a").write_text("changed")
    (tree / "more").write_text("more")
    send_tree(ssh, to, remote, progress=Watch())
    assert (tree / "more").exists()
    send_tree(ssh, to, remote, delete=True, progress=Watch())
    assert facts(tree) == before


def test_what_does_not_arrive_is_a_failure_that_names_it(
    alice: SshHost, host: Host, remote: Path, tree: Path, tmp_path: Path
) -> None:
    fetch(alice, remote, tmp_path / "to")
    (tmp_path / "to" / "a").write_text("changed")
    host.run(["chown", "alice", str(remote)])
    host.run(["chmod", "700", str(remote / "d")])
    (tmp_path / "to" / "d" / "b").write_text("changed")
    with pytest.raises(ToolFailed, match=r"not everything arrived(.|\n)*  d"):
        send_tree(alice, tmp_path / "to", remote, progress=Watch())


@pytest.mark.parametrize("path", ["../outside", "link/outside", "/etc/hostname", "d/../../outside"])
def test_a_host_that_lies_about_names_cannot_reach_beyond_the_mirror(
    tmp_path: Path, path: str
) -> None:
    from include.respaldo.filetree.remote import _remove_stale

    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    (tmp_path / "outside").write_text("kept")
    _remove_stale(root, path)
    assert (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("line", "path", "problem"),
    [
        ('file has vanished: "/r/a b"', "a b", Problem.VANISHED),
        (r'file has vanished: "/r/a\#012b\#134#012"', "a\nb\\#012", Problem.VANISHED),
        (
            'rsync: [sender] send_files failed to open "/r/q"x": Permission denied (13)',
            'q"x',
            Problem.UNREADABLE,
        ),
        ('rsync: [sender] readlink_stat("/r/x") failed: I/O (5)', "x", Problem.UNREADABLE),
        ('rsync: [sender] read errors mapping "/r/x": I/O error (5)', "x", Problem.UNREADABLE),
        (
            'rsync: [generator] set_acl: sys_acl_set_file(x, ACL_TYPE) "/r/x" failed: no (95)',
            "x",
            Problem.UNREADABLE,
        ),
        (
            'rsync: [receiver] rsync_xal_set: lsetxattr("/r/x","user.a") failed: no (1)',
            "x",
            Problem.UNREADABLE,
        ),
        ("rsync: [sender] something new went wrong", "", Problem.UNREADABLE),
        ("ERROR: d/x failed verification -- update discarded.", "d/x", Problem.CHANGED),
    ],
)
def test_each_of_rsync_s_complaints_is_one_entry_s_problem(
    line: str, path: str, problem: Problem
) -> None:
    found = _problem(line, ["/r"])
    assert found is not None
    assert (found.path, found.problem) == (path, problem)


def test_rsync_s_closing_words_are_nobody_s_problem() -> None:
    assert Ended(0).problems == []
    line = "rsync error: some files/attrs were not transferred (code 23) at main.c(1956)"
    assert _problem(line, ["/r"]) is None
