"""Sources of every kind, layers, members, slices, parts of long videos, new sources, limits, and the invariant of emit."""

import tarfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from support.agreement import check_clips, check_train
from support.fakes import CALLS, Blob, Scored, Worded
from support.numbered import make_numbered, numbers_pyav
from support.runs import SIZE, calls, make_config, rows_of, run_inline, snapshot

from shardpipe.core.errors import ConfigError
from shardpipe.storage.crashing import CrashingStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.rows import decode_table
from shardpipe.storage.store import Store, open_store


def cut(root: Path, sources: Path | str | list[str], **options: Any) -> dict[str, dict[str, Any]]:
    report = run_inline(make_config(root, sources, **options))
    assert report.passes == ("clips",)
    return check_clips(open_store(str(root)))


def sources_of(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted({row["source"] for row in rows.values()})


def test_folders_globs_and_lists_give_the_same_clips(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"# two\n{videos}/v0.mp4\n\n{videos}/v1.mp4\n", encoding="utf-8")
    found = [
        cut(tmp_path / "1", videos),
        cut(tmp_path / "2", f"{videos}/*.mp4"),
        cut(tmp_path / "3", tmp_path / "list.txt"),
        cut(tmp_path / "4", [f"{videos}/v0.mp4", f"{videos}/v1.mp4", f"{videos}/v0.mp4"]),
    ]
    assert all(each == found[0] for each in found)
    assert len(found[0]) == 5


def test_a_list_names_what_is_not_there(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{videos}/v0.mp4\n{videos}/none.mp4\n", encoding="utf-8")
    rows = cut(tmp_path / "root", tmp_path / "list.txt")
    (error,) = [row["error"] for row in rows.values() if row["error"]]
    assert "none.mp4" in error
    with pytest.raises(ConfigError, match="does not exist"):
        cut(tmp_path / "other", tmp_path / "nothing")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_bring_columns_along(videos: Path, tmp_path: Path, suffix: str) -> None:
    """Their columns stand in the rows of every clip; one whose name is ours gets another."""
    table = pa.table(
        {
            "License": ["cc0", None],
            "url": [f"{videos}/v0.mp4", f"{videos}/v1.mp4"],
            "rating": [4.5, None],
            "views": [7, 8],
            "fps": [1.5, 2.5],
        }
    )
    path = tmp_path / f"list.{suffix}"
    if suffix == "csv":
        pa.csv.write_csv(table, path)
    else:
        pa.parquet.write_table(table, path)
    rules = {"name": "train", "keep": ["license = 'cc0'"], "emit": "shards"}
    assert not run_inline(make_config(tmp_path / "root", path, [rules])).pending
    store = open_store(str(tmp_path / "root"))
    for row in check_clips(store).values():
        first = row["source"].endswith("v0.mp4")
        assert row["license"] == ("cc0" if first else None)
        assert row["rating"] == (4.5 if first else None)
        assert row["views"] == (7 if first else 8)
        assert row["source_fps"] == (1.5 if first else 2.5)
        assert row["fps"] == 12
    index = decode_table(store.read("train/index.parquet"))[0]
    assert index.column("license").to_pylist() == ["cc0"] * 3
    check_train(store)


def test_tars_of_videos(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "videos.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("v1.mp4", "v0.mp4"):
            tar.add(videos / name, arcname=f"sub/{name}")
    rows = cut(tmp_path / "root", path)
    assert sources_of(rows) == [f"{path}::sub/v0.mp4", f"{path}::sub/v1.mp4"]
    apart = cut(tmp_path / "apart", videos)
    assert sorted(row["sha256"] for row in rows.values()) == sorted(row["sha256"] for row in apart.values())


def test_equal_stems_in_two_folders(videos: Path, tmp_path: Path) -> None:
    for folder, source in (("a", "v0.mp4"), ("b", "v1.mp4"), ("a/deeper", "v0.mp4")):
        (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / folder / "same.MP4").write_bytes((videos / source).read_bytes())
    (tmp_path / "in" / ".hidden.mp4").write_bytes(b"x")
    rows = cut(tmp_path / "root", tmp_path / "in")
    assert len(rows) == 8
    assert len({row["video_id"] for row in rows.values()}) == 3


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    options = {"g": "12", "bf": "0", "preset": "ultrafast"}
    make_numbered(folder / "long.mp4", num_frames=12 * 11, fps=Fraction(12), size=SIZE, options=options)
    return folder


@pytest.mark.parametrize("unit_s", [2.0, 3.7, 5.0])
def test_a_long_video_in_parts(long_video: Path, tmp_path: Path, unit_s: float) -> None:
    """Parts are units of their own, and any size of them gives the same clips."""
    whole = cut(tmp_path / "whole", long_video)
    parts = cut(tmp_path / "parts", long_video, unit_s=unit_s)
    store = open_store(str(tmp_path / "parts"))
    assert len(store.list("clips/rows")) > 2
    drop = dict.fromkeys(("shard", "offset"))
    assert {key: {**row, **drop} for key, row in whole.items()} == {key: {**row, **drop} for key, row in parts.items()}
    shown = []
    for _, row in sorted(parts.items()):
        file = tmp_path / "clip.mp4"
        file.write_bytes(store.read_range(row["shard"], row["offset"], row["size"]))
        shown += numbers_pyav(file)
    assert shown == list(range(12 * 11))


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


def test_new_sources_with_other_columns(videos: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text(f"url,license\n{videos}/v0.mp4,cc0\n", encoding="utf-8")
    other = tmp_path / "other.csv"
    other.write_text(f"url,owner\n{videos}/v1.mp4,me\n", encoding="utf-8")
    config = make_config(tmp_path / "root", table)
    run_inline(config)
    with pytest.raises(ConfigError, match=r"owner \(string\)"):
        run_inline(config, add_sources=str(other))
    run_inline(config, add_sources=f"{videos}/v1.mp4")
    licenses = {row["source"][-6:]: row["license"] for row in rows_of(open_store(config.root), "clips").values()}
    assert licenses == {"v0.mp4": "cc0", "v1.mp4": None}


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


def test_max_failed_of_cut(videos: Path, tmp_path: Path) -> None:
    """Later passes do not start while more videos failed than `cut.max_failed` allows."""
    (tmp_path / "bad.mp4").write_text("no video", encoding="utf-8")
    sources = [str(videos), str(tmp_path / "bad.mp4")]
    from shardpipe.core.errors import PassFailed

    with pytest.raises(PassFailed, match="clips: 1 of 6 clips failed"):
        run_inline(make_config(tmp_path / "root", sources, [SCORE], max_failed=0.1))
    assert not open_store(str(tmp_path / "root")).list("score")
    assert not run_inline(make_config(tmp_path / "root", sources, [SCORE], max_failed=0.2)).pending


def test_a_pass_over_an_emitted_dataset_refuses_an_unfinished_one(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    train = {**SCORE, "name": "train", "emit": "shards"}
    late = {"name": "late", "from": "train", "stages": [Worded()]}
    store = run(root, videos, train)
    store.delete("train/index.parquet")
    from shardpipe.core.errors import IncompleteError

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
    assert not [each for each in counting.operations if each.name in ("put_file", "delete", "read_range")]
    assert Dataset.open(store, "train").is_complete()
