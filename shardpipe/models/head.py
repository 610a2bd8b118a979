"""Heads: small chains of linear layers on an embedding, read from a file of weights."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.errors import ConfigError

Floats = NDArray[np.float32]
Hidden = Literal["none", "relu"]
NESTS = ("state_dict", "model")


@dataclass(frozen=True)
class Head:
    """Linear layers one after another. layers: weight float32 [out, in] and bias float32 [out] of each.

    hidden: the activation between layers; there is none after the last.
    """

    layers: Sequence[tuple[Floats, Floats]]
    hidden: Hidden = "none"

    @property
    def num_in(self) -> int:
        """The width of the embedding that it takes."""
        return int(self.layers[0][0].shape[1])

    @property
    def num_out(self) -> int:
        """How many numbers it gives."""
        return int(self.layers[-1][0].shape[0])

    def __call__(self, embeddings: Floats) -> Floats:
        """float32 [T, num_in] to [T, num_out]."""
        values = embeddings
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and inf are for the caller to find
            for i, (weight, bias) in enumerate(self.layers):
                if i and self.hidden == "relu":
                    values = np.maximum(values, 0)
                values = values @ weight.T + bias
        return values


def read_head(state: Mapping[str, Any], *, where: str, num_in: int, hidden: Hidden = "none") -> Head:
    """The head that a file of weights holds: any chain of linear layers, in the order of their names' numbers.

    state: tensors by name, `layers.0.weight`, `fc1.bias`, or `weight` and `bias` alone, nested under `state_dict` or `model`
    or not. Raises ConfigError for other tensors, layers that do not fit each other, or an embedding of another width.
    """
    for nest in NESTS:
        if isinstance(state.get(nest), Mapping):
            state = state[nest]
    arrays = {name: _array(where, name, value) for name, value in state.items()}
    names = sorted({name.rpartition(".")[0] for name in arrays}, key=_natural)
    layers = [_layer(where, name, arrays) for name in names]
    if not layers:
        raise ConfigError(f"{where}: the file holds no layers")
    for (before, _), (after, _), name in zip(layers, layers[1:], names[1:], strict=False):
        if before.shape[0] != after.shape[1]:
            raise ConfigError(
                f"{where}: layer {name} takes {after.shape[1]} numbers, the one before gives {before.shape[0]}"
            )
    head = Head(layers, hidden)
    if head.num_in != num_in:
        raise ConfigError(
            f"{where}: the head takes embeddings of width {head.num_in}, the backbone's are {num_in} wide;"
            " give the backbone that it was trained on"
        )
    return head


def _array(where: str, name: str, value: Any) -> Floats:  # noqa: ANN401  whatever the file holds
    try:
        return np.asarray(value.detach().float().numpy(), dtype=np.float32)
    except AttributeError:
        raise ConfigError(
            f"{where}: {name} is no tensor but {type(value).__name__}; a head is a chain of linear layers"
        ) from None


def _layer(where: str, layer: str, arrays: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Weight and bias of one linear layer, the bias zero where there is none."""
    mine = {name.rpartition(".")[2]: array for name, array in arrays.items() if name.rpartition(".")[0] == layer}
    weight = mine.pop("weight", None)
    if weight is None or weight.ndim != 2:  # noqa: PLR2004  a matrix
        shown = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise ConfigError(
            f"{where}: {layer or 'the file'} is no linear layer; a head is a chain of them. The file has: {shown:.400}"
        )
    bias = mine.pop("bias", np.zeros(weight.shape[0], np.float32))
    if mine or bias.shape != weight.shape[:1]:
        raise ConfigError(
            f"{where}: layer {layer or 'of the file'} holds more than a weight and a bias that fit each other"
        )
    return weight, bias


def _natural(name: str) -> list[tuple[int, str]]:
    """Names in the order of the numbers in them: layers.2 before layers.10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
