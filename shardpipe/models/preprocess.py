"""From decoded frames to a model's input, on the model's device: what open_clip's transform does to a PIL picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

MAX_ASPECT = 8
"""Of a longer picture only the middle is resized: the centre crop takes no more of it."""


@dataclass(frozen=True)
class Preprocess:
    """size: (height, width) of the model's input. mean, std: of channels from 0 to 1. resize_mode: `shortest` (the short
    side to the size, then the centre), `longest` (the whole picture, filled up), `squash` (both sides, aspect lost).
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Preprocess":
        """From open_clip's own `preprocess_cfg`."""
        size = config["size"]
        height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
        return cls(
            size=(int(height), int(width)),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
            resize_mode=config["resize_mode"],
            fill_color=int(config["fill_color"]),
        )

    def __call__(self, frames: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """uint8 [T, H, W, 3] on any device to `dtype` [T, 3, height, width] on the same."""
        pictures = frames.permute(0, 3, 1, 2)
        if self.resize_mode == "shortest":
            pictures = _middle(pictures)
        size = self.resized(pictures.shape[2], pictures.shape[3])
        if size != tuple(pictures.shape[2:]):
            pictures = self._resize(pictures, size)
        scaled = self._cropped(pictures).to(torch.float32) / 255
        # with plain numbers: a tensor of them would have to go to the GPU, and wait for all that is queued there
        channels = [(scaled[:, i] - self.mean[i]) / self.std[i] for i in range(3)]
        return torch.stack(channels, dim=1).to(dtype)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) to which a picture is scaled before it is cropped or filled up, rounded as open_clip does."""
        if self.resize_mode == "squash":
            return self.size
        ratios = height / self.size[0], width / self.size[1]
        if self.resize_mode == "shortest" and self.size[0] == self.size[1]:
            side, short = self.size[0], min(height, width)
            return int(side * height / short), int(side * width / short)
        ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def _resize(self, pictures: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """uint8 [T, 3, H, W] to [T, 3, *size], filtered as PIL filters."""
        on_cpu = pictures.device.type == "cpu"  # where torch resizes uint8 itself; elsewhere by way of floats
        made = functional.interpolate(
            pictures if on_cpu else pictures.to(torch.float32), size=size, mode=self.interpolation, antialias=True
        )
        return made if on_cpu else made.clamp(0, 255).round()

    def _cropped(self, pictures: torch.Tensor) -> torch.Tensor:
        """The centre of the model's size, filled up with `fill_color` where a picture is smaller."""
        height, width = self.size
        below, right = max(0, height - pictures.shape[2]), max(0, width - pictures.shape[3])
        if below or right:
            edges = (right // 2, (right + 1) // 2, below // 2, (below + 1) // 2)
            pictures = functional.pad(pictures, edges, value=self.fill_color)
        top, left = round((pictures.shape[2] - height) / 2), round((pictures.shape[3] - width) / 2)
        return pictures[:, :, top : top + height, left : left + width]


def _middle(pictures: torch.Tensor) -> torch.Tensor:
    """The middle of pictures [T, 3, H, W] that are longer than `MAX_ASPECT` times their short side."""
    most = MAX_ASPECT * min(pictures.shape[2:])
    for axis in (2, 3):
        length = pictures.shape[axis]
        if length > most:
            pictures = pictures.narrow(axis, (length - most) // 2, most)
    return pictures
