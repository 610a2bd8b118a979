"""Stages on the shared image encoder, run on given frames; and the same numbers by open_clip alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.models.imports import import_model_library
from shardpipe.stages._image_encoder import ImageStage

SIZE = 48
"""The side of the tiny model's pictures: frames of this size go in as they are, so that numbers agree to the last digits."""


def noise(count: int, *, seed: int = 0, size: int = SIZE) -> Frames:
    """Frames of soft noise, each another, a second apart."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (count, 6, 6, 3), np.uint8)
    frames = [np.asarray(Image.fromarray(picture).resize((size, size))) for picture in small]
    return Frames(np.stack(frames), np.arange(count, dtype=np.float64))


def run(stage: ImageStage, clips: Sequence[Frames], rows: Sequence[Mapping[str, Any]] | None = None) -> list[Result]:
    """The stage's results on clips that have these frames, by way of the shared step, as the engine would."""
    encoder = stage.encoder
    encoder.setup("cpu")
    stage.setup("cpu")
    rows = rows or [{}] * len(clips)
    made = encoder.process(
        [ClipView(str(i), row, (frames,)) for i, (frames, row) in enumerate(zip(clips, rows, strict=True))]
    )
    assert not any(isinstance(result, ClipError) for result in made)
    return list(
        stage.process(
            [ClipView(str(i), {**row, **result}) for i, (row, result) in enumerate(zip(rows, made, strict=True))]
        )
    )


class ByOpenClip:
    """The model of a folder as open_clip alone uses it, in fp32."""

    def __init__(self, folder: str | Path) -> None:
        open_clip = import_model_library("open_clip")
        self.model, _, self._prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self._tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        self.model.eval()

    @torch.inference_mode()
    def images(self, frames: Frames) -> NDArray[np.float64]:
        """Normalised embeddings [T, D]."""
        pictures = torch.stack([self._prepare(Image.fromarray(frame)) for frame in frames.data])
        return normalised(self.model.encode_image(pictures).numpy().astype(np.float64))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Normalised embeddings [N, D]."""
        return normalised(self.model.encode_text(self._tokenizer(list(texts))).numpy().astype(np.float64))

    def num_tokens(self, text: str) -> int:
        """How many tokens of 77 are not padding, by where the last one stands."""
        return int(self._tokenizer([text])[0].argmax()) + 1


def normalised(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each of length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
