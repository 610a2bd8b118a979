"""Matching as a softmax over similarities: globally, within a radius, and around where a flow points; and moving by a flow.

Flows are float32 [B, 2, H, W], x then y, in pixels of the map that they are of: `first` at p lies in `second` at p + flow(p).
"""

import torch
from torch import Tensor
from torch.nn import functional

OUTSIDE = -1e9
"""Score of a place outside the picture: no weight after the softmax."""


def pixel_grid(size: tuple[int, int], device: torch.device) -> Tensor:
    """float32 [2, H, W]: x and y of each pixel."""
    ys = torch.arange(size[0], dtype=torch.float32, device=device)
    xs = torch.arange(size[1], dtype=torch.float32, device=device)
    return torch.stack((xs.expand(*size), ys[:, None].expand(*size)))


def global_flow(first: Tensor, second: Tensor) -> Tensor:
    """Flow from features [B, C, H, W] each: the mean place in `second`, weighted by softmax(dot product / sqrt(C)) over all of
    it (GMFlow, eq. 1 to 3).
    """
    batch, channels, height, width = first.shape
    scores = first.flatten(2).transpose(1, 2) @ second.flatten(2) / channels**0.5
    grid = pixel_grid((height, width), first.device)
    places: Tensor = scores.softmax(-1) @ grid.flatten(1).T
    return places.transpose(1, 2).reshape(batch, 2, height, width) - grid


def local_flow(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """The same over the square of `radius` around each pixel, what of it lies in the picture."""
    height, width = first.shape[2:]
    around = functional.pad(second, (radius,) * 4)
    inside = functional.pad(second.new_ones(1, height, width), (radius,) * 4)
    offsets = window_offsets(radius, first.device)
    scores = []
    for dx, dy in offsets.long().tolist():
        there = (slice(radius + dy, radius + dy + height), slice(radius + dx, radius + dx + width))
        score = (first * around[:, :, *there]).sum(1) / first.shape[1] ** 0.5
        scores.append(score.masked_fill(inside[:, *there] == 0, OUTSIDE))
    weights = torch.stack(scores, 1).softmax(1)
    return torch.einsum("bohw,oc->bchw", weights, offsets)


def correlation_along(first: Tensor, second: Tensor, flow: Tensor, radius: int) -> Tensor:
    """How alike `first` at each pixel p and `second` around p + flow(p) are: dot products / sqrt(C), bilinear between pixels and
    0 outside, [B, (2 radius + 1)^2, H, W], the square in rows.

    All places of a square share the fractions of their coordinates, so the dot products are taken once at the whole
    pixels around and blended, in place of a blend of all channels for each place.
    """
    batch, channels, height, width = first.shape
    target = pixel_grid((height, width), first.device) + flow
    corner = target.floor()
    part = target - corner
    dots = _dots_around(first, second, corner.long() - radius, 2 * radius + 2) / channels**0.5
    right, below = part[:, 0, None, None], part[:, 1, None, None]
    rows: Tensor = dots[:, :-1] * (1 - below) + dots[:, 1:] * below
    blended: Tensor = rows[:, :, :-1] * (1 - right) + rows[:, :, 1:] * right
    return blended.reshape(batch, -1, height, width)


def _dots_around(first: Tensor, second: Tensor, start: Tensor, side: int) -> Tensor:
    """Dot products of `first` at each pixel with `second` at the `side` x `side` whole pixels from `start`, int64 [B, 2, H, W],
    on: [B, side, side, H, W], 0 outside.
    """
    batch, channels, height, width = first.shape
    rows = second.permute(0, 2, 3, 1).reshape(-1, channels)
    here = first.permute(0, 2, 3, 1).reshape(-1, channels)
    picture = torch.arange(batch, device=first.device)[:, None, None] * (height * width)
    dots = []
    for k in range(side * side):
        y, x = start[:, 1] + k // side, start[:, 0] + k % side
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        index = picture + y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        dot = (here * rows.index_select(0, index.flatten())).sum(1).view(batch, height, width)
        dots.append(dot * inside)
    return torch.stack(dots, 1).view(batch, side, side, height, width)


def window_offsets(radius: int, device: torch.device) -> Tensor:
    """float32 [(2 radius + 1)^2, 2]: x and y of the places of a square around its middle, in rows."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    ys, xs = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((xs, ys), -1).reshape(-1, 2)


def moved(features: Tensor, flow: Tensor) -> Tensor:
    """`features` as seen along `flow`: at p those of p + flow(p), bilinear, 0 outside the picture."""
    height, width = features.shape[2:]
    target = pixel_grid((height, width), features.device) + flow
    last = target.new_tensor([width - 1, height - 1])
    grid = 2 * target.permute(0, 2, 3, 1) / last - 1
    return functional.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
