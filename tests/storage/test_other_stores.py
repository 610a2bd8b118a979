"""Roots on any other file system of fsspec are read and written as carefully as S3's: asked again, checked, whole or not at all, and
known for what they are.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from support.counted_fs import Reads, counted

from shardpipe.core import temporary
from shardpipe.core.errors import ConfigError, IntegrityError, StoreError
from shardpipe.engine.upkeep.doctor import examine, fix
from shardpipe.storage.anyfs import AnyBackend
from shardpipe.storage.backend import Head
from shardpipe.storage.probe import known_honours
from shardpipe.storage.remote import RemoteStore
from shardpipe.storage.store import Honours, Store, open_store

DATA = bytes(range(200))


class BusyError(Exception):
    """As aiohttp's, by what tells it."""

    status = 503


class RefusedError(Exception):
    """Is no trouble that passes."""

    status = 403


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    monkeypatch.setattr(temporary, "LONGEST_PAUSE_S", 0.0)
    with counted({"/root/clips/rows/a": DATA}) as found:
        yield found


@pytest.fixture
def store(seen: Reads) -> Store:
    assert not seen.reads
    return open_store("counted://root", read_only=True)


def twice(act: Callable[[int, int], bytes | None]) -> Callable[[str, int, int], bytes | None]:
    """A trouble that ends after two reads."""
    left = [1, 1]
    return lambda _, start, stop: act(start, stop) if left and left.pop() else None


def fails(error: Exception) -> Callable[[int, int], bytes | None]:
    def act(start: int, stop: int) -> bytes | None:
        assert start < stop
        raise error

    return act


@pytest.mark.parametrize("error", [BusyError(), ConnectionResetError(), TimeoutError()])
def test_what_passes_is_asked_again(store: Store, seen: Reads, error: Exception) -> None:
    seen.trouble = twice(fails(error))
    assert store.read("clips/rows/a") == DATA
    seen.trouble = twice(fails(error))
    assert store.read_range("clips/rows/a", 5, 7) == DATA[5:12]


def test_a_short_answer_is_asked_again(store: Store, seen: Reads) -> None:
    seen.trouble = twice(lambda start, stop: DATA[start : stop - 1])
    assert store.read("clips/rows/a") == DATA
    seen.trouble = twice(lambda start, stop: DATA[start : stop - 1])
    assert store.read_range("clips/rows/a", 5, 7) == DATA[5:12]
    seen.trouble = lambda _, start, stop: DATA[start : stop - 1]
    for read in (lambda: store.read("clips/rows/a"), lambda: store.read_range("clips/rows/a", 5, 7)):
        with pytest.raises(StoreError, match=r"bytes came of|of 7 bytes came") as raised:
            read()
        assert not isinstance(raised.value, IntegrityError), "nothing of the object is wrong"


def test_what_stays_is_told_at_once(store: Store, seen: Reads) -> None:
    tries: list[int] = []

    def refuse(_: str, start: int, __: int) -> None:
        tries.append(start)
        raise RefusedError

    seen.trouble = refuse
    with pytest.raises(StoreError, match="RefusedError"):
        store.read("clips/rows/a")
    assert len(tries) == 1


def test_a_server_without_ranges(store: Store, seen: Reads) -> None:
    seen.trouble = lambda *_: DATA
    assert store.read_range("clips/rows/a", 5, 7) == DATA[5:12]
    with pytest.raises(IntegrityError):
        store.read_range("clips/rows/a", 190, 20)


def test_nothing_is_claimed_before_it_is_probed(store: Store) -> None:
    assert known_honours(store) is None
    assert open_store("counted://root").probe() == Honours(conditional_put=False, conditional_complete=False)


class KilledError(BaseException):
    """Ends a test's writer where it is, as `kill -9` would."""


@pytest.fixture
def plain(tmp_path: Path) -> Store:
    return open_store(f"local://{tmp_path}/root")


@pytest.mark.parametrize("name", ["pipe_file", "put_file"])
def test_a_write_that_fails_leaves_nothing(
    plain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(_: LocalFileSystem, *both: Any, **__: Any) -> None:
        Path(both[0 if name == "pipe_file" else 1]).write_bytes(b"half")
        raise PermissionError("no")

    monkeypatch.setattr(LocalFileSystem, name, fail)
    file = tmp_path / "file"
    file.write_bytes(b"whole")
    with pytest.raises(StoreError, match="PermissionError: no"):
        plain.create("a/b", b"whole") if name == "pipe_file" else plain.put_file("a/b", file)
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == []
    assert not plain.uploads()
    assert file.exists()


def test_what_a_killed_writer_left_is_unseen_and_goes(
    plain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither listed nor read; `doctor --fix` knows what it was to become."""
    plain.create("clips/dataset.json", b"{}")

    def die(*_: object, **__: object) -> None:
        raise KilledError

    paths = ["clips/rows/000001.parquet", "_run/drivers/1.json", "clips/shards/000000-0123456789ab.tar"]
    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "mv", die)
        patch.setattr(LocalFileSystem, "rm_file", die)
        for path in paths:
            with pytest.raises(KilledError):
                plain.replace(path, b"x") if path.startswith("_run") else plain.create(path, b"x")
    assert list(plain.list("")) == ["clips/dataset.json"]
    assert sorted(each.path for each in plain.uploads()) == sorted(paths)
    assert all(each.age_s < 60 for each in plain.uploads())
    found = [each for each in examine(plain).findings if each.upload is not None]
    assert [(each.fix, fix(plain, each)) for each in found] == [("abort", True)] * 3
    assert not plain.uploads()
    assert list((tmp_path / "root/.tmp").iterdir()) == []


class RefusedByConditionError(Exception):
    """As gcsfs's of a condition that does not hold."""

    __module__ = "gcsfs.retry"
    code = 412


class BucketFileSystem(MemoryFileSystem):
    """As gcsfs: `mode="create"` is a condition, which this bucket keeps to or not."""

    protocol = "gs"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    is_honest: ClassVar[bool] = True

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        if mode == "create" and self.is_honest and self._strip_protocol(path) in self.store:
            raise RefusedByConditionError
        super().pipe_file(path, value, **options)

    def mv(self, *_: Any, **__: Any) -> None:
        raise AssertionError("a move of a bucket is a copy")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("gs://", "memory://")))


@pytest.mark.parametrize("is_honest", [True, False])
def test_a_bucket_is_asked_for_what_it_keeps_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_honest: bool
) -> None:
    monkeypatch.setattr(BucketFileSystem, "is_honest", is_honest)
    monkeypatch.setattr(BucketFileSystem, "store", {})
    fs = BucketFileSystem(skip_instance_cache=True)
    store = RemoteStore(AnyBackend(fs, "/b/root"), "/b/root", url="gs://b/root", read_only=False)
    assert store.probe() == Honours(conditional_put=is_honest, conditional_complete=False)
    assert store.create("a", b"1") == b"1"
    assert store.create("a", b"2") == b"1"
    backend = store.backend
    if is_honest:
        with pytest.raises(FileExistsError):
            backend.create("/b/root/a", b"2")
    file = tmp_path / "file"
    file.write_bytes(b"3")
    store.overwrite("a", file)
    assert store.read("a") == b"3"
    assert not store.uploads()


@pytest.mark.parametrize(
    ("age_s", "said"),
    [(None, "tells not when an object was written"), (300.0, "clock .* 300 s ahead of counted://root")],
)
@pytest.mark.usefixtures("seen")
def test_drivers_are_told_apart_by_times(monkeypatch: pytest.MonkeyPatch, age_s: float | None, said: str) -> None:
    monkeypatch.setattr(AnyBackend, "head", lambda *_: Head(5, "1", age_s))
    with pytest.raises(ConfigError, match=said):
        open_store("counted://root").probe()


@pytest.mark.parametrize(
    "told",
    [
        lambda now: {"mtime": now.timestamp()},
        lambda now: {"last_modified": now},
        lambda now: {"modified": now.replace(tzinfo=None)},
        lambda now: {"updated": now.isoformat()},
    ],
)
def test_ages_by_any_of_their_names(
    store: Store, monkeypatch: pytest.MonkeyPatch, told: Callable[[datetime], dict[str, Any]]
) -> None:
    info = {"type": "file", "size": 3, **told(datetime.now(tz=UTC) - timedelta(seconds=100))}
    monkeypatch.setattr(type(fsspec.filesystem("counted")), "info", lambda *_: info)
    began_s = time.monotonic()
    age_s = store.age_s("a")
    assert age_s is not None
    assert 100 <= age_s <= 100 + time.monotonic() - began_s + 0.01
