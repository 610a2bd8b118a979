"""A published checkpoint as a network that is ready to run."""

from collections.abc import Mapping
from typing import Any

import torch

from shardpipe.models.cotracker.network import CoTracker
from shardpipe.models.fitting import load_into

KIND = "offline checkpoint of CoTracker3 (scaled_offline.pth, baseline_offline.pth)"


def network_of(state: Mapping[str, Any], device: str, where: str) -> CoTracker:
    """The network with the tensors of a checkpoint's content. Raises ConfigError, naming `where` it is from, for tensors that are
    missing, unknown or of another shape, as in CoTracker2 or the online model.
    """
    with torch.random.fork_rng(devices=[]):  # the first, random weights are no business of the caller's
        network = CoTracker()
    load_into(network, state, kind=KIND, where=where)
    return network.eval().requires_grad_(requires_grad=False).to(device)
