"""The Python API: `run` and `open_dataset`."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

import shardpipe
from shardpipe.engine.views.opened import split_url


def test_run_gives_a_report(config: Path) -> None:
    report = shardpipe.run(config, only="score")
    assert "score" in report.passes
    assert (report.pending, report.failed_units) == ({}, {})
    with pytest.raises(shardpipe.ConfigError, match="no such pass"):
        shardpipe.run(config, only="scor")
    with pytest.raises(shardpipe.ConfigError, match="unknown key"):
        shardpipe.run({"root": "x", "pases": []})
    with pytest.raises(shardpipe.ConfigError, match="limit=0: at least 1"):
        shardpipe.run(config, limit=0)


def test_rows_as_arrow(root: str) -> None:
    score = shardpipe.open_dataset(f"{root}/score")
    assert score.is_complete
    table = score.to_arrow()
    assert table.num_rows == 5
    assert table.schema.field("flow_px_s").type == pa.float32()
    assert table.column_names[-3:] == ["kept", "dropped_by", "error"]
    assert sum(table.column("kept").to_pylist()) == 4
    kept = score.to_arrow(["key", "duration_s"], kept_only=True)
    assert kept.column_names == ["key", "duration_s"]
    assert kept.num_rows == 4
    with pytest.raises(shardpipe.ConfigError, match=r"has no column aes; there are: key, "):
        score.to_arrow(["aes"])


@pytest.mark.parametrize("name", ["clips", "score", "train"])
def test_clips_and_sidecars_by_key(root: str, name: str) -> None:
    dataset = shardpipe.open_dataset(f"{root}/{name}")
    key = next(row["key"] for row in dataset.rows(kept_only=True))
    sidecar = dataset.sidecar(key)
    clip = dataset.clip(key)
    assert hashlib.sha256(clip).hexdigest() == sidecar["sha256"]
    assert clip == dataset.member(key, "mp4")
    with pytest.raises(KeyError, match="has no clip 'nobody'"):
        dataset.sidecar("nobody")
    with pytest.raises(KeyError, match=r"no member \.npy"):
        dataset.member(key, "npy")


def test_a_broken_video_has_a_row_and_no_media(root: str) -> None:
    clips = shardpipe.open_dataset(f"{root}/clips")
    row = next(row for row in clips.rows() if row["error"])
    with pytest.raises(KeyError, match="has no media"):
        clips.clip(row["key"])


def test_a_flipped_byte_is_found(root: str) -> None:
    score = shardpipe.open_dataset(f"{root}/score")
    row = next(row for row in score.rows(kept_only=True))
    shard = Path(root) / row["shard"]
    whole = shard.read_bytes()
    try:
        at = row["offset"] + row["size"] // 2
        shard.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(shardpipe.IntegrityError, match=row["key"]):
            score.clip(row["key"])
    finally:
        shard.write_bytes(whole)


def test_urls_of_datasets() -> None:
    assert split_url("a/b/train/") == ("a/b", "train")
    assert split_url("s3://bucket/train") == ("s3://bucket", "train")
    assert split_url("train") == (".", "train")
    for bad in ("", "/", "s3://bucket", "/train"):
        with pytest.raises(shardpipe.ConfigError, match="names no Dataset"):
            split_url(bad)
    with pytest.raises(shardpipe.IncompleteError, match="is no Dataset"):
        shardpipe.open_dataset("/nowhere/at/all")
