"""Windows of a feature map, for attention within each (Liu et al., Swin Transformer, ICCV 2021), and sine positions in them."""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000.0
ELSEWHERE = -100.0
"""Added to the score of two places that are neighbours only because the map was rolled: e to this is no weight."""


def split_windows(features: Tensor, splits: int) -> Tensor:
    """[B, H, W, C] to [B * splits * splits, H / splits * W / splits, C], windows in rows."""
    batch, height, width, channels = features.shape
    tiles = features.reshape(batch, splits, height // splits, splits, width // splits, channels)
    return tiles.transpose(2, 3).reshape(batch * splits**2, -1, channels)


def join_windows(windows: Tensor, splits: int, size: tuple[int, int]) -> Tensor:
    """The inverse of `split_windows`, for a map of `size` (height, width)."""
    (height, width), channels = size, windows.shape[-1]
    tiles = windows.reshape(-1, splits, splits, height // splits, width // splits, channels)
    return tiles.transpose(2, 3).reshape(-1, height, width, channels)


def half_window(splits: int, size: tuple[int, int]) -> tuple[int, int]:
    """By how much (rows, columns) a map is rolled before its windows are cut anew: half a window."""
    return size[0] // splits // 2, size[1] // splits // 2


def rolled_mask(splits: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """What to add to the scores in the windows of a map rolled by `half_window`: float32 [windows, L, L], 0 between places of
    one part of the map, `ELSEWHERE` between places that the roll brought together.
    """
    parts = [
        _parts(length, length // splits, shift, device)
        for length, shift in zip(size, half_window(splits, size), strict=True)
    ]
    part = 3 * parts[0][:, None] + parts[1]
    windows = split_windows(part[None, :, :, None], splits)[..., 0]
    apart = windows[:, :, None] != windows[:, None, :]
    return apart.float() * ELSEWHERE


def _parts(length: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Of each place along one axis of a rolled map, which piece it is of: before the last window, its start, what came
    round from the other end.
    """
    at = torch.arange(length, device=device)
    return (at >= length - window).long() + (at >= length - shift).long()


def sine_positions(channels: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Sine positions (Vaswani et al., NeurIPS 2017; in two dimensions as in DETR, Carion et al., ECCV 2020): float32
    [channels, H, W], half for rows, half for columns, each from just above 0 to 2 pi along its axis.
    """
    half = channels // 2
    pair = torch.arange(half, device=device) // 2
    wave = TEMPERATURE ** (2 * pair / half)
    axes = []
    for length in size:
        at = torch.arange(1, length + 1, dtype=torch.float32, device=device) / (length + 1e-6) * 2 * math.pi
        angles = at[:, None] / wave
        axes.append(torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=2).flatten(1))
    rows, columns = axes
    rows = rows.T[:, :, None].expand(half, *size)
    columns = columns.T[:, None, :].expand(half, *size)
    return torch.cat((rows, columns))


def add_positions(features: Tensor, splits: int) -> Tensor:
    """[B, C, H, W] with the sine positions of each place in its window added, the same in each window."""
    channels, height, width = features.shape[1:]
    window = sine_positions(channels, (height // splits, width // splits), features.device)
    return features + window.repeat(1, splits, splits)
