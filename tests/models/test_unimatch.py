"""UniMatch as a whole: the published names and shapes load, others are refused in words, and the parts are joined as published."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.unimatch_weights import published_shapes, random_state, write_checkpoint
from torch.nn import functional

from shardpipe.core.errors import ConfigError
from shardpipe.models.unimatch.backbone import ResidualBlock
from shardpipe.models.unimatch.checkpoint import network_of
from shardpipe.models.unimatch.network import UniMatchFlow
from shardpipe.models.weights import load_state

State = dict[str, Any]


@pytest.fixture(scope="module")
def network() -> UniMatchFlow:
    return network_of({"model": random_state()}, "cpu", "here")


def pictures(height: int, width: int, *, count: int = 1, seed: int = 0) -> torch.Tensor:
    rough = torch.rand((count, 3, height // 8, width // 8), generator=torch.Generator().manual_seed(seed)) * 255
    return functional.interpolate(rough, size=(height, width), mode="bilinear", align_corners=True)


def test_names_and_shapes_are_the_published_ones() -> None:
    shapes = published_shapes()
    assert len(shapes) == 152
    assert sum(map(math.prod, shapes.values())) == 7_360_688
    assert {name: list(tensor.shape) for name, tensor in UniMatchFlow().state_dict().items()} == shapes


@pytest.mark.parametrize("nested", [True, False])
def test_a_checkpoint_loads_whether_nested_or_not(tmp_path: Path, *, nested: bool) -> None:
    loaded = load_state(write_checkpoint(tmp_path / "weights.pth", seed=3, nested=nested))
    before = torch.get_rng_state()
    network = network_of(loaded, "cpu", "here")
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training
    state = network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in random_state(3).items())
    assert not any(each.requires_grad for each in network.parameters())


def without(state: State, *names: str) -> State:
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: without(s, "refine_proj.bias"), r"refine_proj\.bias missing$"),
        (lambda s: s | {"upsampler.0.weight": torch.zeros(1)}, r"upsampler\.0\.weight unexpected$"),
        (lambda s: s | {"refine_proj.bias": torch.zeros(1)}, r"refine_proj\.bias \[1\], not \[256\] of another shape$"),
        (lambda _: {"net.weight": torch.zeros(1)}, r"conv1\.weight, .* and 149 more missing; net\.weight unexpected$"),
        (lambda s: s | {"refine_proj.bias": "text"}, r"refine_proj\.bias missing$"),
        (lambda s: {"model": 3} | s, r"`model` in it is no mapping"),
        (lambda _: {}, r"and 149 more missing$"),
    ],
)
def test_another_checkpoint_is_refused_in_words(change: Callable[[State], State], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)^/weights/x\.pth is no gmflow-scale2-regrefine6 checkpoint.*{said}"):
        network_of(change(random_state()), "cpu", "/weights/x.pth")


def test_the_checkpoint_of_one_scale_without_refinement_is_named_as_such() -> None:
    """GMFlow's own, smaller model: an upsampler in place of the refinement."""
    state = {name: tensor for name, tensor in random_state().items() if "refine" not in name and "trident" not in name}
    with pytest.raises(ConfigError, match=r"backbone\.trident_conv\.weight, refine_proj\.weight, .* missing"):
        network_of(state, "cpu", "x")


@torch.inference_mode()
def test_a_flow_has_the_pictures_size_and_is_each_pairs_own(network: UniMatchFlow) -> None:
    first, second = pictures(32, 64, count=2, seed=1), pictures(32, 64, count=2, seed=2)
    flow = network(first, second)
    assert flow.shape == (2, 2, 32, 64)
    assert flow.isfinite().all()
    assert flow.std() > 0.1
    for i in range(2):
        torch.testing.assert_close(network(first[i : i + 1], second[i : i + 1])[0], flow[i], rtol=1e-3, atol=1e-3)
    assert (network(first.flip(1), second.flip(1)) - flow).abs().max() > 0.1  # bgr is another picture


@torch.inference_mode()
def test_refinements_start_from_one_hidden_state_and_the_last_upsamples(network: UniMatchFlow) -> None:
    """The joining of the parts, by hooks: what goes into each refinement."""
    hidden_in: list[torch.Tensor] = []
    flows: list[torch.Tensor] = []
    changes: list[torch.Tensor] = []
    masked: list[torch.Tensor] = []

    def refined(_: object, given: Any, made: Any) -> None:
        hidden_in.append(given[0])
        flows.append(given[3])
        changes.append(made[1])

    hook = network.refine.register_forward_hook(refined)
    other = network.refine.mask.register_forward_hook(lambda *seen: masked.append(seen[2]))
    network(pictures(32, 64, seed=1), pictures(32, 64, seed=2))
    hook.remove()
    other.remove()
    assert len(flows) == 6
    assert len(masked) == 1
    assert all(torch.equal(each, hidden_in[0]) for each in hidden_in)
    for before, change, after in zip(flows, changes, flows[1:], strict=False):
        torch.testing.assert_close(before + change, after)


@torch.inference_mode()
def test_the_encoder_halves_twice_and_again_with_one_kernel(network: UniMatchFlow) -> None:
    quarter, eighth = network.backbone(pictures(32, 64))
    assert quarter.shape == (1, 128, 8, 16)
    assert eighth.shape == (1, 128, 4, 8)
    torch.testing.assert_close(quarter[:, :, ::2, ::2], eighth, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_residual_block_adds_what_it_was_given() -> None:
    block = ResidualBlock(4, 6, stride=2)
    given = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))

    def normed(values: torch.Tensor) -> torch.Tensor:
        mean, variance = values.mean((2, 3), keepdim=True), values.var((2, 3), keepdim=True, unbiased=False)
        return (values - mean) / (variance + 1e-5).sqrt()

    made = normed(functional.conv2d(given, block.conv1.weight, stride=2, padding=1)).relu()
    made = normed(functional.conv2d(made, block.conv2.weight, padding=1)).relu()
    assert block.downsample is not None
    beside = normed(functional.conv2d(given, block.downsample[0].weight, block.downsample[0].bias, stride=2))
    torch.testing.assert_close(block(given), (beside + made).relu(), rtol=1e-4, atol=1e-5)
