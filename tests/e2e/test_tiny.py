"""configs/tiny.yaml: the model stages on tiny random weights, from raw video to shards; and the two real recipes as configs."""

import gc
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds

import shardpipe
from shardpipe.config.load import load_config
from shardpipe.engine.passweights import needs_of

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tiny_runs_from_raw_video_to_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "tiny_material.py", tmp_path / "tiny"], check=True)
    monkeypatch.chdir(tmp_path)
    report = shardpipe.run(ROOT / "configs" / "tiny.yaml", overrides=["execute={type: inline}"])
    assert not report.pending
    aes = shardpipe.open_dataset("tiny/run/aes")
    rows = list(aes.rows())
    assert len(rows) == 2
    for row in rows:
        assert row["error"] is None
        assert len(row["aes_times_s"]) == 3
        assert len(row["embed_times_s"]) == len(row["watermark_times_s"]) == 4
        assert 0 <= row["watermark"] <= 1
        data = aes.member(row["key"], "npy")
        embedding = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float32)
        assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-2)
    shards = sorted(map(str, Path("tiny/run/matched/shards").glob("*.tar")))
    samples = list(wds.WebDataset(shards, shardshuffle=False))
    gc.collect()
    assert len(samples) == 2
    for sample in samples:
        sidecar = json.loads(sample["json"])
        assert sidecar["text"] == sample["txt"].decode()
        assert {"aes", "flow_px_s", "flow_times_s", "ocr", "slideshow", "match", "cmotion"} <= set(sidecar)


@pytest.mark.parametrize("name", ["opensora", "modern"])
def test_the_real_recipes_are_configs(name: str) -> None:
    config = load_config(ROOT / "configs" / f"{name}.yaml")
    assert {need.name for need in needs_of(config)} >= {"head", "shares.0.backbone"}
