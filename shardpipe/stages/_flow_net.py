"""A network for flow on a device: pairs of many clips in batches of one size. Imports torch, so import it in `setup`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shardpipe.core.weights import Weights
from shardpipe.models import raft
from shardpipe.models.device import BatchSize
from shardpipe.models.unimatch import checkpoint as unimatch
from shardpipe.models.weights import load_state, resolve
from shardpipe.stages._flow_pairs import Flow, Job, Pair

AT_ONCE_CPU = 1
AT_ONCE_GPU = 8
"""Pairs in a batch. A pair of 576x320 keeps a CPU busy alone, and takes about 0.6 GB there."""

Network = Callable[[Tensor, Tensor], Tensor]
"""Pictures float32 [B, 3, H, W] each, rgb, 0 to 255, to flows float32 [B, 2, H, W], x then y, in pixels."""

NETWORKS: Mapping[str, Callable[[Mapping[str, Any], str, str], Network]] = {
    "unimatch": unimatch.network_of,
    "raft": raft.network_of,
}
"""How each engine makes its network of a checkpoint's content, on a device; the last argument names where it is from."""


class FlowNet:
    """The network with its weights on `device`, in fp32. at_once: the most pairs in a batch."""

    def __init__(self, network: Network, device: str, at_once: int) -> None:
        self._network = network
        self._device = torch.device(device)
        self._size = BatchSize(at_once, device)

    @classmethod
    def load(cls, engine: str, weights: Weights, device: str) -> "FlowNet":
        """Raises ConfigError for weights that cannot be had or are not of the engine's network."""
        path = resolve(weights)
        network = NETWORKS[engine](load_state(path), device, str(path))
        return cls(network, device, AT_ONCE_CPU if torch.device(device).type == "cpu" else AT_ONCE_GPU)

    def flows(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Flow]]:
        """Each job's number and its flows, as `_flow_pairs.Flows` has them; nothing for a job without pairs. Raises StageError
        where one pair does not fit the device's memory.
        """
        by_size = sorted(range(len(jobs)), key=lambda i: jobs[i].size)
        for size, numbers in groupby(by_size, key=lambda i: jobs[i].size):
            found: dict[int, list[Flow]] = {}
            waiting = [(i, pair) for i in numbers for pair in jobs[i].pairs]
            while waiting:
                taken = waiting[: self._size.of(size)]
                pairs = [(jobs[i], pair) for i, pair in taken]
                made = self._size.attempt(partial(self._run, pairs), len(pairs), size)
                if made is None:
                    continue
                waiting = waiting[len(taken) :]
                for (i, _), flow in zip(taken, made, strict=True):
                    found.setdefault(i, []).append(flow)
                    if len(found[i]) == len(jobs[i].pairs):
                        yield i, np.stack(found.pop(i))

    @torch.inference_mode()
    def _run(self, pairs: Sequence[tuple[Job, Pair]]) -> Flow:
        firsts = torch.cat([self._picture(job, pair[0]) for job, pair in pairs])
        seconds = torch.cat([self._picture(job, pair[1]) for job, pair in pairs])
        flow: Tensor = self._network(firsts, seconds)
        found: Flow = flow.cpu().numpy()
        return found

    def _picture(self, job: Job, frame: int) -> Tensor:
        """A frame as float32 [1, 3, height, width], 0 to 255, on the device; a portrait one transposed, then resized as Open-Sora
        and UniMatch's authors do it: bilinear, corners on corners.
        """
        picture = torch.from_numpy(np.require(job.pictures[frame], requirements=["C", "W"])).to(self._device)
        picture = picture.permute(2, 0, 1)[None].float()
        if picture.shape[2] > picture.shape[3]:
            picture = picture.transpose(2, 3)
        if tuple(picture.shape[2:]) == job.size:
            return picture
        return functional.interpolate(picture, size=job.size, mode="bilinear", align_corners=True)
