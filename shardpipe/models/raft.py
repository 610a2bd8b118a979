"""RAFT's optical flow (Teed and Deng, ECCV 2020) by torchvision, from a checkpoint of its raft_large or raft_small.

Imports torch: import it in a stage's `setup`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shardpipe.core.errors import ConfigError
from shardpipe.models.imports import import_model_library

MODELS = ("raft_large", "raft_small")
MIDDLE = 127.5


class RaftFlow(nn.Module):
    """One of torchvision's models, on pictures as the other networks take them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """float32 [B, 3, H, W] each, rgb, 0 to 255, H and W multiples of 8 and at least 128, to float32 [B, 2, H, W]: the last of
        torchvision's 12 refinements.
        """
        flow: Tensor = self.model(first / MIDDLE - 1, second / MIDDLE - 1)[-1]
        return flow


def network_of(state: Mapping[str, Any], device: str, where: str) -> RaftFlow:
    """The network with the tensors of a checkpoint's content, of whichever of the two models has these names and shapes. Raises
    ConfigError, naming `where` it is from, for any others.
    """
    library = import_model_library("torchvision.models.optical_flow")
    shapes = _shapes(state)
    for name in MODELS:
        with torch.random.fork_rng(devices=[]):  # the first, random weights are no business of the caller's
            model: nn.Module = getattr(library, name)()
        if shapes == _shapes(model.state_dict()):
            model.load_state_dict(dict(state))
            return RaftFlow(model).eval().requires_grad_(requires_grad=False).to(device)
    raise ConfigError(
        f"{where} is no checkpoint of torchvision's {' or '.join(MODELS)}: names or shapes of its {len(state)} tensors differ"
    )


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...] | None]:
    """Shape by name; None for what is no tensor."""
    return {name: tuple(each.shape) if isinstance(each, Tensor) else None for name, each in state.items()}
