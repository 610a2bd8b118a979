"""Copies of roots and Datasets: crashes at every write, damage on either side, what is refused, what is left behind."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from support.finished_root import ALL, finished_root
from support.runs import snapshot
from support.tiny_dataset import keys_of, make_clips, make_pass

from shardpipe.core.columns import float32
from shardpipe.core.errors import ConfigError, IncompleteError, ShardpipeError
from shardpipe.engine.upkeep.copying import Copying, copying
from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.views.opened import OpenDataset
from shardpipe.storage.crashing import Crash, CrashingStore, CrashMode, RecordingStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.store import Store, open_store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return finished_root(tmp_path_factory.mktemp("finished") / "root")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return finished_root(tmp_path_factory.mktemp("small") / "root", num_units=1)


@pytest.fixture
def root(finished: Store, tmp_path: Path) -> Path:
    """The same, for a test to spoil."""
    shutil.copytree(finished.url, tmp_path / "root", ignore=shutil.ignore_patterns(".tmp"))
    return tmp_path / "root"


@pytest.fixture
def memory() -> Iterator[str]:
    url = f"memory://{uuid4().hex}"
    yield url
    store = open_store(url)
    for path in store.list(""):
        store.delete(path)


def opened(root: Path, path: str) -> Path:
    (found,) = sorted(root.glob(path))[:1]
    return found


def assert_same(source: Store, destination: str) -> None:
    assert snapshot(open_store(destination)) == snapshot(source)
    assert verify(destination).problems == ()


def is_complete(store: Store, name: str) -> bool:
    try:
        return OpenDataset(Dataset.open(store, name)).is_complete
    except IncompleteError:
        return False


def test_a_root_is_copied_and_only_once(finished: Store, memory: str) -> None:
    done = copying(finished.url, memory).run()
    assert (set(done.datasets), done.unfinished, done.problems, done.num_there) == (set(ALL), (), (), 0)
    assert_same(finished, memory)
    assert done.num_objects == len(snapshot(finished))
    assert done.num_bytes == sum(map(len, snapshot(finished).values()))
    recorded = RecordingStore(open_store(memory))
    again = Copying(finished, recorded, ALL).run()
    assert (again.num_objects, again.num_there) == (0, done.num_objects)
    assert {each.name for each in recorded.operations} == {"list", "read", "size"}


def test_back_to_a_disk_and_read_back(finished: Store, memory: str, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    copying(finished.url, memory).run()
    done = copying(memory, str(tmp_path / "back")).run(verify=True, report=lambda *each: told.append(each))
    assert set(done.datasets) == set(ALL)
    assert_same(finished, str(tmp_path / "back"))
    assert told[-1] == (done.num_bytes, done.num_bytes)
    assert not [path for path in (tmp_path / "back" / ".tmp").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_dataset_with_those_that_it_is_made_from(finished: Store, memory: str) -> None:
    done = copying(f"{finished.url}/score", memory).run()
    assert done.datasets == ("clips", "score")
    names = {path.split("/", 1)[0] for path in open_store(memory).list("")}
    assert names == {"clips", "score"}
    assert verify(memory).problems == ()
    copying(f"{finished.url}/late", memory).run()
    assert_same(finished, memory)


@pytest.mark.parametrize("mode", ["after", "torn reply", pytest.param("before", marks=pytest.mark.slow)])
def test_a_crash_at_any_write(small: Store, mode: CrashMode) -> None:
    """At no moment does a Dataset look complete of which something is missing; a second run makes it the same."""
    whole = snapshot(small)
    n, crashed = 0, True
    while crashed:
        url = f"memory://{uuid4().hex}"
        crashing = CrashingStore(open_store(url), n, mode, writes_only=True)
        with suppress(Crash, ShardpipeError):
            Copying(small, crashing, ALL).run()
        crashed = crashing.count > n
        there = snapshot(open_store(url))
        for name in ALL:
            parts = {path for path in whole if path.startswith(f"{name}/")}
            assert parts <= there.keys() or not is_complete(open_store(url), name), (n, name)
        Copying(small, open_store(url), ALL).run()
        assert snapshot(open_store(url)) == whole, n
        store = open_store(url)
        for path in store.list(""):
            store.delete(path)
        n += 1
    assert n == len(whole) + 1


PLACES: dict[str, tuple[str, ...]] = {
    "clips/shards/*.tar": (),
    "clips/rows/*.1.parquet": (),
    "score/members/*.tar": ("clips",),
    "train/shards/*.tar": ("clips", "score"),
    "train/emit/*.parquet": ("clips", "score"),
    "train/shards/*.idx": ("clips", "score"),
    "train/urls.txt": ("clips", "score"),
    "train/wids.json": ("clips", "score"),
    "late/dataset.json": ("clips", "score", "train"),
}
"""Objects that are damaged, and the Datasets that can be copied whole all the same."""

DAMAGES = [(path, change) for path in PLACES for change in ("cut", "flip", "gone")]
DAMAGES.remove(("late/dataset.json", "gone"))  # then there is no such Dataset


@pytest.mark.parametrize(("path", "change"), DAMAGES)
def test_damage_at_the_source_is_told_and_not_copied(root: Path, memory: str, path: str, change: str) -> None:
    file, whole = opened(root, path), PLACES[path]
    data, name = file.read_bytes(), str(file.relative_to(root))
    at = min(200, len(data) - 1)
    spoilt = {
        "cut": data[:-700] if len(data) > 700 else data[:-7],
        "flip": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        "gone": None,
    }[change]
    if spoilt is None:
        file.unlink()
    else:
        file.write_bytes(spoilt)
    done = copying(str(root), memory).run()
    assert {problem.path for problem in done.problems} == {name}
    assert done.datasets == whole
    there = open_store(memory)
    assert name not in there.list("")
    assert not [each for each in ALL if each not in whole and is_complete(there, each)]
    file.write_bytes(data)
    assert copying(str(root), memory).run().unfinished == ()
    assert_same(open_store(str(root)), memory)


def test_damage_at_the_destination_is_mended(finished: Store, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    copying(finished.url, str(root)).run()
    for path in ("clips/shards/*.tar", "clips/rows/*.parquet", "train/shards/*.tar"):
        file = opened(root, path)
        file.write_bytes(file.read_bytes()[:-600])
    assert copying(finished.url, str(root)).run().num_objects == 3
    assert_same(finished, str(root))
    given = [
        opened(root, path) for path in ("train/shards/*.idx", "train/urls.txt", "train/wids.json", "train/README.md")
    ]
    for file in given:
        file.write_bytes(b"garbage")
    assert copying(finished.url, str(root)).run().num_objects == len(given)
    assert_same(finished, str(root))
    file = opened(root, "train/shards/*.tar")
    file.write_bytes(bytes(file.stat().st_size))  # of the right size: `verify` reads it
    assert copying(finished.url, str(root)).run().num_objects == 0
    assert copying(finished.url, str(root)).run(verify=True).num_objects == 1
    assert_same(finished, str(root))


def test_what_nothing_names_is_left_behind(root: Path, memory: str) -> None:
    before = snapshot(open_store(str(root)))
    for path in ("clips/shards/000009-0123456789ab.tar", "clips/notes.txt", "train/shards/other.tar.idx", "my/file"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"mine")
    done = copying(str(root), memory).run()
    assert (done.num_left, done.problems) == (3, ())
    assert snapshot(open_store(memory)) == before
    assert not open_store(memory).list("_run")


def test_another_dataset_of_that_name_is_refused(finished: Store, memory: str, tmp_path: Path) -> None:
    other = open_store(str(tmp_path / "other"))
    make_clips(other, keys_of(1, 1))
    make_pass(other, "score", columns={"other": float32}, score=lambda _: {"other": 1.0})
    before = snapshot(other)
    with pytest.raises(ConfigError, match=r"score is another Dataset \(fingerprint .*nothing was copied"):
        copying(finished.url, other.url)
    assert snapshot(other) == before
    open_store(memory).create("clips/rows/000000.parquet", b"begun by another copy")
    with pytest.raises(ConfigError, match=r"clips/rows/000000\.parquet is no part of a copy of"):
        copying(finished.url, memory)


def test_places_that_cannot_be(finished: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in"):
        copying(finished.url, f"{finished.url}/copy")
    with pytest.raises(ConfigError, match="there is no Dataset here"):
        copying(str(tmp_path / "none"), str(tmp_path / "copy"))
    with pytest.raises(ConfigError, match="carries a password"):
        copying(finished.url, "s3://me:planted@bucket/run")
    assert not (tmp_path / "copy").exists()
