"""Aes: how good a clip's frames look, by a head on CLIP embeddings that was trained on people's ratings."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from shardpipe.core.columns import Columns, float32, list_of
from shardpipe.core.errors import ConfigError, StageError
from shardpipe.core.frames import Fractions, Sampling, Uniform
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.core.weights import Weights, WeightsUrl, is_copy_of
from shardpipe.models.architectures import width_of
from shardpipe.models.head import Head
from shardpipe.stages._image_encoder import NUM_FRAMES, ImageStage, column_times

PUBLISHED = (
    "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/sac+logos+ava1-l14-linearMSE.pth"
)
PUBLISHED_WIDTH = 768
OPENSORA_AT = (0.1, 0.5, 0.9)


class Aes(ImageStage):
    """Finds pretty clips by the mean rating that people would give their frames, by LAION's improved aesthetic predictor.

    `aes`         float32, about 1 (ugly) to 10 (beautiful): mean over the frames. Each is the head's answer to the frame's CLIP
                  ViT-L/14 embedding of length 1: linear layers 768-1024-128-64-16-1 with nothing between them.
    `aes_min`     float32: the least of the frames.
    `aes_times_s` list of float32: the times of the frames, seconds; fewer than asked for where the clip has fewer.

    Open-Sora's guide calls 5.5 fair and 6.5 high; its data page keeps `aes >= 5`, its stage 2 of version 1.2 4.5 and up.
    The head was trained on pictures with ratings (SAC, LAION logos, AVA), not on video frames.

    presets: `spread`, `num_frames` frames at the middle of equal parts of the clip (default 4, those that `match` and `embed`
    take too, so that they are encoded once); `opensora`, the frames at 0.1, 0.5 and 0.9 of the clip, as its tool takes them.

    Cost: the image model, 2.3 to 3 CPU-seconds a frame (ViT-L/14 in fp32 on one thread of a CPU with AVX2), once for all stages that
    share it; the head itself takes 1 ms a clip.

    `weights` takes any file that holds a chain of linear layers on the backbone's embedding, such as LAION's
    sa_0_4_vit_l_14_linear.pth; its width must be the backbone's.

    Example rules: `aes >= 5`, `aes >= 4.5 AND aes_min >= 4`.
    """

    version: ClassVar[int] = 1

    type: Literal["aes"] = "aes"
    preset: Literal["spread", "opensora"] = "spread"
    num_frames: int | None = Field(default=None, ge=1, le=64, description="frames of preset spread; null: 4")
    weights: WeightsUrl = Field(default=PUBLISHED, description="path or url of the head's file")

    _head: Head | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _preset_has_its_frames(self) -> "Aes":
        if self.preset == "opensora" and self.num_frames is not None:
            raise ValueError(
                "preset opensora takes the frames at 0.1, 0.5 and 0.9: leave num_frames out, or use preset spread"
            )
        return self

    @model_validator(mode="after")
    def _published_head_fits(self) -> "Aes":
        width = width_of(self.parsed.model) if self.parsed.kind in ("named", "own") else None
        if is_copy_of(self.weights, PUBLISHED) and width not in (None, PUBLISHED_WIDTH):
            raise ValueError(
                f"the published head takes embeddings of width {PUBLISHED_WIDTH}, and those of {self.parsed.model} are {width} wide:"
                " give `weights`, a head that was trained on this backbone, or leave `backbone` out"
            )
        return self

    @property
    def sampling(self) -> Sampling:
        """As the preset says."""
        return Fractions(OPENSORA_AT) if self.preset == "opensora" else Uniform(self.num_frames or NUM_FRAMES)

    @property
    def loads(self) -> Sequence[Weights]:
        """The head."""
        if not is_copy_of(self.weights, PUBLISHED):
            return [Weights("head", self.weights)]
        return [
            Weights(
                "head",
                self.weights,
                sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
                licence="Apache-2.0",
                source="https://github.com/christophschuhmann/improved-aesthetic-predictor",
                num_bytes=3_714_759,
            )
        ]

    @property
    def writes(self) -> Columns:
        """Mean and least over the frames, and their times."""
        return {"aes": float32, "aes_min": float32, "aes_times_s": list_of(float32)}

    def setup(self, device: str) -> None:  # noqa: ARG002  the head takes less time than a copy to a GPU
        """Loads the head; raises ConfigError where it does not fit the backbone."""
        self._head = self.loaded_head(self.loads[0])
        if self._head.num_out != 1:
            raise ConfigError(f"aes: {self.weights}: the head gives {self._head.num_out} numbers; a rating is one")

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._score(view) for view in batch]

    def _score(self, view: ClipView) -> Result:
        if self._head is None:
            raise StageError("aes: process was called before setup")
        encoded = self.encoded(view)
        ratings = self._head(encoded.embeddings)[:, 0]
        if not np.isfinite(ratings).all():
            return ClipError("the head gave NaN or inf")
        return {"aes": float(ratings.mean()), "aes_min": float(ratings.min()), "aes_times_s": column_times(encoded)}
