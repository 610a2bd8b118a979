"""Layers, members, slices, new sources, limits, and the invariant of emit."""

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.agreement import check_train
from support.fakes import CALLS, Blob, Scored, Worded
from support.runs import calls, make_config, rows_of, run_inline, snapshot

from shardpipe.core.errors import ConfigError, IncompleteError, StoreError
from shardpipe.engine.emission.index import is_whole
from shardpipe.executors.plan import plan_config
from shardpipe.storage.crashing import CrashingStore, RecordingStore
from shardpipe.storage.rows import decode_table
from shardpipe.storage.store import Store, open_store

SCORE = {"name": "score", "stages": [Scored()]}
OTHER = {"name": "other", "stages": [Scored(column="speed"), Blob()], "keep": ["start_s < 2"], "unit_clips": 2}
BOTH = {
    "name": "train",
    "from": ["score", "other"],
    "keep": ["score + speed < 3", "blob_bytes > 1"],
    "emit": {"members": ["json", "mp4", "npy"], "columns": ["key", "score", "speed"]},
    "shard_bytes": 30_000,
}


def run(root: Path, videos: Path, *passes: Mapping[str, Any], **options: Any) -> Store:
    CALLS.clear()
    assert not run_inline(make_config(root, videos, passes), **options).pending
    return open_store(str(root))


def test_two_layers_over_one_base(videos: Path, tmp_path: Path) -> None:
    store = run(tmp_path / "root", videos, SCORE, OTHER, BOTH)
    rows = rows_of(store, "train")
    assert len(rows) == 5
    for row in rows.values():
        assert row["score"] is not None
        assert row["kept"] == (row["start_s"] < 1.5)
        assert (row["speed"] is None) == (row["start_s"] >= 2)
    with tarfile.open(tmp_path / "root/train/shards/train-000000.tar") as tar:
        names = tar.getnames()
        assert [name.rsplit(".", 1)[1] for name in names] == ["json", "mp4", "npy"] * (len(names) // 3)
        for name in names[2::3]:
            member = tar.extractfile(name)
            assert member is not None
            assert member.read() == f"blob of {name.removesuffix('.npy')}".encode() * 40


def test_layers_that_write_the_same_column(videos: Path, tmp_path: Path) -> None:
    again = {"name": "again", "stages": [Scored(frames_wanted=True)]}
    both = {"name": "both", "from": ["score", "again"]}
    with pytest.raises(ConfigError, match=r"column 'score' is written by score and by again.*rename"):
        run(tmp_path / "root", videos, SCORE, again, both)
    assert not (tmp_path / "root" / "clips").exists()
    renamed = {**again, "rename": {"score": "score_2"}}
    store = run(tmp_path / "root", videos, SCORE, renamed, {**both, "keep": ["score = score_2"]})
    assert all(row["kept"] for row in rows_of(store, "both").values())


def test_an_unfinished_layer_is_waited_for(videos: Path, tmp_path: Path) -> None:
    """One slice of a layer is missing: its unit waits, and is no failure."""
    root = tmp_path / "root"
    store = run(root, videos, SCORE, OTHER)
    slices = sorted(store.list("other/rows"))
    store.delete(slices[1])
    report = run_inline(make_config(root, videos, [SCORE, OTHER, BOTH]), only="train")
    assert not report.failed_units
    assert "train" in report.pending
    assert len(store.list("train/rows")) == 1
    assert not store.list("train/plan")
    run(root, videos, SCORE, OTHER, BOTH)
    check_train(store)


@pytest.mark.parametrize("between", ["rows", "shards"])
def test_the_last_tars_do_not_depend_on_what_came_before(videos: Path, tmp_path: Path, between: str) -> None:
    """Unshuffled emit: whether the passes before wrote rows or shards of their own."""
    first = {**SCORE, "keep": ["start_s < 2"], "stages": [Scored(), Blob()]}
    second = {"name": "words", "from": "score", "stages": [Worded()]}
    last = {
        "name": "train",
        "from": "words",
        "keep": ["score < 1.5"],
        "emit": {"members": ["json", "mp4", "txt", "npy"]},
        "shard_bytes": 25_000,
    }
    plain = run(tmp_path / "rows", videos, first, second, last)
    expected = {path: data for path, data in snapshot(plain).items() if path.startswith("train/shards")}
    assert len(expected) > 2
    emit = {"members": ["json", "mp4", "npy"]}
    emitting = [{**first, "emit": emit, "shard_bytes": 15_000}, second, last]
    if between == "shards":
        emitting[1] = {**second, "emit": emit, "shard_bytes": 40_000}
    other = run(tmp_path / "shards", videos, *emitting)
    assert {path: data for path, data in snapshot(other).items() if path.startswith("train/shards")} == expected
    check_train(other)


def test_new_sources(videos: Path, long_video: Path, tmp_path: Path) -> None:
    """They append a batch; later passes do only the new units, emit plans new windows, and nothing old changes."""
    root = tmp_path / "root"
    passes = [SCORE, {**BOTH, "from": "score", "keep": ["score < 9"], "emit": {"plan_units": 1}}]
    store = run(root, videos, *passes)
    before = snapshot(store)
    run(root, videos, *passes, add_sources=str(long_video))
    assert {path: data for path, data in snapshot(store).items() if path in before} == before
    assert len(calls()) == 11
    assert len(store.list("clips/sources")) == 2
    assert len(store.list("train/plan")) > 2
    index = decode_table(store.read("train/index.0002.parquet"))[0]
    assert index.num_rows == 5 + 9
    again = snapshot(store)
    run(root, videos, *passes, add_sources=str(long_video))
    assert calls() == []
    assert snapshot(store) == again


def test_limit_and_partial(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    passes = [SCORE, {**BOTH, "from": "score", "keep": [], "emit": "shards"}]
    config = make_config(root, videos, passes)
    report = run_inline(config, limit=1)
    store = open_store(str(root))
    assert set(report.pending) == {"clips", "score", "train"}
    assert [len(store.list(f"{name}/rows")) for name in ("clips", "score", "train")] == [1, 1, 1]
    assert not store.list("train/plan")
    report = run_inline(config, only="clips")
    assert report.passes == ("clips",)
    store.delete("clips/rows/000001.parquet")
    report = run_inline(config, only="score", partial=True)
    assert "score" in report.pending
    assert report.passes == ()
    assert len(calls()) == 3
    report = run_inline(config)
    assert not report.pending
    assert len(calls()) == 5
    check_train(store)


def test_a_pass_over_an_emitted_dataset_refuses_an_unfinished_one(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    train = {**SCORE, "name": "train", "emit": "shards"}
    late = {"name": "late", "from": "train", "stages": [Worded()]}
    store = run(root, videos, train)
    store.delete("train/index.parquet")
    with pytest.raises(IncompleteError, match="no index"):
        run_inline(make_config(root, videos, [train, late]), only="late")
    run(root, videos, train, late)
    assert len(calls("worded")) == 5
    assert calls() == []


def test_a_clean_second_run_changes_and_repeats_nothing(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    store = run(root, videos, SCORE, OTHER, BOTH)
    before = snapshot(store)
    CALLS.clear()
    counting = CrashingStore(store, None)
    run_inline(make_config(root, videos, [SCORE, OTHER, BOTH]), counting)
    assert CALLS == []
    assert snapshot(store) == before
    done = [each for each in counting.operations if each.name in ("put_file", "delete", "read_range")]
    assert {(each.name, each.path) for each in done} == {("read_range", "train/index.parquet")}
    assert is_whole(store, "train")


class _NoTimings(RecordingStore):
    """Refuses what may be replaced: timings."""

    def replace(self, path: str, data: bytes) -> None:
        raise StoreError(f"{path}: slow down, please")


def test_a_timing_that_cannot_be_written_ends_no_run(videos: Path, tmp_path: Path) -> None:
    config = make_config(tmp_path / "root", videos, [SCORE])
    report = run_inline(config, _NoTimings(open_store(config.root)))
    assert report.passes == ("clips", "score")
    assert not report.failed_units


def test_a_dry_run_with_a_limit_counts_what_that_run_would_do(videos: Path, tmp_path: Path) -> None:
    config = make_config(tmp_path / "root", videos, [SCORE])
    run_inline(config, limit=1)
    (left, _), (limited, _) = plan_config(config).phases, plan_config(config, limit=1).phases
    assert (left.num_done, limited.num_done) == (1, 1)
    assert left.num_units == limited.num_units
    assert left.num_clips
    assert limited.num_clips == 0
    assert [each.phase for each in plan_config(config, partial=True).phases] == ["cut", "rows"]
