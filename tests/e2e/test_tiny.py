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
import yaml

import shardpipe
from shardpipe.config.load import parse_config
from shardpipe.config.models import Config
from shardpipe.engine.passweights import needs_of
from shardpipe.executors.plan import plan_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `tiny` of configs/tiny.yaml."""
    folder = tmp_path_factory.mktemp("material") / "tiny"
    subprocess.run([sys.executable, ROOT / "scripts" / "tiny_material.py", folder], check=True)
    return folder


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tiny_runs_from_raw_video_to_shards(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
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
        assert sidecar["text"] == sidecar["text_raw"].lower()
        wanted = {"aes", "flow_px_s", "flow_times_s", "ocr", "slideshow", "match", "cmotion", "letterbox", "phash"}
        assert {*wanted, "description"} <= set(sidecar)


def recipe(name: str, tiny: Path) -> Config:
    """A shipped config with tiny weights in the place of each that it names, and tiny's videos."""
    values = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    for stage in [stage for each in values["passes"] for stage in each["stages"]]:
        if stage["type"] in ("aes", "embed", "match"):
            stage["backbone"] = str(tiny / "weights" / "clip")
        if stage["type"] == "aes":
            stage["weights"] = str(tiny / "weights" / "aesthetic.pth")
        if stage.get("engine") == "unimatch":
            stage["weights"] = str(tiny / "weights" / "unimatch.pth")
    values["root"], values["cut"]["sources"] = str(tiny / name), str(tiny / "videos.csv")
    return parse_config(values)


@pytest.mark.parametrize("name", ["opensora", "modern"])
def test_the_real_recipes_plan(name: str, tiny: Path) -> None:
    """Their stages have what they read, and their rules name columns that are there."""
    config = recipe(name, tiny)
    assert {need.name for need in needs_of(config)} >= {"head", "shares.0.backbone"}
    assert plan_config(config).phases[0].name == "clips"
