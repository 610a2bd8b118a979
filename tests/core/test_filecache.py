"""The file cache: one fetches for all, the dead block nobody, what is in use stays, and a full disk costs the copy alone."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shardpipe.core.errors import StoreError
from shardpipe.core.filecache import CacheSettings, FileCache

USER = Path(__file__).parents[1] / "support" / "cache_user.py"
Process = subprocess.Popen[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def user(folder: Path, key: str, *, limit: int = 10_000, num_bytes: int = 1000, fetch_s: float = 0.0) -> Process:
    log = folder.with_name("log")
    args = [folder, limit, log, key, num_bytes, fetch_s]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, str(USER), *map(str, args)], text=True, **pipes)  # type: ignore[call-overload]


def said(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(*processes: Process) -> None:
    for process in processes:
        process.communicate("\n", timeout=60)
        assert process.returncode == 0


def num_fetched(folder: Path) -> int:
    return len(folder.with_name("log").read_text())


def test_many_processes_want_one_file(folder: Path) -> None:
    users = [user(folder, "aa", fetch_s=0.5) for _ in range(4)]
    assert sorted(said(each).split()[0] for each in users) == ["fetching", "have", "have", "have"]
    end(*users)
    assert num_fetched(folder) == 1


def test_a_killed_fetch_leaves_nothing_that_counts_and_blocks_nobody(folder: Path) -> None:
    killed = user(folder, "aa", fetch_s=60)
    assert said(killed) == "fetching"
    waiting = user(folder, "aa")
    assert not list(folder.glob("*.file"))
    killed.kill()
    killed.communicate()
    assert [said(waiting), said(waiting)] == ["fetching", f"have {folder / 'aa.file'}"]
    end(waiting)
    assert sorted(path.name for path in folder.iterdir()) == [".limit", "aa.file", "aa.lock"]


def put(data: bytes) -> Callable[[Path], None]:
    def fetch(path: Path) -> None:
        path.write_bytes(data)

    return fetch


def test_what_was_used_least_makes_room_but_not_what_is_in_use(folder: Path) -> None:
    cache = FileCache(CacheSettings(folder, 2500))
    living = user(folder, "aa", limit=2500)
    assert [said(living), said(living)] == ["fetching", f"have {folder / 'aa.file'}"]
    for key in ("bb", "cc"):
        with cache.use(key, 1000, put(key[:1].encode() * 1000)) as path:
            assert path is not None
            assert path.read_bytes() == key[:1].encode() * 1000
    assert sorted(path.name for path in folder.glob("*.file")) == ["aa.file", "cc.file"]
    with cache.use("cc", 1000, put(b"")) as path, cache.use("dd", 1000, put(b"d" * 1000)) as none:
        assert path is not None
        assert none is None  # all else is in use
    end(living)
    with cache.use("dd", 1000, put(b"d" * 1000)) as path:
        assert path is not None
    assert sorted(path.name for path in folder.glob("*.file")) == ["cc.file", "dd.file"]


def test_what_a_dead_fetch_left_makes_room_first(folder: Path) -> None:
    cache = FileCache(CacheSettings(folder, 2500))
    with cache.use("aa", 1000, put(b"a" * 1000)):
        pass
    (folder / "bb.part").write_bytes(b"b" * 1400)
    with cache.use("cc", 1000, put(b"c" * 1000)) as path:
        assert path is not None
    assert not list(folder.glob("*.part"))
    assert sorted(path.name for path in folder.glob("*.file")) == ["aa.file", "cc.file"]


def test_what_is_larger_than_the_limit_is_read_past_it(folder: Path) -> None:
    with FileCache(CacheSettings(folder, 999)).use("aa", 1000, put(b"")) as path:
        assert path is None
    assert not folder.exists()


def test_what_a_fetch_raises_counts_for_nothing(folder: Path) -> None:
    def broken(path: Path) -> None:
        path.write_bytes(b"half")
        raise StoreError("away")

    cache = FileCache(CacheSettings(folder, 5000))
    with pytest.raises(StoreError, match="away"), cache.use("aa", 1000, broken):
        pass
    assert sorted(path.name for path in folder.iterdir()) == [".limit", "aa.lock"]
    with cache.use("aa", 1000, put(b"a" * 1000)) as path:
        assert path is not None


def test_a_full_disk_costs_the_copy_and_one_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    cache = FileCache(CacheSettings(folder, 5000))
    for _ in range(2):
        with cache.use("aa", 1000, full) as path:
            assert path is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: remote files are read past the cache, as they cannot be kept there: [Errno 28] No space left on device"
    ]
    assert not list(folder.glob("*.part"))


def test_a_folder_that_is_none_costs_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (tmp_path / "file").touch()
    with FileCache(CacheSettings(tmp_path / "file", 5000)).use("aa", 1000, put(b"")) as path:
        assert path is None

    def refuse(_fd: int, _how: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    with FileCache(CacheSettings(folder, 5000)).use("aa", 1000, put(b"")) as path:
        assert path is None


@pytest.mark.slow
def test_many_processes_many_files_a_small_limit(folder: Path) -> None:
    """Nothing is seen half, and the limit holds."""
    users = [user(folder, f"{key}{key}", limit=3000, fetch_s=0.05) for _ in range(3) for key in "abcdef"]
    end(*users)
    assert sum(path.stat().st_size for path in folder.glob("*.file")) <= 3000


def test_what_is_not_ours_in_the_folder_stays_and_does_not_count(folder: Path) -> None:
    theirs = {"film.mp4", "notes.file", "a.part.bak", "0123abcd/b.mp4", "weights/b.file"}
    for name in theirs:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(9000))
    cache = FileCache(CacheSettings(folder, 6000))
    for key in ("aa", "bb", "cc"):
        with cache.use(key, 4000, lambda _: None) as kept:
            assert kept is not None
    assert theirs <= {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert [path.name for path in sorted(folder.glob("*.file"))] == ["cc.file", "notes.file"]
