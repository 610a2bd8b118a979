"""RAFT from checkpoints of torchvision's two models, told apart by their names and shapes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from shardpipe.core.errors import ConfigError
from shardpipe.models.imports import import_model_library
from shardpipe.models.raft import RaftFlow, network_of

State = dict[str, Any]
PUBLISHED = {"raft_large": (169, 5_257_536), "raft_small": (106, 990_162)}
"""Tensors and parameters of torchvision's published checkpoints."""


def model_of(name: str) -> torch.nn.Module:
    model: torch.nn.Module = getattr(import_model_library("torchvision.models.optical_flow"), name)()
    return model.eval()


@pytest.mark.parametrize("name", list(PUBLISHED))
@torch.inference_mode()
def test_a_checkpoint_gives_the_flow_of_torchvision(name: str) -> None:
    model = model_of(name)
    state = model.state_dict()
    assert (len(state), sum(each.numel() for each in model.parameters())) == PUBLISHED[name]
    before = torch.get_rng_state()
    network = network_of(state, "cpu", "here")
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(2, 3, 128, 136, generator=generator) * 255 for _ in range(2))
    expected = model(2 * (first / 255) - 1, 2 * (second / 255) - 1)[-1]
    assert expected.abs().mean() > 0.01
    torch.testing.assert_close(network(first, second), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {name: each for name, each in s.items() if name != "mask_predictor.conv.bias"},
        lambda s: s | {"more": torch.zeros(1)},
        lambda s: s | {"mask_predictor.conv.bias": torch.zeros(1)},
        lambda s: s | {"mask_predictor.conv.bias": "text"},
        lambda s: {"model": s},
        lambda _: {},
    ],
)
def test_another_checkpoint_is_refused_in_words(change: Callable[[State], State]) -> None:
    state = model_of("raft_large").state_dict()
    assert isinstance(network_of(state, "cpu", "x"), RaftFlow)
    with pytest.raises(ConfigError, match=r"^/w/x\.pth is no checkpoint of torchvision's raft_large or raft_small"):
        network_of(change(dict(state)), "cpu", "/w/x.pth")
