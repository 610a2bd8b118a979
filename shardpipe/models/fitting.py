"""Whether the tensors of a checkpoint are those of a network, in words that name what is not."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from shardpipe.core.errors import ConfigError

NAMED = 3  # names a message


def load_into(network: nn.Module, state: Mapping[str, Any], *, kind: str, where: str) -> None:
    """Load a checkpoint's content, nested under `model` or not. Raises ConfigError that says `where` is no `kind`, for tensors that
    are missing, unknown or of another shape.
    """
    nested = state.get("model", state)
    wanted = network.state_dict()
    if not isinstance(nested, Mapping) or (faults := _faults(wanted, nested)):
        said = "; ".join(faults) if isinstance(nested, Mapping) else "`model` in it is no mapping of tensors"
        raise ConfigError(f"{where} is no {kind}: {said}")
    network.load_state_dict(dict(nested))


def _faults(wanted: Mapping[str, torch.Tensor], given: Mapping[str, Any]) -> list[str]:
    """What keeps `given` from being loaded; empty if nothing."""
    shapes = {name: tuple(tensor.shape) for name, tensor in given.items() if isinstance(tensor, torch.Tensor)}
    other = [
        f"{name} {list(shapes[name])}, not {list(wanted[name].shape)}"
        for name in wanted
        if name in shapes and shapes[name] != tuple(wanted[name].shape)
    ]
    kinds = {
        "missing": [name for name in wanted if name not in shapes],
        "unexpected": [name for name in given if name not in wanted],
        "of another shape": other,
    }
    return [f"{_few(names)} {kind}" for kind, names in kinds.items() if names]


def _few(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
