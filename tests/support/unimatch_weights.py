"""A checkpoint of UniMatch with the published names and shapes, and random values of a seed."""

import json
import math
from pathlib import Path

import torch

KEYS = Path(__file__).parents[1] / "models" / "unimatch_keys.json"


def published_shapes() -> dict[str, list[int]]:
    """Shape by name."""
    shapes: dict[str, list[int]] = json.loads(KEYS.read_text(encoding="utf-8"))["shapes"]
    return shapes


def random_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Values of the size that keeps a signal's size, but smaller where features meet: matching is then no choice on a knife's
    edge, and results of random weights are as steady against rounding as those of trained ones.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in published_shapes().items():
        noise = torch.randn(shape, generator=generator)
        if "norm" in name:
            state[name] = 0.02 * noise + 0.3 * name.endswith("weight")
        elif name.endswith("bias"):
            state[name] = 0.02 * noise
        else:
            state[name] = noise * math.sqrt((1.0 if len(shape) == 2 else 2.0) / math.prod(shape[1:]))
    state["backbone.trident_conv.weight"] *= 0.3
    return state


def write_checkpoint(path: Path, *, seed: int = 0, nested: bool = True) -> Path:
    """A checkpoint file, its tensors nested under `model` as the published one's, or not."""
    state = random_state(seed)
    torch.save({"model": state} if nested else state, path)
    return path
