"""The image tower: equal to open_clip on its own transform, whatever the batches; memory, precision, kinds of towers."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.shots import shot
from support.tiny_clip import CONV, SQUASH, WIDTH, clip_folder

from shardpipe.models.backbone import parse_backbone
from shardpipe.models.clip_model import load_model
from shardpipe.models.image_encoder import ImageTower, load_image_tower, placed
from shardpipe.models.imports import import_model_library
from shardpipe.models.preprocess import Preprocess
from shardpipe.models.weights import resolve

Frames = NDArray[np.uint8]


def files_of(folder: str) -> dict[str, Path]:
    return {weights.role: resolve(weights) for weights in parse_backbone(folder).files}


def tower_of(folder: str, **options: Any) -> ImageTower:
    given = {"device": "cpu", "precision": "fp32", "max_images": 64, "compiled": False, **options}
    return load_image_tower(parse_backbone(folder), files_of(folder), **given)


def by_open_clip(folder: str, frames: Frames) -> NDArray[np.float32]:
    """What open_clip itself makes of PIL pictures."""
    open_clip = import_model_library("open_clip")
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        made = model.eval().encode_image(torch.stack([prepare(Image.fromarray(frame)) for frame in frames]))
    return torch.nn.functional.normalize(made, dim=-1).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def groups() -> list[Frames]:
    wide, high = np.stack(shot("bikes", count=7)), np.stack(shot("carphone_pristine", count=3))
    return [wide, high, wide[:, :, :100], high[:1], high.transpose(0, 2, 1, 3), wide[3:5, :40]]


def test_equal_to_open_clip_on_real_frames(folder: str, groups: list[Frames]) -> None:
    made = tower_of(folder).embed(groups)
    for frames, embeddings in zip(groups, made, strict=True):
        expected = by_open_clip(folder, frames)
        assert embeddings.shape == (len(frames), WIDTH)
        assert embeddings.dtype == np.float32
        assert (1 - (embeddings * expected).sum(axis=1)).max() < 1e-3  # an eighth of what is allowed
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"preprocess": SQUASH},
        {"vision": CONV},
        {"text": {"context_length": 20}, "image_size": 32},
        {"vision": {"timm_model_name": "resnet18", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64}},
    ],
    ids=["squash", "resnet", "other", "timm"],
)
def test_other_kinds_of_towers(tmp_path: Path, groups: list[Frames], options: dict[str, Any]) -> None:
    folder = clip_folder(tmp_path, **options)
    for frames, embeddings in zip(groups[:2], tower_of(folder).embed(groups[:2]), strict=True):
        assert (1 - (embeddings * by_open_clip(folder, frames)).sum(axis=1)).max() < 2e-3


def test_convolutions_get_the_memory_format_that_they_want(tmp_path: Path, folder: str) -> None:
    resnet = placed(
        load_model(parse_backbone(made := clip_folder(tmp_path, vision=CONV)), files_of(made)).visual,
        "cpu",
        torch.float32,
    )
    vit = placed(load_model(parse_backbone(folder), files_of(folder)).visual, "cpu", torch.float32)
    assert isinstance(resnet, torch.nn.Module)
    assert isinstance(vit, torch.nn.Module)
    assert resnet.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert not vit.conv1.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("max_images", [1, 2, 5, 6, 64])
def test_batches_change_nothing(folder: str, groups: list[Frames], max_images: int) -> None:
    expected = [tower_of(folder).embed([frames])[0] for frames in groups]
    made = tower_of(folder, max_images=max_images).embed(groups)
    for embeddings, alone in zip(made, expected, strict=True):
        np.testing.assert_allclose(embeddings, alone, atol=2e-6)


def test_full_batches_across_groups(folder: str, groups: list[Frames]) -> None:
    tower = tower_of(folder, max_images=5)
    sizes: list[int] = []
    visual = tower._visual
    tower._visual = lambda images: (sizes.append(len(images)), visual(images))[1]
    tower.embed(groups)
    assert sum(sizes) == sum(map(len, groups))
    assert sizes[:-1] == [5] * (len(sizes) - 1)


def test_short_memory_halves_the_batch_and_goes_on(folder: str, groups: list[Frames]) -> None:
    tower, small = tower_of(folder), tower_of(folder)
    visual, sizes = small._visual, []

    def at_most_three(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return visual(images)

    small._visual = at_most_three
    for made, expected in zip(small.embed(groups), tower.embed(groups), strict=True):
        np.testing.assert_allclose(made, expected, atol=2e-6)
    assert max(sizes[-5:]) <= 3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(folder: str, groups: list[Frames], precision: str) -> None:
    exact, half = tower_of(folder).embed(groups[:2]), tower_of(folder, precision=precision).embed(groups[:2])
    for embeddings, expected in zip(half, exact, strict=True):
        assert embeddings.dtype == np.float32
        assert (1 - (embeddings * expected).sum(axis=1)).max() < 1e-3


def test_frames_that_may_not_be_written_are_taken(folder: str) -> None:
    frames = np.zeros((2, 30, 40, 3), np.uint8)
    frames.flags.writeable = False
    assert tower_of(folder).embed([frames])[0].shape == (2, WIDTH)
    assert tower_of(folder).embed([]) == []


def test_a_pair_of_tokens_and_pooled_is_taken_apart() -> None:
    preprocess = Preprocess((8, 8), (0.5,) * 3, (0.5,) * 3)
    tower = ImageTower(
        lambda images: (images.mean(dim=(2, 3)), images), preprocess, device="cpu", dtype=torch.float32, max_images=4
    )
    assert tower.embed([np.full((1, 8, 8, 3), 255, np.uint8)])[0] == pytest.approx(np.full((1, 3), 3**-0.5))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_gpu_gives_the_same(folder: str, groups: list[Frames], precision: str) -> None:
    if not torch.cuda.is_available():
        assert os.environ.get("REQUIRE_GPU") != "1", "REQUIRE_GPU=1, and there is no CUDA"
        pytest.skip("no CUDA")
    on_cpu = tower_of(folder).embed(groups)
    on_gpu = tower_of(folder, device="cuda:0", precision=precision, max_images=5).embed(groups)
    for embeddings, expected in zip(on_gpu, on_cpu, strict=True):
        assert (1 - (embeddings * expected).sum(axis=1)).max() < 1e-3


@pytest.mark.slow
def test_a_compiled_tower_gives_the_same(folder: str, groups: list[Frames]) -> None:
    code = (
        "import sys; sys.path[:0] = ['tests', 'tests/models']\n"
        "import numpy as np\nfrom test_image_encoder import tower_of\nfrom support.shots import shot\n"
        f"groups = [np.stack(shot('bikes', count=n)) for n in (5, 2)]\n"
        f"plain, made = (tower_of({folder!r}, compiled=c).embed(groups) for c in (False, True))\n"
        "assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(plain, made))\n"
    )  # in its own process: the compiler warns, and leaves threads behind
    subprocess.run([sys.executable, "-c", code], check=True, timeout=540)
