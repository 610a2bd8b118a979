"""UniMatch on a device: pairs of many clips in batches of one size. Imports torch, so import it in `setup`."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shardpipe.core.weights import Weights
from shardpipe.models.unimatch.checkpoint import network_of
from shardpipe.models.unimatch.network import UniMatchFlow
from shardpipe.models.weights import load_state, resolve
from shardpipe.stages._unimatch import Flow, Job, Pair

AT_ONCE_CPU = 1
AT_ONCE_GPU = 8
"""Pairs in a batch. A pair of 576x320 keeps a CPU busy alone, and takes about 0.6 GB there."""


class FlowNet:
    """The network with its weights on `device`, in fp32. at_once: pairs in a batch; halved for good where memory runs out."""

    def __init__(self, network: UniMatchFlow, device: str, at_once: int) -> None:
        self._network = network
        self._device = torch.device(device)
        self.at_once = at_once

    @classmethod
    def load(cls, weights: Weights, device: str) -> "FlowNet":
        """Raises ConfigError for weights that cannot be had or are not of this network."""
        path = resolve(weights)
        network = network_of(load_state(path), device, str(path))
        return cls(network, device, AT_ONCE_CPU if torch.device(device).type == "cpu" else AT_ONCE_GPU)

    def flows(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Flow]]:
        """Each job's number and its flows, as `_unimatch.Flows` has them; nothing for a job without pairs."""
        by_size = sorted(range(len(jobs)), key=lambda i: jobs[i].size)
        for _, numbers in groupby(by_size, key=lambda i: jobs[i].size):
            found: dict[int, list[Flow]] = {}
            waiting = [(i, pair) for i in numbers for pair in jobs[i].pairs]
            while waiting:
                taken = waiting[: self.at_once]
                made = self._run_or_none([(jobs[i], pair) for i, pair in taken])
                if made is None:
                    self.at_once = (len(taken) + 1) // 2
                    continue
                waiting = waiting[len(taken) :]
                for (i, _), flow in zip(taken, made, strict=True):
                    found.setdefault(i, []).append(flow)
                    if len(found[i]) == len(jobs[i].pairs):
                        yield i, np.stack(found.pop(i))

    def _run_or_none(self, pairs: Sequence[tuple[Job, Pair]]) -> Flow | None:
        """The flows of pairs of one size; None where memory runs out for several, and torch.OutOfMemoryError where for one."""
        try:
            return self._run(pairs)
        except torch.OutOfMemoryError:
            if len(pairs) == 1:
                raise
        # after the handler: until then the error keeps the tensors of the failed run alive
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

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
