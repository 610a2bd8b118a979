"""Embed: the member, the spread, and its dtype."""

import io
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from support.encoded import ByOpenClip, noise, normalised, run
from support.tiny_clip import WIDTH, clip_folder

from shardpipe.core.columns import Member
from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipError, ClipView
from shardpipe.stages._image_encoder import Encoded
from shardpipe.stages.embed import Embed
from shardpipe.testing import check_stage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return clip_folder(tmp_path_factory.mktemp("clip"))


def embed(folder: str, **fields: Any) -> Embed:
    return Embed.model_validate({"backbone": folder, "precision": "fp32", **fields})


def vector(result: Any) -> np.ndarray:
    return np.load(io.BytesIO(result["embedding"]), allow_pickle=False)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_contract(folder: str, dtype: str) -> None:
    results = check_stage(embed(folder), tolerance=1e-4)
    assert results["one_frame"]["embed_spread"] == pytest.approx(0, abs=1e-6)
    (result,) = run(embed(folder, dtype=dtype), [noise(3)])
    assert vector(result).dtype == np.dtype(dtype)
    assert vector(result).shape == (WIDTH,)


def test_the_embedding_is_the_mean_of_the_frames_of_length_one(folder: str) -> None:
    clips = [noise(4), noise(1, seed=2), noise(9, seed=4)]
    for frames, result in zip(clips, run(embed(folder, dtype="float32"), clips), strict=True):
        each = ByOpenClip(folder).images(frames)
        expected = normalised(each.mean(axis=0))
        np.testing.assert_allclose(vector(result), expected, atol=1e-4)
        assert result["embed_spread"] == pytest.approx(1 - (each @ expected).mean(), abs=1e-4)
        assert result["embed_times_s"] == frames.times_s.tolist()


def test_half_precision_costs_nothing_that_matters(folder: str) -> None:
    clips = [noise(4), noise(4, seed=1)]
    half = [vector(result).astype(np.float64) for result in run(embed(folder), clips)]
    full = [vector(result).astype(np.float64) for result in run(embed(folder, dtype="float32"), clips)]
    assert half[0] @ half[1] == pytest.approx(full[0] @ full[1], abs=1e-3)


def test_one_picture_held_has_no_spread(folder: str) -> None:
    frames = noise(1)
    held = Frames(np.repeat(frames.data, 3, axis=0), np.arange(3.0))
    (result,) = run(embed(folder), [held])
    assert result["embed_spread"] == pytest.approx(0, abs=1e-6)


def test_frames_that_cancel_are_an_error_of_the_clip(folder: str) -> None:
    stage = embed(folder)
    opposite = Encoded(np.array([[1, 0], [-1, 0]], np.float32), np.arange(2.0))
    (result,) = stage.process([ClipView("a", {stage.encoder.column: {stage.request: opposite}})])
    assert isinstance(result, ClipError)


def test_two_backbones_may_stand_side_by_side() -> None:
    assert Embed().writes["embedding"] == Member("npy")
    assert Embed(ext="siglip.npy").writes["embedding"] == Member("siglip.npy")
    with pytest.raises(ValidationError):
        Embed(ext="json")
