"""The image side of an image-text model: frames in, normalised embeddings out, on the CPU or a GPU."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from shardpipe.models.backbone import Backbone, Precision
from shardpipe.models.clip_model import Files, load_model
from shardpipe.models.device import Batches, chosen_dtype
from shardpipe.models.imports import import_model_library
from shardpipe.models.preprocess import Preprocess

Pictures = NDArray[np.uint8]
Embeddings = NDArray[np.float32]
Tower = Callable[[torch.Tensor], Any]
"""Model input to embeddings [T, D], or to a tuple of these and more."""


def load_image_tower(
    backbone: Backbone, files: Files, *, device: str, precision: Precision, max_images: int, compiled: bool
) -> "ImageTower":
    """The image side alone, on `device`; the text side is dropped. Raises ConfigError for files that do not fit."""
    model = load_model(backbone, files)
    config = import_model_library("open_clip").get_model_preprocess_cfg(model)
    visual, dtype = model.visual, chosen_dtype(precision, device)
    del model
    return ImageTower(
        placed(visual, device, dtype, compiled=compiled),
        Preprocess.of(config),
        device=device,
        dtype=dtype,
        max_images=max_images,
    )


def placed(visual: torch.nn.Module, device: str, dtype: torch.dtype, *, compiled: bool = False) -> Tower:
    """A tower on its device in its dtype; convolutional ones in the memory format that their kernels want."""
    visual = visual.to(device=device, dtype=dtype)
    if sum(isinstance(layer, torch.nn.Conv2d) for layer in visual.modules()) > 1:  # a ViT has one, which cuts patches
        visual = visual.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
    if not compiled:
        return visual
    fast = torch.compile(visual)
    return lambda images: (visual if len(images) == 1 else fast)(
        images
    )  # a batch of one is the first, which is measured


class ImageTower:
    """Embeds frames of any size, batched across clips.

    On a GPU, frames go over in pinned memory on a stream of their own while the batch before is computed; nothing waits
    for the GPU until all is queued.
    """

    def __init__(
        self,
        visual: Tower,
        preprocess: Preprocess,
        *,
        device: str,
        dtype: torch.dtype,
        max_images: int,
    ) -> None:
        self._visual, self._preprocess = visual, preprocess
        self._device, self._dtype = device, dtype
        self._max_images = max_images
        self.image_side = max(preprocess.size)
        self._batches = Batches(max_images, device)
        self._copies: torch.cuda.Stream | None = None
        if device.startswith("cuda"):
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def embed(self, groups: Sequence[Pictures]) -> list[Embeddings]:
        """Embeddings float32 [T, D] of each group of frames uint8 [T, H, W, 3], of length 1 where the model gave finite
        numbers. Raises StageError where one frame does not fit the device's memory.
        """
        made = [self._batches.run(self._forward, images) for images in self._full_batches(groups)]
        if not made:
            return []
        embeddings = torch.cat(made).cpu().numpy()
        ends = np.cumsum([len(group) for group in groups])
        return list(np.split(embeddings, ends[:-1]))

    def _full_batches(self, groups: Sequence[Pictures]) -> Iterator[torch.Tensor]:
        """Model inputs of all groups in order, `max_images` at once, the last fewer."""
        waiting: list[torch.Tensor] = []
        count = 0
        for group in groups:
            for start in range(0, len(group), self._max_images):
                frames = torch.from_numpy(_writable(group[start : start + self._max_images]))
                images = self._batches.run(self._prepared, frames)
                while count + len(images) >= self._max_images:
                    taken = self._max_images - count
                    yield torch.cat([*waiting, images[:taken]])
                    waiting, count, images = [], 0, images[taken:]
                waiting.append(images)
                count += len(images)
        if count:
            yield torch.cat(waiting)

    def _prepared(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames uint8 [T, H, W, 3] in the CPU's memory as model input on the device."""
        if self._copies is None:
            return self._preprocess(frames.to(self._device), self._dtype)
        now = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copies):
            there = frames.pin_memory().to(self._device, non_blocking=True)
        now.wait_stream(self._copies)
        there.record_stream(now)  # its memory is not given away before the computing stream has read it
        return self._preprocess(there, self._dtype)

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        made = self._visual(images)
        pooled = made[0] if isinstance(made, tuple) else made  # some towers give their tokens too
        return functional.normalize(pooled.to(torch.float32), dim=-1)


def _writable(frames: Pictures) -> Pictures:
    """Frames that torch takes: of memory in order, and not marked read-only."""
    return np.require(frames, requirements=["C", "W"])
