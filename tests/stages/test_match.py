"""Match: the formula against open_clip alone, chunks and their weights, presets, clips without a text."""

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from support.encoded import ByOpenClip, noise, run
from support.tiny_clip import clip_folder

from shardpipe.core.errors import ConfigError
from shardpipe.core.frames import Fractions, Uniform
from shardpipe.core.stage import ClipError
from shardpipe.stages.match import Match
from shardpipe.testing import check_stage

LONG = (
    "A man in a long red coat walks slowly along an empty beach while the sun goes down behind the hills. "
    "A brown dog with a blue collar runs after a yellow ball that someone out of the picture has thrown. "
    "Far away three small fishing boats come back to the harbour with their lights on, followed by gulls. "
    "In the foreground there are stones, shells, and a wooden sign that says that swimming is not allowed here. "
    "The camera follows the man from left to right."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return clip_folder(tmp_path_factory.mktemp("clip"))


def match(folder: str, **fields: Any) -> Match:
    return Match.model_validate({"backbone": folder, "precision": "fp32", **fields})


def test_contract(folder: str) -> None:
    results = check_stage(match(folder), row={"text": LONG}, tolerance=1e-4)
    assert results["landscape"]["match_num_chunks"] == 2
    assert set(results["black"].values()) == {None}  # a row without text


def test_a_short_text_is_a_hundred_times_the_mean_cosine(folder: str) -> None:
    clips, texts = [noise(4), noise(2, seed=1)], ["a red car", "Two dogs play in the snow."]
    model = ByOpenClip(folder)
    for frames, text, result in zip(clips, texts, run(match(folder), clips, [{"text": t} for t in texts]), strict=True):
        expected = 100 * (model.images(frames) @ model.texts([text])[0]).mean()
        assert result["match"] == pytest.approx(expected, abs=1e-4)
        assert result["match_min"] == pytest.approx(expected, abs=1e-4)
        assert result["match_num_chunks"] == 1
        assert result["match_times_s"] == frames.times_s.tolist()


def test_chunks_count_by_their_tokens(folder: str) -> None:
    sentences = [f"{part.strip(' .')}." for part in LONG.split(". ")]
    model = ByOpenClip(folder)
    chunks = [" ".join(sentences[:3]), " ".join(sentences[3:])]
    counts = [model.num_tokens(chunk) for chunk in chunks]
    assert max(counts) <= 77 < model.num_tokens(" ".join(sentences[:3])) + model.num_tokens(sentences[3]) - 2
    frames = noise(3)
    (result,) = run(match(folder), [frames], [{"text": LONG}])
    each = 100 * (model.images(frames) @ model.texts(chunks).T).mean(axis=0)
    assert result["match"] == pytest.approx((each * counts).sum() / sum(counts), abs=1e-4)
    assert result["match_min"] == pytest.approx(each.min(), abs=1e-4)
    assert result["match_num_chunks"] == 2


def test_the_preset_reads_what_the_tokenizer_leaves(folder: str) -> None:
    frames = noise(1)
    (result,) = run(match(folder, preset="opensora"), [frames], [{"text": LONG}])
    model = ByOpenClip(folder)
    expected = 100 * (model.images(frames) @ model.texts([LONG])[0]).mean()  # open_clip cuts at 77 tokens
    assert result["match"] == pytest.approx(expected, abs=1e-4)
    assert result["match_num_chunks"] == 1


def test_presets() -> None:
    assert Match().request.sampling == Uniform(4)
    assert Match(preset="opensora").request.sampling == Fractions((0.5,))
    with pytest.raises(ValidationError, match="leave num_frames out"):
        Match(preset="opensora", num_frames=1)


@pytest.mark.parametrize("preset", ["spread", "opensora"])
@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_no_text_gives_nulls_and_no_error(folder: str, preset: str, text: str | None) -> None:
    results = run(match(folder, preset=preset), [noise(1)] * 2, [{"text": text}, {"text": "a dog"}])
    assert set(results[0].values()) == {None}
    assert results[1]["match"] is not None


def test_another_column(folder: str) -> None:
    assert list(match(folder, column="alt").reads) == ["alt"]
    (result,) = run(match(folder, column="alt"), [noise(1)], [{"alt": "a dog"}])
    assert result["match_num_chunks"] == 1


@pytest.mark.parametrize(
    "text", ["ピンクの花が咲いている。" * 20, "🐕🐈" * 100, "x" * 3000, "no. " * 200, "\u0301" * 400]
)
def test_any_text_is_read_whole(folder: str, text: str) -> None:
    stage = match(folder)
    stage.setup("cpu")
    chunks = stage._chunks(text)
    assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(text.split())
    assert stage._texts is not None
    assert all(stage._texts.num_tokens(chunk.text) == chunk.num_tokens <= 77 for chunk in chunks)


@pytest.mark.parametrize(
    "mark", ["<end_of_text>", "<START_of_text>", "&lt;end_of_text&gt;", "&amp;amp;lt;end_of_text&amp;amp;gt;"]
)
def test_a_token_of_the_tokenizers_own_ends_no_text(folder: str, mark: str) -> None:
    texts = [f"a red car {mark} in the snow", "a red car in the snow"]
    found = run(match(folder), [noise(4)] * 2, [{"text": text} for text in texts])
    assert found[0] == found[1]


@pytest.mark.parametrize("value", [["pan_left"], 3.5, True])
def test_a_column_that_is_no_text_is_an_error_of_the_clip(folder: str, value: object) -> None:
    (result,) = run(match(folder, column="tags"), [noise(4)], [{"tags": value}])
    assert isinstance(result, ClipError)
    assert "column tags holds" in result.message


def test_nan_from_the_text_side_is_an_error_of_the_clip(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path)
    path = tmp_path / "open_clip_model.safetensors"
    state = load_file(path)
    state["token_embedding.weight"][320] = float("nan")  # `a</w>`
    save_file(state, path)
    results = run(match(folder), [noise(1)] * 2, [{"text": "a dog"}, {"text": "dogs"}])
    assert isinstance(results[0], ClipError)
    assert np.isfinite(results[1]["match"])


def with_a_tokenizer_of_its_own(folder: Path) -> str:
    """As SigLIP's repositories have it: context of 16, a tokenizer of transformers beside the config."""
    tokenizers = pytest.importorskip("tokenizers")
    name = clip_folder(
        folder, text={"context_length": 16, "vocab_size": 200, "hf_tokenizer_name": "org/tiny", "pool_type": "last"}
    )
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"<pad>": 1, "<unk>": 2, "a": 3, "dog": 4, "</s>": 5}, "<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 5)])
    made.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return name


def test_a_tokenizer_of_transformers_is_read_from_the_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    folder = with_a_tokenizer_of_its_own(tmp_path)
    stage = match(folder)
    frames = noise(2)
    (result,) = run(stage, [frames], [{"text": "a dog. " + "a dog " * 20}])
    assert [chunk.num_tokens for chunk in stage._chunks("a dog. " + "a dog " * 20)] == [4, 16, 16, 11]
    assert result["match_num_chunks"] == 4
    model = ByOpenClip(folder)
    (short,) = run(stage, [frames], [{"text": "a dog"}])
    assert short["match"] == pytest.approx(100 * (model.images(frames) @ model.texts(["a dog"])[0]).mean(), abs=1e-4)


def test_a_tokenizer_that_is_not_at_hand_is_said(tmp_path: Path) -> None:
    folder = with_a_tokenizer_of_its_own(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"tokenizer org/tiny is not at hand; put tokenizer\.json"):
        match(folder).setup("cpu")


def test_the_text_side_keeps_no_image_side(folder: str) -> None:
    stage = match(folder)
    stage.setup("cpu")
    model = stage._texts._encode.__self__  # type: ignore[union-attr]
    assert isinstance(model, torch.nn.Module)
    assert not hasattr(model, "visual")
