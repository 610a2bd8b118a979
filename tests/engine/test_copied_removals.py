"""Clips that were removed: a copy takes the list of them along first, and never their bytes."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from support.finished_root import ALL, finished_root
from support.runs import snapshot
from support.tiny_dataset import fake_mp4, keys_of, make_clips, make_pass

from shardpipe.core.columns import float32
from shardpipe.core.errors import ConfigError
from shardpipe.engine.upkeep.copying import Copying, copying
from shardpipe.engine.upkeep.wish import Wish
from shardpipe.executors.remove import remove_root
from shardpipe.storage.blanks import BLANK, blank
from shardpipe.storage.crashing import Crash, CrashingStore, HookedStore, RecordingStore
from shardpipe.storage.removed import Entry, Removed
from shardpipe.storage.store import Store, open_store
from shardpipe.storage.tar import read_members

KEY, OTHER = "v0_00000001", "v0_00000002"


def member(key: str) -> bytes:
    return b"what a stage wrote of " + key.encode()


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """`clips` of two units, and a pass with a member of each clip."""
    store = open_store(str(tmp_path / "source"))
    make_clips(store, keys_of(2, 3))
    make_pass(
        store,
        "score",
        columns={"aes": float32},
        score=lambda row: {"aes": 1.0, "emb": member(row["key"])},
        members={"emb": "npy"},
    )
    return store


def note_removed(store: Store, keys: Sequence[str]) -> None:
    Removed(store).append([Entry(key, None) for key in keys])


def blank_all(store: Store) -> None:
    """Take what is on the list out of all tars, as `remove` does."""
    for path in store.list(""):
        if path.endswith(".tar"):
            blank(store, path, Removed(store))


def test_the_list_goes_first_and_the_blank_tars_are_copied(source: Store, tmp_path: Path) -> None:
    note_removed(source, [KEY])
    note_removed(source, ["elsewhere"])
    blank_all(source)
    recorded = RecordingStore(open_store(str(tmp_path / "copy")))
    done = Copying(source, recorded, ["score"]).run(verify=True)
    assert (done.problems, done.unfinished) == ((), ())
    writes = [each.path for each in recorded.operations if each.name in ("create", "put_file")]
    assert writes[:2] == ["removed.parquet", "removed.0001.parquet"]
    assert snapshot(recorded.inner) == snapshot(source)
    assert Copying(source, recorded, ["score"]).run().num_objects == 0


def test_a_removal_that_is_not_over_is_told(source: Store, tmp_path: Path) -> None:
    note_removed(source, [KEY])
    done = copying(source.url, str(tmp_path / "copy")).run()
    assert {problem.path.split("/")[1] for problem in done.problems} == {"shards", "members"}
    assert all(f"still holds clip {KEY}" in problem.text for problem in done.problems)
    assert done.unfinished == ("clips", "score")
    copied = snapshot(open_store(str(tmp_path / "copy")))
    assert "removed.parquet" in copied
    assert not [path for path, data in copied.items() if fake_mp4(KEY) in data or member(KEY) in data]


@pytest.mark.parametrize("place", ["clip", "sidecar", "padding", "header", "zeros"])
def test_damage_beside_a_removed_clip_is_found(source: Store, tmp_path: Path, place: str) -> None:
    note_removed(source, [KEY])
    blank_all(source)
    (file,) = [path for path in Path(source.url).rglob("*.tar") if fake_mp4(OTHER) in path.read_bytes()]
    data = file.read_bytes()
    places = {name: (at, size) for name, at, size in read_members(data)}
    at, size = places[f"{OTHER}.{'json' if place == 'sidecar' else 'mp4'}"]
    at = {"padding": at + size, "header": at - 400, "zeros": places[BLANK][0]}.get(place, at)
    file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    (problem,) = copying(source.url, str(tmp_path / "copy")).run().problems
    assert problem.path == str(file.relative_to(source.url))


def test_a_copy_of_before_is_told_of(source: Store, tmp_path: Path) -> None:
    """It is left as it is, and knows now what is to be removed from it."""
    root = tmp_path / "copy"
    copying(source.url, str(root)).run()
    note_removed(source, [KEY])
    blank_all(source)
    done = copying(source.url, str(root)).run()
    assert len(done.problems) == 2
    assert all("run the same `shardpipe remove` there" in problem.text for problem in done.problems)
    assert (root / "removed.parquet").exists()
    shutil.rmtree(root / "clips")
    shutil.rmtree(root / "score")
    assert copying(source.url, str(root)).run().problems == ()


def test_what_was_removed_at_the_destination_does_not_come_back(source: Store, tmp_path: Path) -> None:
    other = open_store(str(tmp_path / "copy"))
    note_removed(other, [KEY])
    with pytest.raises(ConfigError, match=rf"1 clips were removed at .* \(the first: {KEY}\)"):
        copying(source.url, other.url)
    note_removed(source, ["elsewhere"])
    note_removed(source, [KEY, "more"])
    blank_all(source)
    assert copying(source.url, other.url).run().problems == ()
    assert set(other.list("")) >= {"removed.parquet", "removed.0001.parquet", "removed.0002.parquet"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return finished_root(tmp_path_factory.mktemp("finished") / "root", num_units=2)


@pytest.fixture
def whole(finished: Store, tmp_path: Path) -> Store:
    """A root with shards, for a test to change."""
    shutil.copytree(finished.url, tmp_path / "whole", ignore=shutil.ignore_patterns(".tmp"))
    return open_store(str(tmp_path / "whole"))


@pytest.mark.parametrize("is_removed_there", [False, True])
@pytest.mark.parametrize("n", [7, 24, 31, 36])
def test_a_copy_that_was_cut_off_is_finished_after_a_takedown(
    whole: Store, tmp_path: Path, n: int, *, is_removed_there: bool
) -> None:
    """At whichever write. What is a Dataset there is left to `remove`, what is none yet is replaced."""
    root = tmp_path / "copy"
    with suppress(Crash):
        Copying(whole, CrashingStore(open_store(str(root)), n, writes_only=True), ALL).run()
    remove_root(whole.url, Wish(keys=(KEY,)))
    begun = [name for name in ALL if not (root / name / "dataset.json").exists()]
    if not is_removed_there:
        done = copying(whole.url, str(root)).run()
        assert not [problem for problem in done.problems if problem.path.split("/")[0] in begun]
    if "clips" not in begun or is_removed_there:
        assert remove_root(str(root), Wish(keys=(KEY,))).problems == ()
        assert not [path for path in root.rglob("*.tar") if fake_mp4(KEY)[:64] in path.read_bytes()]
    done = copying(whole.url, str(root)).run(verify=True)
    assert (done.problems, done.unfinished) == ((), ())
    assert without_list(open_store(str(root))) == without_list(whole)


def without_list(store: Store) -> dict[str, bytes]:
    return {path: data for path, data in snapshot(store).items() if not path.startswith("removed")}


def test_a_takedown_during_a_copy_is_told(whole: Store, tmp_path: Path) -> None:
    def remove(_: int, name: str, path: str) -> None:
        if name == "create" and path.startswith("train/emit/"):
            remove_root(whole.url, Wish(keys=(KEY,)))

    other = open_store(str(tmp_path / "copy"))
    done = Copying(whole, HookedStore(other, remove), ALL).run()
    assert any("clips were removed" in problem.text for problem in done.problems)
    assert "train" not in done.datasets
    remove_root(other.url, Wish(keys=(KEY,)))
    done = copying(whole.url, other.url).run()
    assert (done.problems, done.unfinished) == ((), ())
    assert without_list(other) == without_list(whole)
