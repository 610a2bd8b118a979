"""Heads read from files: published names and shapes, any chain of linear layers, and errors that say what is wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_clip import AESTHETIC, aesthetic_head, chain_file

from shardpipe.core.errors import ConfigError
from shardpipe.models.head import read_head
from shardpipe.models.weights import load_state


def unit(width: int, count: int = 3) -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_the_published_aesthetic_head_loads_unchanged(tmp_path: Path) -> None:
    """As its authors wrote it: a Sequential of Linear and Dropout under the name `layers`."""
    network = torch.nn.Sequential(
        torch.nn.Linear(768, 1024), torch.nn.Dropout(0.2), torch.nn.Linear(1024, 128), torch.nn.Dropout(0.2),
        torch.nn.Linear(128, 64), torch.nn.Dropout(0.1), torch.nn.Linear(64, 16), torch.nn.Linear(16, 1),
    )  # fmt: skip
    path = aesthetic_head(tmp_path / "sac+logos+ava1-l14-linearMSE.pth")
    state = load_state(path)
    assert set(state) == {f"layers.{i}.{part}" for i in AESTHETIC for part in ("weight", "bias")}
    network.load_state_dict({name.removeprefix("layers."): tensor for name, tensor in state.items()})
    head = read_head(state, where="head", num_in=768)
    inputs = unit(768)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(head(inputs), expected, rtol=0, atol=1e-5)
    assert (head.num_in, head.num_out) == (768, 1)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_single_layer(tmp_path: Path, suffix: str) -> None:
    path = chain_file(tmp_path / f"sa_0_4_vit_l_14_linear{suffix}", (768, 1), names=[""])
    state = load_state(path)
    assert set(state) == {"weight", "bias"}
    inputs = unit(768)
    expected = inputs @ state["weight"].numpy().T + state["bias"].numpy()
    np.testing.assert_allclose(read_head(state, where="head", num_in=768)(inputs), expected, atol=1e-6)


def test_layers_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = chain_file(tmp_path / "head.safetensors", (8, 7, 6, 5), names=["net.2", "net.10", "net.11"])
    assert [weight.shape for weight, _ in read_head(load_state(path), where="head", num_in=8).layers] == [
        (7, 8),
        (6, 7),
        (5, 6),
    ]


@pytest.mark.parametrize("nest", ["state_dict", "model"])
def test_a_nest_is_opened(tmp_path: Path, nest: str) -> None:
    path = chain_file(tmp_path / "head.pth", (8, 1), nest=nest)
    assert read_head(load_state(path), where="head", num_in=8).num_out == 1


def test_relu_between_layers_and_not_after_the_last() -> None:
    state = {"a.weight": torch.tensor([[1.0], [-1.0]]), "b.weight": torch.tensor([[-1.0, -1.0]])}
    inputs = np.array([[2.0], [-3.0]], np.float32)
    assert read_head(state, where="head", num_in=1, hidden="relu")(inputs).tolist() == [[-2.0], [-3.0]]
    assert read_head(state, where="head", num_in=1)(inputs).tolist() == [[0.0], [0.0]]


def test_a_head_of_another_width_names_both() -> None:
    with pytest.raises(ConfigError, match=r"width 512.*768 wide"):
        read_head({"weight": torch.zeros(1, 512)}, where="head.pth", num_in=768)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "no layers"),
        ({"bn.weight": torch.zeros(4)}, "no linear layer"),
        ({"a.weight": torch.zeros(4, 3), "b.weight": torch.zeros(2, 5)}, "takes 5 numbers, the one before gives 4"),
        ({"a.weight": torch.zeros(4, 3), "a.bias": torch.zeros(3)}, "fit each other"),
        ({"a.weight": torch.zeros(4, 3), "a.running_mean": torch.zeros(4)}, "more than a weight and a bias"),
        ({"epoch": 3, "weight": torch.zeros(1, 3)}, "no tensor but int"),
    ],
)
def test_what_is_no_chain_of_linear_layers_is_refused(state: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_head(state, where="head.pth", num_in=3)
