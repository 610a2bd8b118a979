"""Match: how well a clip's text says what its frames show, by an image-text model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from shardpipe.core.columns import Columns, float32, int64, list_of
from shardpipe.core.errors import StageError
from shardpipe.core.frames import Fractions, Sampling, Uniform
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.core.weights import Weights
from shardpipe.models.imports import import_model_library
from shardpipe.stages._chunks import Chunk, chunked
from shardpipe.stages._image_encoder import NUM_FRAMES, Embeddings, ImageStage, column_times, resolved, unit_length

if TYPE_CHECKING:
    from shardpipe.models.text_encoder import TextTower


class Match(ImageStage):
    """Finds captions that do not fit their clips, by the CLIP similarity of text and frames.

    `match`            float32, 100 times the cosine, -100 to 100, in practice about 5 to 35: mean over frames, and over the text's
                       chunks weighted by their tokens.
    `match_min`        float32: the least chunk, mean over frames: low where one part of a long text is invented.
    `match_num_chunks` int64: how many chunks the text was taken in.
    `match_times_s`    list of float32: the times of the frames, seconds; fewer than asked for where the clip has fewer.

    All are null for a clip whose `column` is null or empty. CLIP reads 77 tokens, about 50 words. A longer text is taken in
    chunks of whole sentences, as many to a chunk as fit; a sentence that is longer alone is split between words. Nothing is left out.

    presets: `spread`, `num_frames` frames at the middle of equal parts of the clip (default 4, those that `aes` and `embed` take
    too, so that they are encoded once); `opensora`, as its tool does: the middle frame, and the text cut at 77 tokens by the
    tokenizer. Open-Sora multiplies by exp(logit_scale), which is 100.00 in CLIP ViT-L/14; here it is 100 for every model.

    Open-Sora never published a threshold. LAION kept web pictures with captions from 30 (LAION-400M) or 28 (LAION-5B, English)
    on, by ViT-B/32; long captions of videos lie lower. Take a quantile of your own data, and look at what it drops.

    Cost: the image model, 2.3 to 3 CPU-seconds a frame (ViT-L/14 in fp32 on one thread of a CPU with AVX2), once for all stages that
    share it; and of the text 0.2 CPU-seconds a chunk.

    Numbers of other models are not comparable: SigLIP's cosines are lower.

    Example rules: `match >= 20`, `match >= 20 AND match_min >= 15`.
    """

    version: ClassVar[int] = 1

    type: Literal["match"] = "match"
    column: str = Field(default="text", description="column that holds the text")
    preset: Literal["spread", "opensora"] = "spread"
    num_frames: int | None = Field(default=None, ge=1, le=64, description="frames of preset spread; null: 4")

    _texts: "TextTower | None" = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _preset_has_its_frames(self) -> "Match":
        if self.preset == "opensora" and self.num_frames is not None:
            raise ValueError("preset opensora takes the middle frame alone: leave num_frames out, or use preset spread")
        return self

    @property
    def sampling(self) -> Sampling:
        """As the preset says."""
        return Fractions((0.5,)) if self.preset == "opensora" else Uniform(self.num_frames or NUM_FRAMES)

    @property
    def reads(self) -> Sequence[str]:
        """The text."""
        return (self.column,)

    @property
    def loads(self) -> Sequence[Weights]:
        """The text side of the backbone."""
        return self.parsed.text_files

    @property
    def writes(self) -> Columns:
        """The similarity, that of the worst chunk, the number of chunks and the times of the frames."""
        return {"match": float32, "match_min": float32, "match_num_chunks": int64, "match_times_s": list_of(float32)}

    def setup(self, device: str) -> None:
        """Loads the text side."""
        import_model_library("torch")
        from shardpipe.models.text_encoder import load_text_tower  # noqa: PLC0415  imports torch

        self._texts = load_text_tower(self.parsed, resolved(self.loads), device=device, precision=self.precision)

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """The chunks of all clips together, each distinct one once."""
        if self._texts is None:
            raise StageError("match: process was called before setup")
        chunks = [self._chunks(view.row[self.column]) for view in batch]
        distinct = list(dict.fromkeys(chunk.text for each in chunks for chunk in each))
        made = dict(zip(distinct, self._texts.embed(distinct), strict=True)) if distinct else {}
        return [
            self._score(view, each, np.array([made[chunk.text] for chunk in each]))
            for view, each in zip(batch, chunks, strict=True)
        ]

    def _chunks(self, text: Any) -> list[Chunk]:  # noqa: ANN401  whatever the column holds
        if not isinstance(text, str) or not text.strip():
            return []
        assert self._texts is not None
        if self.preset == "opensora":
            return [Chunk(text, self._texts.context_length)]
        return chunked(text, self._texts.context_length, self._texts.num_tokens)

    def _score(self, view: ClipView, chunks: Sequence[Chunk], texts: Embeddings) -> Result:
        text = view.row[self.column]
        if text is not None and not isinstance(text, str):
            return ClipError(
                f"its column {self.column} holds {text!r:.40}, and match reads text: name a column of strings"
            )
        if not chunks:
            return dict.fromkeys(self.writes)
        if not unit_length(texts):
            return ClipError(f"{self.parsed} gave NaN or inf for the text")
        encoded = self.encoded(view)
        by_chunk = 100 * (encoded.embeddings @ texts.T).mean(axis=0)
        return {
            "match": float(np.average(by_chunk, weights=[chunk.num_tokens for chunk in chunks])),
            "match_min": float(by_chunk.min()),
            "match_num_chunks": len(chunks),
            "match_times_s": column_times(encoded),
        }
