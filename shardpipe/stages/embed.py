"""Embed: one vector a clip, for search and for finding near-duplicates."""

import io
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from shardpipe.core.columns import Member, Writes, float32, list_of
from shardpipe.core.frames import Sampling, Uniform
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.stages._image_encoder import NOT_UNIT, NUM_FRAMES, ImageStage, column_times


class Embed(ImageStage):
    """Gives each clip an embedding, as its member KEY.npy, for search and for finding near-duplicates.

    `embedding`     member `.npy`, float16 or float32 [D] (768 with CLIP ViT-L/14): the mean of the frames' image embeddings of
                    length 1, scaled to length 1. The cosine of two clips is their dot product; a text embedding of the same
                    model finds clips by words. `numpy.load` reads it; it holds no pickle.
    `embed_spread`  float32, 0 to 1: 1 less the mean cosine of the frames to the embedding: 0 where all frames look alike (and
                    for a single one), high where the clip changes much or holds a missed cut.
    `embed_times_s` list of float32: the times of the frames, seconds; fewer than asked for where the clip has fewer.

    `num_frames` frames at the middle of equal parts of the clip, by default those that `aes` and `match` take too, so that they are
    encoded once. Open-Sora's near-duplicates are clips of equal size whose middle frames have a cosine above 0.98.

    Cost: the image model, 2.3 to 3 CPU-seconds a frame (ViT-L/14 in fp32 on one thread of a CPU with AVX2), once for all stages that
    share it; a member takes 1.7 kB in float16.

    Example rule: `embed_spread < 0.3`.
    """

    version: ClassVar[int] = 1

    type: Literal["embed"] = "embed"
    num_frames: int = Field(
        default=NUM_FRAMES, ge=1, le=64, description="frames at the middle of equal parts of the clip"
    )
    dtype: Literal["float16", "float32"] = Field(default="float16", description="of the numbers in the member")
    ext: str = Field(
        default="npy",
        pattern=r"^([a-z0-9_]+\.)*npy$",
        description="extension of the member: siglip.npy beside another's npy",
    )

    @property
    def sampling(self) -> Sampling:
        """Spread over the clip."""
        return Uniform(self.num_frames)

    @property
    def writes(self) -> Writes:
        """The embedding, the spread of the frames and their times."""
        return {"embedding": Member(self.ext), "embed_spread": float32, "embed_times_s": list_of(float32)}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._embed(view) for view in batch]

    def _embed(self, view: ClipView) -> Result:
        encoded = self.encoded(view)
        mean = encoded.embeddings.mean(axis=0, dtype=np.float64)
        length = float(np.linalg.norm(mean))
        if not length > NOT_UNIT:
            return ClipError("the embeddings of the frames cancel each other out")
        file = io.BytesIO()
        np.save(file, (mean / length).astype(self.dtype), allow_pickle=False)
        return {
            "embedding": file.getvalue(),
            "embed_spread": max(0.0, 1.0 - length),  # the mean of the dot products with mean / length is length
            "embed_times_s": column_times(encoded),
        }
