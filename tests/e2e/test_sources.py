"""Sources of every kind: what is found, what its clips' rows say, and what happens where something is not there."""

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from support.agreement import check_clips, check_train
from support.fakes import Scored
from support.numbered import numbers_pyav
from support.runs import make_config, rows_of, run_inline, snapshot

from shardpipe.core.clip import CLIP_COLUMNS, LOCATION, STATE
from shardpipe.core.columns import RESERVED
from shardpipe.core.errors import ConfigError, PassFailed
from shardpipe.engine.sources.cutplan import PART_COLUMNS
from shardpipe.engine.sources.sourcetable import UNIT_LIST
from shardpipe.engine.views.opened import open_dataset
from shardpipe.storage.rows import decode_table
from shardpipe.storage.store import open_store


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


def test_columns_of_a_table_that_are_called_as_ours(videos: Path, tmp_path: Path) -> None:
    """They decide nothing about units or places, and none hides another."""
    table = tmp_path / "list.csv"
    table.write_text(
        f"url,unit,part,cost,shard,xxh128\n{videos}/v0.mp4,seven,3,9,s,x\n{videos}/v1.mp4,seven,4,9,s,x\n",
        encoding="utf-8",
    )
    store_rows = cut(tmp_path / "root", table)
    assert len(store_rows) == 5
    assert {row["source_unit"] for row in store_rows.values()} == {"seven"}
    assert {row["source_part"] for row in store_rows.values()} == {3, 4}
    assert {(row["source_cost"], row["source_shard"], row["source_xxh128"]) for row in store_rows.values()} == {
        (9, "s", "x")
    }
    table.write_text(f"url,Zone,zone\n{videos}/v0.mp4,1,2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'Zone', 'zone' would all be called zone"):
        cut(tmp_path / "other", table)


def test_names_of_the_unit_list_are_known() -> None:
    assert set(PART_COLUMNS) <= UNIT_LIST | RESERVED
    assert {*STATE, *LOCATION} <= RESERVED


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


def test_max_failed_of_cut(videos: Path, tmp_path: Path) -> None:
    """Later passes do not start while more videos failed than `cut.max_failed` allows."""
    (tmp_path / "bad.mp4").write_text("no video", encoding="utf-8")
    sources = [str(videos), str(tmp_path / "bad.mp4")]
    with pytest.raises(PassFailed, match="clips: 1 of 6 clips failed"):
        run_inline(make_config(tmp_path / "root", sources, [{"name": "score", "stages": [Scored()]}], max_failed=0.1))
    assert not open_store(str(tmp_path / "root")).list("score")
    assert not run_inline(
        make_config(tmp_path / "root", sources, [{"name": "score", "stages": [Scored()]}], max_failed=0.2)
    ).pending


def test_columns_keep_the_order_in_which_they_are_written(videos: Path, tmp_path: Path) -> None:
    """Those of `cut`, those of the sources, each pass's; so rows are the same after a stop, when `dataset.json` is read back."""
    table = tmp_path / "list.csv"
    table.write_text(f"url,zone,license\n{videos}/v0.mp4,1,cc0\n{videos}/v1.mp4,2,cc0\n", encoding="utf-8")
    passes = [{"name": "train", "stages": [Scored(column="z"), Scored(column="b")], "emit": "shards"}]
    for name, limits in (("whole", [None]), ("stopped", [1, None])):
        for limit in limits:
            run_inline(make_config(tmp_path / name, table, passes), limit=limit)
    store = open_store(str(tmp_path / "whole"))
    assert snapshot(store) == snapshot(open_store(str(tmp_path / "stopped")))
    wanted = [*CLIP_COLUMNS, "zone", "license", "z", "b"]
    assert decode_table(store.read("train/index.parquet"))[0].column_names[: len(wanted)] == wanted
    assert list(open_dataset(f"{tmp_path}/whole/train").columns) == wanted
