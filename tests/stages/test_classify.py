"""Classify: zero-shot and trained heads against independent computations, and configs that are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError, field_serializer
from support.encoded import ByOpenClip, noise, normalised, run
from support.tiny_clip import WIDTH, chain_file, clip_folder

from shardpipe.core.errors import ConfigError, StageError
from shardpipe.core.stage import ClipError
from shardpipe.stages.classify import Classify
from shardpipe.testing import check_stage

PROMPTS = {
    "watermark": ["a photo with a watermark", "a stock photo with a watermark text", "a logo"],
    "clean": ["a clean photo"],
    "other": ["a drawing", "a map"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return clip_folder(tmp_path_factory.mktemp("clip"))


def classify(folder: str, **fields: Any) -> Classify:
    return Classify.model_validate({"backbone": folder, "precision": "fp32", "name": "watermark", **fields})


def head(folder: str, path: Path, **fields: Any) -> Classify:
    return classify(folder, weights=str(path), **fields)


@pytest.mark.parametrize("fields", [{"prompts": PROMPTS}, {"activation": "sigmoid"}], ids=["prompts", "head"])
def test_contract(folder: str, tmp_path: Path, fields: dict[str, Any]) -> None:
    given = fields if "prompts" in fields else {**fields, "weights": str(chain_file(tmp_path / "h.pth", (WIDTH, 1)))}
    results = check_stage(classify(folder, **given), tolerance=1e-4)
    assert list(results["one_frame"]) == ["watermark", "watermark_mean", "watermark_times_s"]
    assert results["one_frame"]["watermark"] == results["one_frame"]["watermark_mean"]


def test_prompts_are_a_softmax_over_the_mean_embeddings_of_the_classes(folder: str) -> None:
    clips = [noise(4), noise(1, seed=2)]
    model = ByOpenClip(folder)
    classes = np.stack([normalised(model.texts(texts).mean(axis=0)) for texts in PROMPTS.values()])
    for frames, result in zip(clips, run(classify(folder, prompts=PROMPTS), clips), strict=True):
        powers = np.exp(100 * model.images(frames) @ classes.T)
        expected = (powers / powers.sum(axis=1, keepdims=True))[:, 0]
        assert result["watermark"] == pytest.approx(expected.max(), abs=1e-4)
        assert result["watermark_mean"] == pytest.approx(expected.mean(), abs=1e-4)
        assert result["watermark_times_s"] == frames.times_s.tolist()


@pytest.mark.parametrize(
    ("activation", "output", "hidden"),
    [("sigmoid", 0, "none"), ("softmax", 1, "none"), ("none", 2, "none"), ("sigmoid", 1, "relu")],
)
def test_heads(folder: str, tmp_path: Path, activation: str, output: int, hidden: str) -> None:
    path = chain_file(tmp_path / "head.pth", (WIDTH, 8, 3), names=["0", "2"])
    frames = noise(5)
    (result,) = run(head(folder, path, activation=activation, output=output, hidden=hidden), [frames])
    state = torch.load(path, weights_only=True)
    network = torch.nn.Sequential(
        torch.nn.Linear(WIDTH, 8), torch.nn.ReLU() if hidden == "relu" else torch.nn.Identity(), torch.nn.Linear(8, 3)
    )
    network.load_state_dict(state)
    with torch.inference_mode():
        outputs = network.double()(torch.from_numpy(ByOpenClip(folder).images(frames)))
    expected = {"sigmoid": outputs.sigmoid(), "softmax": outputs.softmax(dim=1), "none": outputs}[activation][:, output]
    assert result["watermark"] == pytest.approx(expected.max().item(), abs=1e-4)
    assert result["watermark_mean"] == pytest.approx(expected.mean().item(), abs=1e-4)


def test_nan_from_the_head_is_an_error_of_the_clip(folder: str, tmp_path: Path) -> None:
    torch.save({"weight": torch.full((2, WIDTH), float("inf"))}, tmp_path / "head.pth")
    for activation in ("none", "softmax"):
        (result,) = run(head(folder, tmp_path / "head.pth", activation=activation), [noise(2)])
        assert isinstance(result, ClipError)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either prompts or weights"),
        ({"prompts": PROMPTS, "weights": "x"}, "either prompts or weights"),
        ({"prompts": {"watermark": ["a"]}}, "at least two classes"),
        ({"prompts": {"watermark": ["a"], "clean": []}}, "at least one text"),
        ({"prompts": {"watermark": ["a"], "clean": [" "]}}, "no empty one"),
        ({"prompts": PROMPTS, "activation": "sigmoid"}, "for a head"),
        ({"prompts": PROMPTS, "output": 1}, "for a head"),
        ({"weights": "x"}, "need an activation"),
        ({"prompts": PROMPTS, "name": "Water mark"}, "no column name"),
        ({"prompts": PROMPTS, "name": "kept"}, "no column name"),
    ],
)
def test_configs_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Classify.model_validate({"name": "watermark", **fields})


def test_heads_that_do_not_fit(folder: str, tmp_path: Path) -> None:
    one, wide = chain_file(tmp_path / "one.pth", (WIDTH, 1)), chain_file(tmp_path / "wide.pth", (512, 1))
    for stage, message in (
        (head(folder, one, activation="softmax"), "use sigmoid"),
        (head(folder, one, activation="none", output=1), "output is 1"),
        (head(folder, wide, activation="none"), r"width 512.*24 wide"),
    ):
        with pytest.raises(ConfigError, match=message):
            stage.setup("cpu")


def test_a_prompt_that_would_be_cut_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="longer than the 77 tokens"):
        classify(folder, prompts={"watermark": ["mark " * 80], "clean": ["a"]}).setup("cpu")


def test_the_order_of_the_classes_is_part_of_the_identity(folder: str) -> None:
    backwards = dict(reversed(PROMPTS.items()))
    assert classify(folder, prompts=PROMPTS).identity["classes"] == list(PROMPTS)
    assert (
        classify(folder, prompts=PROMPTS).identity["classes"] != classify(folder, prompts=backwards).identity["classes"]
    )


class Unordered(Classify):
    """As a stage is whose author did not think of sorted keys."""

    @field_serializer("prompts", when_used="json")
    def _in_order(self, prompts: Any) -> Any:
        return prompts


def test_a_stage_that_no_retry_could_make_again_is_caught(folder: str) -> None:
    with pytest.raises(StageError, match="order of a mapping's keys"):
        check_stage(Unordered(backbone=folder, name="mark", prompts=PROMPTS))


def test_the_identity_holds_what_it_held_before_classes_were_stored_as_pairs(folder: str) -> None:
    """Finished scores stay what they are, by their fingerprints."""
    assert classify(folder, prompts=PROMPTS).identity["prompts"] == PROMPTS
    assert classify(folder, prompts=[[name, texts] for name, texts in PROMPTS.items()]) == classify(
        folder, prompts=PROMPTS
    )


def test_several_stand_side_by_side(folder: str) -> None:
    first, second = classify(folder, prompts=PROMPTS), classify(folder, prompts=PROMPTS, name="nsfw")
    assert not set(first.writes) & set(second.writes)
    assert first.encoder.column == second.encoder.column
