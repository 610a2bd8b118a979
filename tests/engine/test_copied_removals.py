"""Clips that were removed: a copy takes the list of them along first, and never their bytes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.runs import snapshot
from support.tiny_dataset import fake_mp4, keys_of, make_clips, make_pass

from shardpipe.core.columns import float32
from shardpipe.core.errors import ConfigError
from shardpipe.engine.upkeep.copying import Copying, copying
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.removed import Entry, Removed
from shardpipe.storage.store import Store, open_store

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


def blank(store: Store, *parts: bytes) -> None:
    """Take bytes out of the tars that have them, as `remove` does: same sizes, same names."""
    for data in parts:
        (file,) = [path for path in Path(store.url).rglob("*.tar") if data in path.read_bytes()]
        file.write_bytes(file.read_bytes().replace(data, bytes(len(data))))


def test_the_list_goes_first_and_the_blank_tars_are_copied(source: Store, tmp_path: Path) -> None:
    note_removed(source, [KEY])
    note_removed(source, ["elsewhere"])
    blank(source, fake_mp4(KEY), member(KEY))
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


def test_damage_beside_a_removed_clip_is_found(source: Store, tmp_path: Path) -> None:
    note_removed(source, [KEY])
    blank(source, fake_mp4(KEY), member(KEY), fake_mp4(OTHER))
    (problem,) = copying(source.url, str(tmp_path / "copy")).run().problems
    assert f"is damaged: what it has of clip {OTHER}" in problem.text


def test_a_copy_of_before_is_told_of(source: Store, tmp_path: Path) -> None:
    """It is left as it is, and knows now what is to be removed from it."""
    root = tmp_path / "copy"
    copying(source.url, str(root)).run()
    note_removed(source, [KEY])
    blank(source, fake_mp4(KEY), member(KEY))
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
    blank(source, fake_mp4(KEY), member(KEY))
    assert copying(source.url, other.url).run().problems == ()
    assert set(other.list("")) >= {"removed.parquet", "removed.0001.parquet", "removed.0002.parquet"}
