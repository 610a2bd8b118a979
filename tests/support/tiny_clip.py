"""Tiny image-text models with random weights, as folders and files that open_clip's own code would read."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from shardpipe.models.clip_model import _unchanged_surroundings
from shardpipe.models.imports import import_model_library

WIDTH = 24
SQUASH = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
CONV = {"layers": [1, 1, 1, 1], "width": 16, "head_width": 16, "image_size": 64, "patch_size": None}
AESTHETIC = (0, 2, 4, 6, 7)
"""The numbers of the layers in the published aesthetic head; those between are dropouts."""


def clip_folder(
    folder: Path,
    *,
    image_size: int = 48,
    vision: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    preprocess: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> str:
    """A folder with open_clip_config.json and open_clip_model.safetensors; gives its path, as a backbone is named.

    The image side is a ViT of two layers unless `vision` says otherwise; embeddings are `WIDTH` wide.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vit = {"image_size": image_size, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
    config = {
        "embed_dim": WIDTH,
        "vision_cfg": dict(vision or vit),
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2, **(text or {})},
    }
    written = {"model_cfg": config, "preprocess_cfg": dict(preprocess or {})}
    (folder / "open_clip_config.json").write_text(json.dumps(written))
    with _unchanged_surroundings():
        model = import_model_library("open_clip").create_model(f"local-dir:{folder}", load_weights=False)
    save_file(randomized(model.state_dict(), seed=seed), folder / "open_clip_model.safetensors")
    return str(folder)


def randomized(state: Mapping[str, torch.Tensor], *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors of the same names and shapes, random, of a size at which a network neither dies nor saturates."""
    made = {}
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(state.items()):
        noise = torch.randn(tensor.shape, generator=generator)
        scale = 0.5 if tensor.ndim < 2 else tensor[0].numel() ** -0.5
        if name.endswith("running_var"):
            noise, scale = 1 + noise.abs(), 1.0
        plus = 1.0 if tensor.ndim == 1 and name.endswith("weight") else 0.0
        made[name] = noise * scale + plus if tensor.is_floating_point() else tensor.clone()
    return made


def chain_file(
    path: Path,
    widths: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    nest: str | None = None,
    seed: int = 1,
) -> Path:
    """A file of linear layers of these widths, `layers.N` unless `names` says otherwise: .pth by torch, else safetensors."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Any] = {}
    for i, (num_in, num_out) in enumerate(pairwise(widths)):
        name = f"{names[i]}." if names and names[i] else "" if names else f"layers.{i}."
        state[f"{name}weight"] = torch.randn(num_out, num_in, generator=generator) * num_in**-0.5
        state[f"{name}bias"] = torch.randn(num_out, generator=generator)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({nest: state} if nest else state, path)
    return path


def aesthetic_head(path: Path, *, num_in: int = 768, seed: int = 1) -> Path:
    """A file with the key names and shapes of sac+logos+ava1-l14-linearMSE.pth."""
    return chain_file(path, (num_in, 1024, 128, 64, 16, 1), names=[f"layers.{i}" for i in AESTHETIC], seed=seed)
