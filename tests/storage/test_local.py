"""The local disk's own cases: kill -9, a full disk, another disk, dead and living processes' scratch."""

import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import killed_writer

from shardpipe.core.errors import ConfigError, StoreError
from shardpipe.storage import local as local_module
from shardpipe.storage.local import LocalStore
from shardpipe.storage.store import open_store

SHM = Path("/dev/shm")  # noqa: S108  another file system, where there is one


def scratch_names(root: Path) -> list[str]:
    return sorted(p.name for p in (root / ".tmp").iterdir()) if (root / ".tmp").exists() else []


def start_writer(root: Path, first: int = 0) -> subprocess.Popen[bytes]:
    writer = subprocess.Popen([sys.executable, killed_writer.__file__, str(root), str(first)], stdout=subprocess.PIPE)
    assert writer.stdout
    assert writer.stdout.readline().startswith(b"ready")
    return writer


def kill(writer: subprocess.Popen[bytes]) -> list[int]:
    """Kill it; the numbers that it had called committed."""
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert writer.stdout
    with writer.stdout as out:
        return [int(line) for line in out.read().splitlines(keepends=True) if line.endswith(b"\n")]


def kill_rounds(root: Path, rounds: int) -> None:
    rng = random.Random(rounds)
    committed: set[int] = set()
    for n in range(rounds):
        writer = start_writer(root, n * 100_000)
        time.sleep(rng.uniform(0.0, 0.05))
        committed |= set(kill(writer))
    for folder in ("rows", "shards"):
        there = {int(p.name): p.read_bytes() for p in (root / folder).iterdir()}
        assert all(killed_writer.is_whole(data) for data in there.values())
        assert committed <= there.keys()
    assert committed
    assert scratch_names(root)
    store = open_store(str(root))
    assert not scratch_names(root)
    assert not [path for path in store.list("") if ".tmp" in path]


def test_kill_never_shows_a_partial_object(tmp_path: Path) -> None:
    kill_rounds(tmp_path / "root", 20)


@pytest.mark.slow
def test_kill_never_shows_a_partial_object_many(tmp_path: Path) -> None:
    kill_rounds(tmp_path / "root", 100)


def test_scratch_of_the_living_stays_and_of_the_dead_goes(tmp_path: Path) -> None:
    mine = open_store(str(tmp_path)).scratch
    writer = start_writer(tmp_path)
    store = open_store(str(tmp_path))
    folder = store.scratch()
    (folder / "half.tar").write_bytes(b"x")
    before = scratch_names(tmp_path)
    assert any(f"-{writer.pid}-" in name for name in before)
    open_store(str(tmp_path))
    assert scratch_names(tmp_path) == before
    kill(writer)
    open_store(str(tmp_path), read_only=True)
    assert scratch_names(tmp_path) == before
    open_store(str(tmp_path))
    assert not any(f"-{writer.pid}-" in name for name in scratch_names(tmp_path))
    assert (folder / "half.tar").exists()
    assert mine().is_dir()


def test_scratch_goes_with_its_store_and_at_exit(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    folder = store.scratch()
    assert folder.is_dir()
    del store
    assert scratch_names(tmp_path) == []
    code = f"from shardpipe.storage.store import open_store; s = open_store({str(tmp_path)!r}); print(s.scratch().is_dir())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"True\n"
    assert scratch_names(tmp_path) == []


def test_a_forked_child_has_its_own_scratch(tmp_path: Path) -> None:
    code = f"""
import os
from shardpipe.storage.store import open_store
store = open_store({str(tmp_path)!r})
parents = store.scratch()
pid = os.fork()
if pid == 0:
    assert f"-{{os.getpid()}}-" in str(store.scratch())
    store.create("child", b"c")
    raise SystemExit(0)
assert os.waitpid(pid, 0)[1] == 0
assert parents.is_dir()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "child").read_bytes() == b"c"
    assert scratch_names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    store = open_store(str(tmp_path))
    store.create("rows/1", b"one")
    file = store.scratch() / "file"
    file.write_bytes(b"tar")

    def full(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(local_module.os, "write", full)
        with pytest.raises(StoreError, match=rf"disk is full.*rows/2.*{tmp_path}.*Nothing was lost"):
            store.create("rows/2", b"two")
    with monkeypatch.context() as patch:
        patch.setattr(local_module.os, "fsync", full)
        with pytest.raises(StoreError, match="disk is full"):
            store.put_file("shards/a", file)
    assert store.list("") == {"rows/1": 3}
    assert [p.name for p in tmp_path.glob(".tmp/*/*") if p.is_file()] == []
    assert store.create("rows/2", b"two") == b"two"
    store.put_file("shards/a", file)


def test_a_really_full_disk(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from shardpipe.core.errors import StoreError
from shardpipe.storage.store import open_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
store = open_store({str(tmp_path)!r})
store.create("small", bytes(1 << 20))
try:
    store.create("large", bytes(2 << 20))
except StoreError as error:
    print(error)
print(list(store.list("")), [p for p in store.scratch().parent.iterdir() if p.is_file()])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert "File too large" in out
    assert "['small'] []" in out


@pytest.mark.skipif(not SHM.is_dir(), reason="needs a second file system")
def test_put_file_from_another_disk(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    file = SHM / f"shardpipe-test-{os.getpid()}"
    try:
        for _ in range(2):
            file.write_bytes(b"far")
            store.put_file("shards/a", file)
            assert not file.exists()
    finally:
        file.unlink(missing_ok=True)
    assert store.read("shards/a") == b"far"
    assert [p for p in tmp_path.glob(".tmp/*/*") if p.is_file()] == []


def test_put_file_links_and_copies_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    file = store.scratch() / "file"
    file.write_bytes(b"near")
    inode = file.stat().st_ino
    store.put_file("shards/a", file)
    assert (tmp_path / "shards/a").stat().st_ino == inode


def test_put_file_of_what_gc_deletes_at_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It found the name taken, and nothing there when it looked what: it is put again."""
    store = open_store(str(tmp_path))
    file = store.scratch() / "file"
    file.write_bytes(b"tar")
    real, taken = os.link, [True]

    def link(*args: Path) -> None:
        if taken and taken.pop():
            raise FileExistsError(args[1])
        real(*args)

    monkeypatch.setattr(local_module.os, "link", link)
    store.put_file("shards/a", file)
    assert store.read("shards/a") == b"tar"


def test_a_file_system_without_links_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    store = open_store(str(tmp_path))
    monkeypatch.setattr(local_module.os, "link", refuse)
    with pytest.raises(StoreError, match="no hard links"):
        store.create("a", b"x")
    assert store.list("") == {}


def test_a_disk_error_is_a_store_error(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.create("a", b"x")
    with pytest.raises(StoreError, match=r"a/b in .*File exists"):
        store.create("a/b", b"x")
    with pytest.raises(StoreError, match="a/b"):
        store.read("a/b")
    assert store.size("a/b") is None
    store.delete("a/b")


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("/proc/nosuch/root", "nothing can be written in /proc/nosuch/root .*: choose another root"),
        ("/dev/null/root", "/dev/null is a file, and a Dataset's root must be a folder: choose another place"),
        (f"/{'a' * 300}", "cannot be a root: File name too long"),
    ],
)
def test_a_root_that_cannot_be_made_is_a_config_error(root: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LocalStore(Path(root)).create("clips/dataset.json", b"{}")


def test_stores_travel_to_other_processes(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("a", b"x")
    other = pickle.loads(pickle.dumps(store))  # noqa: S301
    assert other.read("a") == b"x"
    assert other.scratch().parent != store.scratch().parent
