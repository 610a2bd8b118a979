"""configs/tiny.yaml: the model stages on tiny random weights, from raw video to shards; and the two real recipes on the same."""

import gc
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
import yaml

import shardpipe
from shardpipe.config.load import load_config, parse_config
from shardpipe.core.asyncstage import AsyncStage
from shardpipe.engine.passes.passweights import needs_of
from shardpipe.executors.plan import plan_config

ROOT = Path(__file__).parents[2]
pytestmark = [  # webdataset leaves its files to the collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `tiny` of configs/tiny.yaml."""
    folder = tmp_path_factory.mktemp("material") / "tiny"
    subprocess.run([sys.executable, ROOT / "scripts" / "tiny_material.py", folder], check=True)
    return folder


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
    samples = read_back("tiny/run/matched")
    assert len(samples) == 2
    for sample in samples:
        check_captioned(sample)
        sidecar = json.loads(sample["json"])
        wanted = {
            "aes",
            "flow_px_s",
            "flow_times_s",
            "ocr_text",
            "slideshow",
            "cmotion",
            "letterbox",
            "phash",
            "description",
        }
        assert wanted <= set(sidecar)


def read_back(dataset: str) -> list[dict[str, Any]]:
    """The samples of its shards, by webdataset."""
    shards = sorted(map(str, Path(dataset, "shards").glob("*.tar")))
    samples = list(wds.WebDataset(shards, shardshuffle=False))
    gc.collect()
    return samples


def check_captioned(sample: dict[str, Any]) -> None:
    """Noise in form: what two random models wrote, and what the stages for text made of it."""
    sidecar = json.loads(sample["json"])
    for into, model in (("text_raw", "vlm"), ("text_short", "vlm"), ("text_llm", "llm")):
        assert isinstance(sidecar[into], str)
        assert sidecar[f"{into}_tokens"] > 0
        assert sidecar[f"{into}_model"] == model
        assert sidecar[f"{into}_finish"] == ("length" if sidecar[f"{into}_truncated"] else "stop")
    assert (sidecar["text_raw_prompt"], sidecar["text_llm_prompt"]) == ("video", "enhance")
    assert sidecar["text_short_prompt"] in ("image", "short")
    assert sample["txt"].decode() == sidecar["text"] == (sidecar["text_clean"] or sidecar["title"])
    assert sidecar["text_from"] == ["text_clean" if sidecar["text_clean"] else "title"]
    assert sidecar["text"] in sidecar["text_annotated"]
    for tags in (sidecar["objects"], sidecar["actions"]):
        assert tags is None or all(isinstance(tag, str) for tag in tags)
    assert (sidecar["objects"] is None and sidecar["actions"] is None) == (sidecar["tags_finish"] == "unparsed")
    assert sidecar["is_screen"] in (True, False, None)
    assert -100 <= sidecar["match_min"] <= sidecar["match"] <= 100
    assert sidecar["caption_num_chars"] == len(sidecar["text"])
    assert sidecar["text_hash"] is None or len(sidecar["text_hash"]) == 16
    assert {"lang", "text_len", "caption_contradicts_camera", "caption_is_in_language"} <= set(sidecar)


def test_all_that_asks_a_model_runs_by_vllm_with_one_override_a_stage() -> None:
    overrides = [f"passes.caption.stages.{i}.engine=vllm" for i in range(5)]
    config = load_config(ROOT / "configs" / "tiny.yaml", overrides)
    asking = [stage for each in config.passes for stage in each.stages if isinstance(stage, AsyncStage)]
    assert [stage.opens.engine for stage in asking] == ["vllm"] * 5  # type: ignore[attr-defined]
    assert len({stage.opens.weights for stage in asking}) == 2  # type: ignore[attr-defined]


def recipe(name: str, tiny: Path) -> dict[str, Any]:
    """A shipped config with tiny weights in the place of each that it names, the engine transformers, and tiny's videos."""
    weights = tiny / "weights"
    values: dict[str, Any] = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    for stage in [stage for each in values["passes"] for stage in each.get("stages", [])]:
        if stage["type"] in ("aes", "embed", "match"):
            stage["backbone"] = str(weights / "clip")
        if stage["type"] == "aes":
            stage["weights"] = str(weights / "aesthetic.pth")
        if stage.get("engine") == "unimatch":
            stage["weights"] = str(weights / "unimatch.pth")
        if "model" in stage:
            model = weights / ("llm" if "Llama" in stage["model"] else "vlm")
            stage |= {"engine": "transformers", "model": str(model), "max_model_len": 4096}
    values["root"], values["cut"]["sources"] = str(tiny / name), str(tiny / "videos.csv")
    return values


@pytest.mark.parametrize("name", ["opensora", "modern"])
def test_the_real_recipes_plan(name: str, tiny: Path) -> None:
    """Their stages have what they read, and their rules name columns that are there."""
    config = parse_config(recipe(name, tiny))
    assert {need.name for need in needs_of(config)} >= {"head", "shares.0.backbone", "model"}
    assert plan_config(config).phases[0].name == "clips"


@pytest.mark.parametrize("name", ["opensora", "modern"])
def test_the_real_recipes_run(name: str, tiny: Path) -> None:
    """From raw video to shards with captions. Scores of random models pass no threshold, so each rule is evaluated and lets all pass."""
    values = recipe(name, tiny)
    for each in values["passes"]:
        each["keep"] = [f"({rule}) OR TRUE" for rule in each.get("keep", [])]
        for stage in each.get("stages", []):
            if stage["type"] == "caption":
                stage["temperature"] = 1.0  # else it may be noise without a letter, of which nothing is left
            if stage.get("engine") == "unimatch":
                stage |= {"preset": "spread", "pairs_per_s": 0.5, "max_pairs": 1}  # one pair takes 18 seconds of CPU
    report = shardpipe.run(values | {"execute": {"type": "inline"}})
    assert not report.pending
    (sample,) = read_back(f"{values['root']}/{values['passes'][-1]['name']}")
    sidecar = json.loads(sample["json"])
    assert sample["txt"].decode() == sidecar["text"]
    wanted = {
        "opensora": {"text_raw_prompt", "objects", "actions", "ocr", "cmotion"},
        "modern": {"text_long", "text_short", "text_raw_from", "is_screen", "tag_scene", "lang", "caption_is_refusal"},
    }
    assert {*wanted[name], "text_raw", "tags_finish" if name == "opensora" else "tag_tags_finish", "match"} <= set(
        sidecar
    )
