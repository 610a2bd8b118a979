"""The whole network: pictures and points to tracks."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from shardpipe.models.cotracker.attention import Mlp, Updater
from shardpipe.models.cotracker.features import STRIDE, Encoder

SIZE = (384, 512)
"""(height, width) of the pictures that the published weights were trained on, whatever the shape of the video."""

FRAMES = 60
"""In a stretch; the published weights were trained on up to as many."""

LEVELS = 4
RADIUS = 3
AROUND = 2 * RADIUS + 1
CORRELATION = 256
DEGREES = 10
UPDATES = 6
ENCODED_AT_ONCE = 8
CORRELATED_AT_ONCE = 8
"""Frames; they bound what the network takes beside its features."""

TOKEN = 2 + LEVELS * CORRELATION + 4 * (1 + 2 * DEGREES)
"""Visibility, confidence, correlations, and the steps before and after."""


class CoTracker(nn.Module):
    """CoTracker3 offline. Its tensors have the names and shapes of the published checkpoint."""

    time_emb: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fnet = Encoder()
        self.updateformer = Updater(TOKEN)
        self.corr_mlp = Mlp(AROUND**4, 384, CORRELATION, by_tanh=False)
        self.register_buffer("time_emb", positions(FRAMES, TOKEN)[None])

    def forward(self, pictures: Tensor, points: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [T, 3, H, W], rgb, 0 to 255, H and W multiples of 16; points float32 [N, 2], x and y in pixels, each on one of
        `frames`, int64 [N]. Gives where each is in every frame, float32 [T, N, 2], and whether it is seen, [T, N], 0 to 1.
        """
        pyramid = self._pyramid(pictures)
        start = points / STRIDE
        patches = [self._around(level, start / 2**i, frames) for i, level in enumerate(pyramid)]
        at = start.expand(len(pictures), -1, -1)
        seen = torch.zeros_like(at[..., 0])
        sure = torch.zeros_like(seen)
        time = self._times(len(pictures))
        extent = at.new_tensor((SIZE[1], SIZE[0])) / STRIDE
        for _ in range(UPDATES):
            parts = (seen[..., None], sure[..., None], self._correlations(pyramid, patches, at), steps(at / extent))
            change = self.updateformer(torch.cat(parts, dim=-1).transpose(0, 1) + time).transpose(0, 1)
            at = at + change[..., :2]
            seen = seen + change[..., 2]
            sure = sure + change[..., 3]
        return at * STRIDE, seen.sigmoid()

    def _pyramid(self, pictures: Tensor) -> list[Tensor]:
        """Features [T, 128, H / 4, W / 4], and the same half as large three times."""
        scaled = pictures / 127.5 - 1
        levels = [torch.cat([self.fnet(part) for part in torch.split(scaled, ENCODED_AT_ONCE)])]
        while len(levels) < LEVELS:
            levels.append(functional.avg_pool2d(levels[-1], 2))
        return levels

    def _around(self, level: Tensor, points: Tensor, frames: Tensor) -> Tensor:
        """Features around each point on its own frame, [N, 49, 128]."""
        patches = points.new_empty(len(points), AROUND**2, level.shape[1])
        for frame in sorted(set(frames.tolist())):
            here = frames == frame
            patches[here] = sampled(level[frame][None], points[here][None])[0]
        return patches

    def _correlations(self, pyramid: Sequence[Tensor], patches: Sequence[Tensor], at: Tensor) -> Tensor:
        """What is around the tracks against what is around their points, [T, N, 4 x 256]."""
        found = []
        for first in range(0, len(at), CORRELATED_AT_ONCE):
            part = slice(first, first + CORRELATED_AT_ONCE)
            levels = []
            for i, (level, patch) in enumerate(zip(pyramid, patches, strict=True)):
                here = sampled(level[part], at[part] / 2**i)  # [t, N, 49, 128]
                volume = torch.einsum("tnac,nbc->tnab", here, patch)
                levels.append(self.corr_mlp(volume.flatten(2)))
            found.append(torch.cat(levels, dim=-1))
        return torch.cat(found)

    def _times(self, count: int) -> Tensor:
        """The embedding of the frames' places in time, [1, count, TOKEN]."""
        if count == FRAMES:
            return self.time_emb
        return functional.interpolate(self.time_emb.transpose(1, 2), size=count, mode="linear").transpose(1, 2)


def sampled(features: Tensor, points: Tensor) -> Tensor:
    """Features [T, C, H, W] at the 7x7 places around points [T, N, 2]: [T, N, 49, C], columns outermost. Beyond the picture its
    border goes on.
    """
    height, width = features.shape[2:]
    reach = torch.arange(-RADIUS, RADIUS + 1, device=points.device, dtype=points.dtype)
    offsets = torch.cartesian_prod(reach, reach)  # x varies slowest
    places = points[:, :, None] + offsets
    extent = points.new_tensor((max(width - 1, 1), max(height - 1, 1)))
    grid = places * (2 / extent) - 1
    found = functional.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return found.permute(0, 2, 3, 1)


def steps(at: Tensor) -> Tensor:
    """How each track comes from the frame before and goes to the next one, [T, N, 84], as numbers and sines of their multiples."""
    step = at[1:] - at[:-1]
    nothing = torch.zeros_like(at[:1])
    both = torch.cat((torch.cat((-step, nothing)), torch.cat((nothing, step))), dim=-1)
    scales = both.new_tensor([2.0**i for i in range(DEGREES)])
    angles = (both[..., None, :] * scales[:, None]).flatten(-2)
    return torch.cat((both, angles.sin(), (angles + math.pi / 2).sin()), dim=-1)


def positions(count: int, width: int) -> Tensor:
    """Sines, then cosines, of 0 to `count` less 1 at falling rates (Vaswani et al., 2017): float32 [count, width]."""
    rates = 10_000.0 ** -(torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1).float()
