"""Aes: the formula against an independent computation, presets, other heads, errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.encoded import ByOpenClip, noise, run
from support.shots import shot
from support.tiny_clip import AESTHETIC, WIDTH, aesthetic_head, chain_file, clip_folder

from shardpipe.core.errors import ConfigError
from shardpipe.core.frames import Fractions, Uniform
from shardpipe.core.stage import ClipError
from shardpipe.stages.aes import Aes
from shardpipe.testing import check_stage, make_clip, score_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("aes")
    clip_folder(made / "clip")
    aesthetic_head(made / "head.pth", num_in=WIDTH)
    return made


def aes(folder: Path, **fields: Any) -> Aes:
    given = {"backbone": str(folder / "clip"), "weights": str(folder / "head.pth"), "precision": "fp32", **fields}
    return Aes.model_validate(given)


def test_contract(folder: Path) -> None:
    results = check_stage(aes(folder), tolerance=1e-4)
    assert len(results["landscape"]["aes_times_s"]) == 4
    assert results["one_frame"]["aes_times_s"] == [0.0]
    assert results["one_frame"]["aes"] == results["one_frame"]["aes_min"]


def test_the_number_is_that_of_the_published_formula(folder: Path) -> None:
    clips = [noise(4), noise(1, seed=3), noise(64, seed=5)]
    state = torch.load(folder / "head.pth", weights_only=True)
    for frames, result in zip(clips, run(aes(folder), clips), strict=True):
        values = ByOpenClip(folder / "clip").images(frames)
        for i in AESTHETIC:
            values = (
                values @ state[f"layers.{i}.weight"].double().numpy().T + state[f"layers.{i}.bias"].double().numpy()
            )
        assert result["aes"] == pytest.approx(values.mean(), abs=1e-4)
        assert result["aes_min"] == pytest.approx(values.min(), abs=1e-4)
        assert result["aes_times_s"] == frames.times_s.tolist()


def test_presets() -> None:
    assert Aes().request.sampling == Uniform(4)
    assert Aes(num_frames=7).request.sampling == Uniform(7)
    assert Aes(preset="opensora").request.sampling == Fractions((0.1, 0.5, 0.9))
    with pytest.raises(ValidationError, match="leave num_frames out"):
        Aes(preset="opensora", num_frames=3)


def test_the_frames_of_the_preset_are_taken_from_a_real_clip(folder: Path, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", pictures=shot("bikes", count=50), fps=25)
    result = score_clip(aes(folder, preset="opensora"), path)
    assert result["aes_times_s"] == pytest.approx([0.2, 1.0, 1.8])


@pytest.mark.parametrize(("widths", "names"), [((WIDTH, 1), [""]), ((WIDTH, 5, 1), ["fc1", "fc2"])])
def test_other_heads(folder: Path, tmp_path: Path, widths: tuple[int, ...], names: list[str]) -> None:
    path = chain_file(tmp_path / "head.safetensors", widths, names=names)
    (result,) = run(aes(folder, weights=str(path)), [noise(3)])
    assert np.isfinite(result["aes"])


def test_a_head_for_another_backbone_names_both_widths(folder: Path, tmp_path: Path) -> None:
    path = aesthetic_head(tmp_path / "head.pth", num_in=768)
    with pytest.raises(ConfigError, match=r"aes: .*head\.pth.*width 768.*24 wide"):
        aes(folder, weights=str(path)).setup("cpu")


def test_a_head_with_several_outputs_is_refused(folder: Path, tmp_path: Path) -> None:
    path = chain_file(tmp_path / "head.pth", (WIDTH, 2))
    with pytest.raises(ConfigError, match="gives 2 numbers"):
        aes(folder, weights=str(path)).setup("cpu")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_from_the_head_is_an_error_of_the_clip(folder: Path, tmp_path: Path, bad: float) -> None:
    torch.save({"weight": torch.full((1, WIDTH), bad)}, tmp_path / "head.pth")
    (result,) = run(aes(folder, weights=str(tmp_path / "head.pth")), [noise(2)])
    assert isinstance(result, ClipError)


def test_where_files_lie_and_how_frames_are_batched_is_no_part_of_the_identity(folder: Path, tmp_path: Path) -> None:
    here = aes(folder)
    there = aes(folder, max_images=1, compile=True, backbone=clip_folder(tmp_path / "clip"), weights="/other.pth")
    assert here.identity == there.identity
    assert here.encoder.identity == there.encoder.identity
    assert here.identity != aes(folder, precision="bf16").identity


def test_the_published_head_is_named_with_its_hash_and_licence() -> None:
    (weights,) = Aes().loads
    assert (weights.role, weights.licence, weights.num_bytes) == ("head", "Apache-2.0", 3_714_759)
    assert weights.url.endswith("/sac+logos+ava1-l14-linearMSE.pth")
    assert weights.sha256
    assert Aes(weights="/my.pth").loads[0].sha256 is None
