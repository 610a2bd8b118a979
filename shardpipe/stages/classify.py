"""Classify: the probability of a watermark, of nudity, of anything that words or a trained head can name."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_serializer, field_validator, model_validator

from shardpipe.core.columns import ColumnName, Columns, float32, list_of
from shardpipe.core.errors import ConfigError, StageError
from shardpipe.core.frames import Sampling, Uniform
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.core.weights import Weights, WeightsUrl
from shardpipe.models.head import Head, Hidden
from shardpipe.models.imports import import_model_library
from shardpipe.stages._image_encoder import NUM_FRAMES, Embeddings, ImageStage, column_times, resolved, unit_length

Activation = Literal["sigmoid", "softmax", "none"]
LOGIT_SCALE = 100.0
PAIR = 2


class Classify(ImageStage):
    """Scores clips for one thing, which words (`prompts`) or a trained head (`weights`) describe, on the shared image embedding.

    `<name>`         float32: the highest of the frames, as one frame with a watermark is enough. With `prompts`, and with activation
                     sigmoid or softmax, a probability, 0 to 1; with activation none, the head's own number.
    `<name>_mean`    float32: mean over the frames.
    `<name>_times_s` list of float32: the times of the frames, seconds; fewer than asked for where the clip has fewer.

    With `prompts`, two or more classes of texts: each class is the mean of its texts' embeddings, scaled to length 1, a frame's
    probabilities are the softmax of 100 times its cosines to them (as CLIP is trained), and that of the first class is the score.
    With `weights`, a file with a linear layer or a chain of them (`hidden` between them) on the embedding of length 1, such as
    a probe trained on your own labels; of several outputs, `output` is the score.

        {type: classify, name: watermark, prompts: {watermark: [a photo with a watermark, a stock photo with a watermark text],
                                                    clean: [a photo, a clean photo without any text]}}
        {type: classify, name: nsfw, weights: nsfw.safetensors, activation: sigmoid}

    Zero-shot probabilities are not calibrated, and depend on the classes that stand against the first: set thresholds by
    looking at your own clips. Small watermarks are easily missed, as the model sees 224 pixels of the middle of a frame.

    Cost: the image model, 2.3 to 3 CPU-seconds a frame (ViT-L/14 in fp32 on one thread of a CPU with AVX2), once for all stages that
    share it; the classes themselves take under 1 ms a clip.

    Example rules: `watermark < 0.5`, `nsfw < 0.2 AND nsfw_mean < 0.1`.
    """

    version: ClassVar[int] = 1

    type: Literal["classify"] = "classify"
    name: ColumnName = Field(description="of its columns")
    prompts: dict[str, tuple[str, ...]] | None = Field(
        default=None, description="texts of each class, the one that is scored first; give these or weights"
    )
    weights: WeightsUrl | None = Field(default=None, description="path or url of a head's file; give this or prompts")
    activation: Activation | None = Field(
        default=None, description="after the head's last layer; with weights only, and needed there"
    )
    hidden: Hidden = Field(default="none", description="between the head's layers")
    output: int = Field(default=0, ge=0, description="which of a head's outputs is the score")
    num_frames: int = Field(
        default=NUM_FRAMES, ge=1, le=64, description="frames at the middle of equal parts of the clip"
    )

    _head: Head | None = PrivateAttr(default=None)
    _classes: Embeddings | None = PrivateAttr(default=None)

    @field_validator("prompts", mode="before")
    @classmethod
    def _from_pairs(cls, prompts: Any) -> Any:  # noqa: ANN401  whatever stands in the config
        if isinstance(prompts, list) and all(isinstance(pair, list | tuple) and len(pair) == PAIR for pair in prompts):
            return dict(prompts)
        return prompts

    @field_serializer("prompts", when_used="json")
    def _in_order(self, prompts: dict[str, tuple[str, ...]] | None) -> list[list[Any]] | None:
        """Pairs: where a pass's config is stored keys are sorted, and the first class is the one that is scored."""
        return None if prompts is None else [[name, list(texts)] for name, texts in prompts.items()]

    @model_validator(mode="after")
    def _one_way(self) -> "Classify":
        if (self.prompts is None) == (self.weights is None):
            raise ValueError("give either prompts or weights")
        if self.prompts is not None:
            _check_prompts(self.prompts)
            if self.activation is not None or self.hidden != "none" or self.output:
                raise ValueError("activation, hidden and output are for a head (weights); prompts are always a softmax")
        elif self.activation is None:
            raise ValueError("weights need an activation: sigmoid, softmax or none")
        return self

    @property
    def sampling(self) -> Sampling:
        """Spread over the clip."""
        return Uniform(self.num_frames)

    @property
    def identity(self) -> dict[str, Any]:
        """With the order of the classes, which a mapping in a fingerprint has not."""
        if self.prompts is None:
            return super().identity
        texts = {name: list(texts) for name, texts in self.prompts.items()}
        return super().identity | {"prompts": texts, "classes": list(texts)}

    @property
    def loads(self) -> Sequence[Weights]:
        """The head, or the text side of the backbone for the prompts."""
        return self.parsed.text_files if self.weights is None else [Weights("head", self.weights)]

    @property
    def writes(self) -> Columns:
        """Most and mean over the frames, and their times."""
        return {self.name: float32, f"{self.name}_mean": float32, f"{self.name}_times_s": list_of(float32)}

    def setup(self, device: str) -> None:
        """Loads the head, or embeds the prompts; the text side is not kept."""
        if self.prompts is not None:
            self._classes = self._embedded(self.prompts, device)
            return
        self._head = self.loaded_head(self.loads[0], self.hidden)
        if self.output >= self._head.num_out:
            raise ConfigError(
                f"classify {self.name}: the head gives {self._head.num_out} numbers, and output is {self.output}"
            )
        if self.activation == "softmax" and self._head.num_out == 1:
            raise ConfigError(f"classify {self.name}: the head gives one number, whose softmax is 1; use sigmoid")

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._score(view) for view in batch]

    def _score(self, view: ClipView) -> Result:
        encoded = self.encoded(view)
        with np.errstate(invalid="ignore"):
            scores = self._scores(encoded.embeddings)
        if not np.isfinite(scores).all():
            return ClipError("the head gave NaN or inf")
        return {
            self.name: float(scores.max()),
            f"{self.name}_mean": float(scores.mean()),
            f"{self.name}_times_s": column_times(encoded),
        }

    def _scores(self, embeddings: Embeddings) -> NDArray[np.float64]:
        """The score of each frame, float64 [T]."""
        if self._classes is not None:
            return softmax(LOGIT_SCALE * (embeddings @ self._classes.T).astype(np.float64))[:, 0]
        if self._head is None:
            raise StageError("classify: process was called before setup")
        outputs = self._head(embeddings).astype(np.float64)
        if self.activation == "softmax":
            return softmax(outputs)[:, self.output]
        score = outputs[:, self.output]
        return sigmoid(score) if self.activation == "sigmoid" else score

    def _embedded(self, prompts: Mapping[str, Sequence[str]], device: str) -> Embeddings:
        """The direction of each class, float32 [classes, D]."""
        import_model_library("torch")
        from shardpipe.models.text_encoder import load_text_tower  # noqa: PLC0415  imports torch

        tower = load_text_tower(self.parsed, resolved(self.loads), device=device, precision=self.precision)
        for text in (text for texts in prompts.values() for text in texts):
            if tower.num_tokens(text) > tower.context_length:
                raise ConfigError(
                    f"classify {self.name}: {text!r} is longer than the {tower.context_length} tokens of {self.parsed}"
                )
        means = np.stack([tower.embed(texts).mean(axis=0) for texts in prompts.values()])
        classes: Embeddings = means / np.linalg.norm(means, axis=-1, keepdims=True)
        if not unit_length(classes):
            raise ConfigError(f"classify {self.name}: {self.parsed} gave NaN or inf for a prompt")
        return classes


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), without an overflow."""
    values: NDArray[np.float64] = 0.5 * (1 + np.tanh(logits / 2))
    return values


def _check_prompts(prompts: Mapping[str, Sequence[str]]) -> None:
    if len(prompts) < 2:  # noqa: PLR2004  one class is always certain
        raise ValueError("prompts need at least two classes: what is scored, and what stands against it")
    for name, texts in prompts.items():
        if not texts or not all(text.strip() for text in texts):
            raise ValueError(f"prompts of class {name!r}: give at least one text, and no empty one")
