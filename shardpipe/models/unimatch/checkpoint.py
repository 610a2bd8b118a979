"""A published checkpoint as a network that is ready to run."""

from collections.abc import Mapping
from typing import Any

import torch

from shardpipe.models.fitting import load_into
from shardpipe.models.unimatch.network import UniMatchFlow

KIND = "gmflow-scale2-regrefine6 checkpoint of UniMatch"


def network_of(state: Mapping[str, Any], device: str, where: str) -> UniMatchFlow:
    """The network with the tensors of a checkpoint's content, nested under `model` as published, or not. Raises ConfigError,
    naming `where` it is from, for tensors that are missing, unknown or of another shape.
    """
    with torch.random.fork_rng(devices=[]):  # the first, random weights are no business of the caller's
        network = UniMatchFlow()
    load_into(network, state, kind=KIND, where=where)
    return network.eval().requires_grad_(requires_grad=False).to(device)
