"""A published checkpoint as a network that is ready to run."""

from collections.abc import Mapping
from typing import Any

import torch

from shardpipe.core.errors import ConfigError
from shardpipe.models.unimatch.network import UniMatchFlow

NAMED = 3  # names a message


def network_of(state: Mapping[str, Any], device: str, where: str) -> UniMatchFlow:
    """The network with the tensors of a checkpoint's content, nested under `model` as published, or not. Raises ConfigError,
    naming `where` it is from, for tensors that are missing, unknown or of another shape.
    """
    nested = state.get("model", state)
    with torch.random.fork_rng(devices=[]):  # the first, random weights are no business of the caller's
        network = UniMatchFlow()
    wanted = network.state_dict()
    if not isinstance(nested, Mapping) or (faults := _faults(wanted, nested)):
        said = "; ".join(faults) if isinstance(nested, Mapping) else "`model` in it is no mapping of tensors"
        raise ConfigError(f"{where} is no gmflow-scale2-regrefine6 checkpoint of UniMatch: {said}")
    network.load_state_dict(dict(nested))
    return network.eval().requires_grad_(requires_grad=False).to(device)


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
