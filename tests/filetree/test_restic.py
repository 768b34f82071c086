"""Snapshots in real repositories, in a folder and on an S3 server; and what goes wrong there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from embedded.postgres import free_port
from embedded.s3 import S3Server
from include.respaldo.connections import Connection
from include.respaldo.errors import (
    Busy,
    ConfigurationError,
    CorruptObject,
    KeyNotFound,
    RestoreRefused,
    VaultUnreachable,
)
from include.respaldo.filetree.listing import list_tree
from include.respaldo.filetree.location import RepositoryLocation
from include.respaldo.filetree.patterns import Patterns
from include.respaldo.filetree.restic import Repository, Snapshot
from include.respaldo.filetree.restic_run import restic
from include.respaldo.filetree.verification import differences
from tests.filetree.conftest import AT, BUCKET, PASSWORD, Silent, on_s3


def store(
    repository: Repository,
    root: Path,
    patterns: Patterns | None = None,
    tags: tuple[str, ...] = ("category=files", "backup=1"),
    **more: object,
) -> Snapshot:
    return repository.backup(
        root,
        **{  # type: ignore[arg-type]
            "patterns": patterns or Patterns(),
            "host": "shop",
            "tags": tags,
            "at": AT,
            "one_file_system": True,
            "progress": Silent(),
            **more,
        },
    )


def listed(root: Path) -> list:
    return list(list_tree(root, Patterns(), one_file_system=True, known=None, progress=Silent()))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (root := tmp_path / "small").mkdir()
    (root / "file").write_text("content")
    (root / "noise").write_bytes(os.urandom(100_000))
    return root


@contextmanager
def another_restic(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> Iterator[None]:
    """Put a program named restic before the real one, ``$RESTIC`` in it."""
    folder.mkdir()
    program = folder / "restic"
    program.write_text(f"#!/bin/sh\nRESTIC={restic()[0]}\n{script}\n")
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        restic.cache_clear()
        try:
            yield
        finally:
            restic.cache_clear()


# -- what works -----------------------------------------------------------------------------------


def test_everything_comes_back_as_it_was(
    repository: Repository, odd_tree: Path, tmp_path: Path
) -> None:
    entries = listed(odd_tree)
    snapshot = store(repository, odd_tree)
    assert len(snapshot.id) == 64
    assert snapshot.unread == 0
    to = tmp_path / "back"
    repository.restore(snapshot.id, str(odd_tree), [], to, Silent(), entries=entries)
    assert differences(entries, to) == []
    assert (to / "sparse").stat().st_blocks * 512 < 1_000_000  # of 5,000,000: mostly a hole


def test_a_snapshot_says_what_it_is(repository: Repository, small: Path) -> None:
    first = store(repository, small)
    assert first.files == 2
    assert first.size == 100_007
    assert first.stored >= 100_000
    second = store(
        repository, small, tags=("category=files", "backup=2"), at=AT + timedelta(days=1)
    )
    assert second.stored < 100_000  # nothing has changed
    found = repository.snapshots()
    assert [s.id for s in found] == [first.id, second.id]
    assert found[0].at == AT
    assert found[0].host == "shop"
    assert found[0].tags == ("category=files", "backup=1")
    assert found[0].paths == (str(small),)
    assert repository.find(["category=files", "backup=2"]) == [second.id]
    assert repository.find(["backup=3"]) == []


def test_one_path_and_a_folder_come_back_without_the_rest(
    repository: Repository, odd_tree: Path, tmp_path: Path
) -> None:
    snapshot = store(repository, odd_tree)
    wanted = ["a new\nline", "star*[x]?\\$HOME", "folder/deeper", "not \udcff\udcfe utf-8/\udc80in"]
    repository.restore(snapshot.id, str(odd_tree), wanted, to := tmp_path / "back", Silent())
    found = {os.path.relpath(p, to) for p in to.rglob("*") if not p.is_dir()}
    assert found == {*wanted[:2], "folder/deeper/file", wanted[3]}
    assert (to / wanted[1]).read_text() == "2"


def test_a_file_is_written_out(repository: Repository, small: Path, tmp_path: Path) -> None:
    snapshot = store(repository, small)
    repository.dump(snapshot.id, f"{small}/file", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "content"
    with pytest.raises(KeyNotFound):
        repository.dump(snapshot.id, f"{small}/nothing", tmp_path / "out")


def test_the_entries_of_a_snapshot_are_listed(
    local: Repository, small: Path, tmp_path: Path
) -> None:
    snapshot = store(local, small)
    with (tmp_path / "list").open("w+b") as file:
        local.list_to(snapshot.id, file)
        file.seek(0)
        found = {json.loads(line).get("path") for line in file}
    assert {f"{small}/file", f"{small}/noise", str(small)} <= found


def test_what_is_forgotten_is_gone_and_a_second_time_changes_nothing(
    repository: Repository, small: Path
) -> None:
    first = store(repository, small)
    (small / "noise").write_bytes(os.urandom(100_000))
    second = store(repository, small)
    for _ in range(2):
        repository.forget([first.id])
        assert [s.id for s in repository.snapshots()] == [second.id]
    repository.prune()
    repository.check(read_data="all")


def test_ensure_makes_a_repository_once(repository: Repository, small: Path) -> None:
    snapshot = store(repository, small)
    repository.ensure()
    assert repository.find([]) == [snapshot.id]


def test_a_parent_that_was_forgotten_costs_only_time(local: Repository, small: Path) -> None:
    first = store(local, small)
    assert store(local, small, parent=first.id).stored < 10_000
    assert store(local, small, parent="0" * 64).files == 2


def test_where_nothing_fits_only_the_root_is_stored(
    local: Repository, small: Path, tmp_path: Path
) -> None:
    snapshot = store(local, small, Patterns(include=["*.pdf"]))
    assert snapshot.files == 0
    local.restore(snapshot.id, str(small), [], tmp_path / "back", Silent())
    assert list((tmp_path / "back").iterdir()) == []


def test_progress_is_told_in_bytes(local: Repository, small: Path) -> None:
    store(local, small, progress=(progress := Silent()))
    assert progress.steps
    assert all(unit == "bytes" for *_, unit in progress.done)


def test_what_cannot_be_read_is_left_out_and_counted(
    local: Repository, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Really not readable: restic gives up what lets root read everything."""
    (small / "file").chmod(0)
    without = 'exec setpriv --bounding-set=-dac_override,-dac_read_search "$RESTIC" "$@"'
    with another_restic(monkeypatch, tmp_path / "bin", without):
        snapshot = store(local, small)
    assert snapshot.unread == 1
    local.restore(snapshot.id, str(small), [], tmp_path / "back", Silent())
    assert [p.name for p in (tmp_path / "back").iterdir()] == ["noise"]


@pytest.mark.parametrize(("version", "looks"), [("0.14.0", True), ("0.15.1", False)])
def test_restic_need_not_look_for_what_was_listed(
    local: Repository,
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    looks: bool,
) -> None:
    argv = tmp_path / "argv"
    # the real one may be older, and not know the option
    script = f"""
[ "$1" = version ] && {{ echo "restic {version} compiled"; exit; }}
printf '%s\\n' "$@" > {argv}
for argument; do
    shift
    [ "$argument" = --no-scan ] || set -- "$@" "$argument"
done
exec "$RESTIC" "$@"
"""
    with another_restic(monkeypatch, tmp_path / "bin", script):
        snapshot = store(local, small, size=100_007)
    assert ("--no-scan" not in argv.read_text()) == looks
    assert snapshot.files == 2


def test_a_repository_that_is_only_read_gets_no_lock(local: Repository, small: Path) -> None:
    snapshot = store(local, small)
    reader = Repository(local.location, local.cache, read_only=True)
    locks = Path(local.location.uri) / "locks"
    shutil.rmtree(locks)
    locks.write_text("not a folder")
    assert reader.find([]) == [snapshot.id]


# -- secrets --------------------------------------------------------------------------------------


def test_secrets_are_in_the_environment_of_the_child_alone(
    s3: S3Server, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTIC_PASSWORD_COMMAND", "false")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody else's")
    location = on_s3(s3, "restic/secrets")
    assert PASSWORD not in repr(location)
    assert s3.secret_key not in repr(location)
    seen = tmp_path / "seen"
    script = f'printf "%s\\n" "$@" >> {seen}\nenv > {seen}.env\nexec "$RESTIC" "$@"'
    with another_restic(monkeypatch, tmp_path / "bin", script):
        repository = Repository(location, tmp_path / "cache")
        repository.ensure()
        store(repository, small)
    said = seen.read_text()
    assert PASSWORD not in said
    assert s3.secret_key not in said
    environment = Path(f"{seen}.env").read_text()
    assert f"RESTIC_PASSWORD={PASSWORD}\n" in environment
    assert "RESTIC_PASSWORD_COMMAND" not in environment
    assert PASSWORD not in os.environ.values()


# -- what is wrong --------------------------------------------------------------------------------


def test_a_wrong_password_is_said(local: Repository) -> None:
    location = RepositoryLocation.folder(Path(local.location.uri), "another")
    with pytest.raises(ConfigurationError, match="the password does not open"):
        Repository(location, local.cache).snapshots()


def test_without_a_password_there_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no password"):
        RepositoryLocation.folder(tmp_path, "")


def test_a_repository_that_is_not_there_is_not_found(tmp_path: Path, s3: S3Server) -> None:
    for location in (RepositoryLocation.folder(tmp_path / "x", "p"), on_s3(s3, "restic/none")):
        with pytest.raises(KeyNotFound, match="there is no repository"):
            Repository(location, tmp_path / "cache").snapshots()


def test_a_bucket_that_is_not_there_is_a_mistake_of_the_configuration(
    tmp_path: Path, s3: S3Server
) -> None:
    connection = Connection(
        conn_id="vault",
        conn_type="aws",
        login="a",
        password="b",
        extra={"endpoint_url": s3.endpoint_url, "region_name": s3.region},
    )
    location = RepositoryLocation.s3("s3://no-such-bucket", "restic/files/", connection, "p")
    with pytest.raises((ConfigurationError, KeyNotFound)):
        Repository(location, tmp_path / "cache").snapshots()


def test_a_lost_config_is_not_made_anew_over_the_data(local: Repository, small: Path) -> None:
    store(local, small)
    (Path(local.location.uri) / "config").unlink()
    with pytest.raises(CorruptObject, match="has no `config`"):
        local.ensure(is_empty=lambda: False)


def _data(repository: Repository) -> list[Path]:
    found = [p for p in (Path(repository.location.uri) / "data").rglob("*") if p.is_file()]
    return sorted(found, key=lambda p: p.stat().st_size)


def test_a_missing_object_is_found_by_the_check(local: Repository, small: Path) -> None:
    store(local, small)
    _data(local)[-1].unlink()
    with pytest.raises(CorruptObject) as caught:
        local.check()
    assert "geo-redundancy check" in caught.value.hint


def test_tampered_content_is_found_by_reading_it_and_never_restored(
    local: Repository, small: Path, tmp_path: Path
) -> None:
    snapshot = store(local, small)
    pack = _data(local)[-1]
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[1000] ^= 1
    pack.write_bytes(data)
    with pytest.raises(CorruptObject):
        local.check(read_data="all")
    with pytest.raises(CorruptObject):
        local.restore(snapshot.id, str(small), [], tmp_path / "back", Silent())


def test_a_tampered_object_on_the_server_is_found(
    s3: S3Server, small: Path, tmp_path: Path
) -> None:
    repository = Repository(on_s3(s3, "restic/tampered"), tmp_path / "cache")
    repository.ensure()
    store(repository, small)
    client = s3.client()
    objects = client.list_objects_v2(Bucket=BUCKET, Prefix="kept/restic/tampered/data/")["Contents"]
    key = max(objects, key=lambda o: o["Size"])["Key"]
    data = bytearray(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    data[1000] ^= 1
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(data))
    client.close()
    with pytest.raises(CorruptObject):
        repository.check(read_data="all")


@pytest.mark.parametrize("folder", ["keys", "snapshots", "index"])
def test_tampered_objects_of_other_kinds_are_found(
    local: Repository, small: Path, tmp_path: Path, folder: str
) -> None:
    snapshot = store(local, small)
    for path in (Path(local.location.uri) / folder).iterdir():
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-8] + b"tampered")
    shutil.rmtree(local.cache)
    with pytest.raises((CorruptObject, ConfigurationError)):
        local.restore(snapshot.id, str(small), [], tmp_path / "back", Silent())


def test_a_restore_goes_into_an_empty_folder_only(
    local: Repository, small: Path, tmp_path: Path
) -> None:
    snapshot = store(local, small)
    with pytest.raises(RestoreRefused, match="not empty"):
        local.restore(snapshot.id, str(small), [], small, Silent())
    with pytest.raises(KeyNotFound, match="does not hold nothing"):
        local.restore(snapshot.id, str(small), ["nothing"], tmp_path / "back", Silent())
    assert list((tmp_path / "back").iterdir()) == []
    with pytest.raises(KeyNotFound):
        local.restore("0" * 64, str(small), [], tmp_path / "back", Silent())
    with pytest.raises(KeyNotFound, match="no id"):
        local.restore("latest", str(small), [], tmp_path / "back", Silent())


# -- locks ----------------------------------------------------------------------------------------


@contextmanager
def working(repository: Repository) -> Iterator[subprocess.Popen[bytes]]:
    """Another restic that works on the repository, and holds a lock."""
    environment = os.environ | repository.location.environment
    process = subprocess.Popen(
        [restic()[0], "-r", repository.location.uri, "--no-cache", "backup", "--stdin", "-q"],
        stdin=subprocess.PIPE,
        env=environment,
    )
    locks = Path(repository.location.uri) / "locks"
    end = time.monotonic() + 30
    while not any(locks.iterdir()) and time.monotonic() < end:
        time.sleep(0.05)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()  # type: ignore[union-attr]


def test_a_repository_that_somebody_works_on_is_busy(local: Repository, small: Path) -> None:
    with working(local):
        with pytest.raises(Busy) as caught:
            local.prune()
        assert caught.value.retryable
        assert store(local, small).files == 2  # two may store at once


def test_the_lock_of_a_dead_process_is_removed(local: Repository) -> None:
    with working(local) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert any((Path(local.location.uri) / "locks").iterdir())
        local.prune()
    assert not any((Path(local.location.uri) / "locks").iterdir())


# -- a service that does not answer ---------------------------------------------------------------


def test_a_service_that_is_not_there_is_noticed_at_once(small: Path, tmp_path: Path) -> None:
    connection = Connection(
        conn_id="vault",
        conn_type="aws",
        login="a",
        password="b",
        extra={"endpoint_url": f"http://127.0.0.1:{free_port()}"},
    )
    location = RepositoryLocation.s3("s3://bucket", "restic/files/", connection, "p")
    with pytest.raises(VaultUnreachable, match="does not answer"):
        Repository(location, tmp_path / "cache", patience=2).snapshots()


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_service_that_ends_while_storing_is_given_up_within_bounds(
    how: signal.Signals, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without our bound restic would try for a quarter of an hour."""
    for number in range(20):
        (small / f"noise {number}").write_bytes(os.urandom(500_000))
    slowly = 'exec "$RESTIC" --limit-upload 500 "$@"'
    with (
        S3Server(tmp_path / "s3") as server,
        another_restic(monkeypatch, tmp_path / "bin", slowly),
    ):
        server.create_bucket(BUCKET)
        repository = Repository(on_s3(server, "restic/ends"), tmp_path / "cache", patience=3)
        repository.ensure()
        pid = server.pid
        assert pid is not None
        timer = threading.Timer(2, lambda: os.kill(pid, how))
        timer.start()
        try:
            begun = time.monotonic()
            with pytest.raises(VaultUnreachable):
                store(repository, small)
            assert time.monotonic() - begun < 120  # not 15 minutes
        finally:
            timer.join()
            if how is signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
