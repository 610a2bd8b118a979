"""Preprocessing on the device against open_clip's own transform of PIL pictures."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.shots import shot

from shardpipe.models.imports import import_model_library
from shardpipe.models.preprocess import Preprocess

CLIP: dict[str, Any] = {
    "size": 224,
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def theirs(config: dict[str, Any], frames: NDArray[np.uint8]) -> torch.Tensor:
    transform = import_model_library("open_clip").transform
    size = config["size"]
    as_listed = {**config, "size": size if isinstance(size, int) else tuple(size)}
    prepare = transform.image_transform_v2(transform.PreprocessCfg(**as_listed), is_train=False)
    return torch.stack([prepare(Image.fromarray(frame)) for frame in frames])


def levels_apart(config: dict[str, Any], frames: NDArray[np.uint8]) -> torch.Tensor:
    """Absolute difference of the two model inputs, in levels of 255."""
    ours = Preprocess.of(config)(torch.from_numpy(frames), torch.float32)
    other = theirs(config, frames)
    assert ours.shape == other.shape
    return (ours - other).abs() * torch.tensor(config["std"]).view(1, 3, 1, 1) * 255


def pictures(*sizes: tuple[int, int]) -> list[NDArray[np.uint8]]:
    source = np.stack(shot("bikes", first=20, count=2))
    found = []
    for height, width in sizes:
        images = [np.asarray(Image.fromarray(frame).resize((width, height))) for frame in source]
        found.append(np.stack(images))
    return found


ODD = [(720, 1280), (1280, 720), (272, 640), (224, 224), (187, 333), (448, 797), (100, 60), (225, 224), (3, 17), (1, 1)]


@pytest.mark.parametrize("size", ODD, ids=str)
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_equal_to_the_transform_of_open_clip(size: tuple[int, int], mode: str) -> None:
    (frames,) = pictures(size)
    apart = levels_apart({**CLIP, "resize_mode": mode}, frames)
    assert apart.max() <= 2.01  # a rounding in each direction
    assert apart.mean() < 0.05


@pytest.mark.parametrize(
    "config",
    [
        {"interpolation": "bilinear"},
        {"size": (192, 256)},
        {"size": (256, 192), "resize_mode": "longest", "fill_color": 128},
        {"size": (256, 192), "resize_mode": "squash", "mean": (0.5,) * 3, "std": (0.5,) * 3},
    ],
    ids=str,
)
def test_every_setting_of_a_model_is_honoured(config: dict[str, Any]) -> None:
    (frames,) = pictures((272, 640))
    assert levels_apart({**CLIP, **config}, frames).max() <= 2.01


def test_the_way_by_floats_that_a_gpu_takes_is_the_same() -> None:
    (frames,) = pictures((448, 797))
    preprocess = Preprocess.of(CLIP)
    chw = torch.from_numpy(frames).permute(0, 3, 1, 2)
    by_uint8 = preprocess._resize(chw, (224, 398)).float()
    floats = torch.nn.functional.interpolate(chw.float(), size=(224, 398), mode="bicubic", antialias=True)
    assert (by_uint8 - floats.clamp(0, 255).round()).abs().max() <= 1


def test_a_very_long_picture_is_cut_before_it_is_enlarged() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 900, 3), np.uint8)
    ours = Preprocess.of(CLIP)(torch.from_numpy(frames), torch.float32)
    assert ours.shape == (1, 3, 224, 224)
    assert levels_apart(CLIP, frames).max() <= 2.01


def test_dtype_is_the_models() -> None:
    frames = torch.zeros((1, 30, 40, 3), dtype=torch.uint8)
    assert Preprocess.of(CLIP)(frames, torch.bfloat16).dtype == torch.bfloat16
