"""What every store promises, on a local disk, in memory, on moto, on Ceph and by fsspec's plain calls; what is S3's alone is in
test_s3.py.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from support.s3_fixtures import EACH_KIND, MakeRoot

from shardpipe.core.errors import ConfigError, IntegrityError, StoreError
from shardpipe.storage.store import Store, open_store

CONDITIONAL = ["local", "memory", *EACH_KIND]
"""Where an object can be created only if it is absent."""


@pytest.fixture(params=[*CONDITIONAL, "plain"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3_root: MakeRoot) -> Iterator[Store]:
    if request.param == "plain":
        yield open_store(f"local://{tmp_path}/root")
        return
    if request.param != "memory":
        yield open_store(str(tmp_path / "root") if request.param == "local" else s3_root(request.param).url)
        return
    name = uuid4().hex
    yield open_store(f"memory://{name}/root")
    fsspec.filesystem("memory").rm(f"/{name}", recursive=True) if fsspec.filesystem("memory").exists(
        f"/{name}"
    ) else None


def put(store: Store, path: str, data: bytes) -> Path:
    file = store.scratch() / "file"
    file.write_bytes(data)
    store.put_file(path, file)
    return file


def test_create_returns_what_is_there(store: Store) -> None:
    assert store.create("clips/dataset.json", b"first") == b"first"
    assert store.create("clips/dataset.json", b"second") == b"first"
    assert store.read("clips/dataset.json") == b"first"
    assert store.create("clips/empty", b"") == b""
    assert store.create("clips/empty", b"no") == b""


@pytest.mark.parametrize("store", CONDITIONAL, indirect=True)
def test_create_of_many_threads_has_one_winner(store: Store) -> None:
    for n in range(10):
        start, got = threading.Barrier(8), []

        def race(i: int, n: int = n, start: threading.Barrier = start, got: list[bytes] = got) -> None:
            start.wait()
            got.append(store.create(f"x/{n}", str(i).encode() * 1000))

        threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 8
        assert set(got) == {store.read(f"x/{n}")}


def test_put_file_consumes_and_keeps_what_is_there(store: Store) -> None:
    assert not put(store, "shards/a.tar", b"abc").exists()
    assert store.read("shards/a.tar") == b"abc"
    assert not put(store, "shards/a.tar", b"xyz").exists()
    assert store.read("shards/a.tar") == b"abc"
    with pytest.raises(IntegrityError, match=r"shards/a\.tar .*3 bytes.*4"):
        put(store, "shards/a.tar", b"four")
    assert store.read("shards/a.tar") == b"abc"


def test_missing_objects(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("no/such")
    with pytest.raises(FileNotFoundError):
        store.read_range("no/such", 0, 1)
    assert store.size("no/such") is None
    assert store.list("no") == {}
    assert store.list("") == {}
    store.delete("no/such")


def test_ranges(store: Store) -> None:
    store.create("a", bytes(range(100)))
    assert store.read_range("a", 10, 5) == bytes(range(10, 15))
    assert store.read_range("a", 95, 5) == bytes(range(95, 100))
    assert store.read_range("a", 3, 0) == b""
    for start, length in ((95, 6), (100, 1), (5000, 10)):
        with pytest.raises(IntegrityError, match="ends too early"):
            store.read_range("a", start, length)


def test_list_is_recursive_sorted_and_fresh(store: Store) -> None:
    for path in ("clips/rows/b", "clips/rows/a", "clips/shards/x/y", "clips2/z", "clips/a"):
        store.create(path, path.encode())
    assert list(store.list("clips")) == ["clips/a", "clips/rows/a", "clips/rows/b", "clips/shards/x/y"]
    assert store.list("clips/") == store.list("clips")
    assert store.list("clips/rows") == {"clips/rows/a": 12, "clips/rows/b": 12}
    assert "clips2/z" in store.list("")
    assert store.list("clips/a") == {}
    store.create("clips/rows/c", b"")
    store.delete("clips/rows/a")
    assert store.list("clips/rows") == {"clips/rows/b": 12, "clips/rows/c": 0}
    assert store.size("clips/rows/b") == 12
    assert store.size("clips/rows") is None


def test_a_rewritten_object_has_another_version(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b"):
        store.create(f"x/{name}", b"first of " + name.encode())
    before = store.entries("x")
    assert {path: entry.size for path, entry in before.items()} == store.list("x") == {"x/a": 10, "x/b": 10}
    file = tmp_path / "file"
    file.write_bytes(b"second".ljust(10))
    store.overwrite("x/a", file)
    assert not file.exists()
    after = store.entries("x")
    assert (after["x/a"].size, after["x/b"]) == (10, before["x/b"])
    assert after["x/a"].version != before["x/a"].version
    assert store.read("x/a") == b"second    "


def test_ages_are_of_the_last_write(store: Store) -> None:
    assert store.age_s("_run/x") is None
    store.replace("_run/x", b"1")
    time.sleep(2.5)  # S3 tells whole seconds
    store.create("y", b"")
    age_s, younger_s = store.age_s("_run/x"), store.age_s("y")
    assert age_s is not None
    assert younger_s is not None
    assert younger_s <= 1.5 < age_s < 60
    store.replace("_run/x", b"2")
    assert (store.age_s("_run/x") or 0.0) <= 1.5


def test_only_run_objects_are_replaced(store: Store) -> None:
    store.replace("_run/heartbeat/1", b"a")
    store.replace("_run/heartbeat/1", b"bb")
    assert store.read("_run/heartbeat/1") == b"bb"
    for path in ("clips/dataset.json", "_run", "clips/_run/x"):
        with pytest.raises(StoreError, match="never replaced"):
            store.replace(path, b"x")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".",
        "a/./b",
        "a\0b",
        "a\nb",
        "a\\b",
        ".tmp/a",
        "a/.tmp/b",
        "a\x7f",
        "\udc80",
    ],
)
def test_bad_paths_are_refused(store: Store, path: str) -> None:
    with pytest.raises(StoreError, match="bad object path"):
        store.create(path, b"x")
    for act in (store.read, store.size, store.delete, store.local_path):
        with pytest.raises(StoreError, match="bad object path"):
            act(path)
    if path not in ("", "a/"):
        with pytest.raises(StoreError, match="bad object path"):
            store.list(path)


def test_names_of_any_script_are_fine(store: Store) -> None:
    store.create("clips/ünï çødé 視頻.json", b"x")
    assert list(store.list("clips")) == ["clips/ünï çødé 視頻.json"]


def test_read_only_stores_refuse_writes(store: Store, tmp_path: Path) -> None:
    store.create("a", b"x")
    reader = open_store(store.url, read_only=True)
    assert reader.read("a") == b"x"
    file = tmp_path / "file"
    file.write_bytes(b"y")
    acts = (
        lambda: reader.create("b", b"x"),
        lambda: reader.put_file("b", file),
        lambda: reader.replace("_run/b", b"x"),
        lambda: reader.delete("a"),
        lambda: reader.overwrite("a", file),
    )
    for act in acts:
        with pytest.raises(StoreError, match="reading only"):
            act()
    assert file.exists()
    assert list(store.list("")) == ["a"]


def test_nothing_is_made_before_the_first_write(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "root"))
    assert store.list("") == {}
    assert not (tmp_path / "root").exists()


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("here").url == str(tmp_path / "here")
    assert open_store(f"file://{tmp_path}/x").url == f"{tmp_path}/x"
    assert open_store("memory://run7/").url == "memory://run7"
    assert open_store("memory://run7").local_path("a") is None
    assert open_store("here").local_path("a/b") == tmp_path / "here/a/b"
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"file is a file"):
        open_store(str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="nosuch"):
        open_store("nosuch://a/b")


@pytest.mark.parametrize("url", ["https://example.com/root", "simplecache::memory://root"])
def test_what_is_only_read_is_no_root_to_write(url: str) -> None:
    with pytest.raises(ConfigError, match=rf"cannot write to {url}: .* is read only"):
        open_store(url)
    assert open_store(url, read_only=True).url == url
