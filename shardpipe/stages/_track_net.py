"""CoTracker3 on a device. Imports torch, so import it in `setup`."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from shardpipe.core.weights import Weights
from shardpipe.models.cotracker.checkpoint import network_of
from shardpipe.models.cotracker.network import SIZE, CoTracker
from shardpipe.models.weights import load_state, resolve

SEEN = 0.9
"""Above this a point counts as seen, as the authors' predictor has it."""


class TrackNet:
    """The network with its weights on `device`, in fp32: a Tracker."""

    def __init__(self, network: CoTracker, device: str) -> None:
        self._network = network
        self._device = torch.device(device)

    @classmethod
    def load(cls, weights: Weights, device: str) -> "TrackNet":
        """Raises ConfigError for weights that cannot be had or are not of this network."""
        path = resolve(weights)
        return cls(network_of(load_state(path), device, str(path)), device)

    @torch.inference_mode()
    def __call__(
        self, pictures: NDArray[np.uint8], points: NDArray[np.float32], frames: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """See Tracker. Pictures are resized as the authors do it, bilinear with corners on corners, whatever their shape."""
        height, width = pictures.shape[1:3]
        video = (
            torch.from_numpy(np.require(pictures, requirements=["C", "W"])).to(self._device).permute(0, 3, 1, 2).float()
        )
        video = functional.interpolate(video, size=SIZE, mode="bilinear", align_corners=True)
        scale = np.array([(SIZE[1] - 1) / max(width - 1, 1), (SIZE[0] - 1) / max(height - 1, 1)], np.float32)
        queried = torch.from_numpy(points * scale).to(self._device)
        asked, each = torch.from_numpy(frames).to(self._device), torch.arange(len(points), device=self._device)
        at, seen = self._network(video, queried, asked)
        at[asked, each], seen[asked, each] = (
            queried,
            1.0,
        )  # as the authors' predictor has it: a point is where it was set down
        return at.cpu().numpy() / scale, (seen > SEEN).cpu().numpy()
