"""The image encoder that `aes`, `match`, `embed` and `classify` share, and what those stages have in common.

aes      ─┐
match    ─┤ share one ImageEncoder where backbone and precision are the same: a frame that several
embed    ─┤ of them ask for is decoded once and encoded once
classify ─┘
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator

from shardpipe.core.errors import ConfigError, StageError
from shardpipe.core.fingerprint import fingerprint
from shardpipe.core.frames import FrameRequest, Frames, Sampling
from shardpipe.core.shared import SharedStage
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.core.weights import Weights
from shardpipe.models.architectures import unknown
from shardpipe.models.backbone import Backbone, BackboneName, Precision, parse_backbone
from shardpipe.models.head import Head, Hidden, read_head
from shardpipe.models.imports import import_model_library
from shardpipe.models.weights import load_state, resolve

if TYPE_CHECKING:
    from shardpipe.models.image_encoder import ImageTower

BACKBONE = "ViT-L-14/openai"
NUM_FRAMES = 4
NOT_UNIT = 1e-2  # how far a good embedding's length may be from 1

Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class Encoded:
    """The frames of one request, encoded. embeddings: float32 [T, D], each of length 1. times_s: float64 [T]."""

    embeddings: Embeddings
    times_s: NDArray[np.float64]


class ImageEncoder(SharedStage):
    """Image embeddings of frames by the image side of a CLIP or SigLIP model; gives `{request: Encoded}` for each clip.

    With `auto` precision, results of a GPU or of a CPU that computes in bf16 differ from those in fp32 by a cosine distance of
    about 1e-4; batches of other sizes change the last digits only.
    """

    version: ClassVar[int] = 1

    type: Literal["image_encoder"] = "image_encoder"
    backbone: BackboneName = BACKBONE
    precision: Precision = "auto"
    compile: bool = False
    max_images: int = 64

    _tower: "ImageTower | None" = PrivateAttr(default=None)

    @property
    def column(self) -> str:
        """The same for all that want the same embeddings, whatever their batches."""
        backbone = asdict(parse_backbone(self.backbone))  # however its folder is written
        return f"_{self.type}_{fingerprint({'backbone': backbone, 'precision': self.precision})[:12]}"

    @property
    def identity(self) -> dict[str, Any]:
        """The model and its precision; not where its files lie, nor how it is batched or compiled."""
        return {"type": self.type, "version": self.version, **encoder_identity(self.backbone, self.precision)}

    @property
    def loads(self) -> Sequence[Weights]:
        """The model's files."""
        return parse_backbone(self.backbone).files

    def joined(self, other: SharedStage) -> "ImageEncoder":
        """The same for the requests of both, in the smaller of the two batches, compiled if one of them is."""
        assert isinstance(other, ImageEncoder)
        both = super().joined(other)
        how = {"max_images": min(self.max_images, other.max_images), "compile": self.compile or other.compile}
        return both.model_copy(update=how)

    def setup(self, device: str) -> None:
        """Loads the image side."""
        import_model_library("torch")
        from shardpipe.models.image_encoder import load_image_tower  # noqa: PLC0415  imports torch

        self._tower = load_image_tower(
            parse_backbone(self.backbone),
            resolved(self.loads),
            device=device,
            precision=self.precision,
            max_images=self.max_images,
            compiled=self.compile,
        )
        smallest = min(request.short_side or self._tower.image_side for request in self.requests)
        if smallest < self._tower.image_side:
            raise ConfigError(
                f"backbone {parse_backbone(self.backbone)} sees pictures of {self._tower.image_side} pixels, and frames with a short"
                f" side of {smallest} are asked for: set frame_side: {self._tower.image_side}, in each stage that shares it"
            )

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """All frames of all clips together; each distinct frame of a clip once."""
        if self._tower is None:
            raise StageError("image_encoder: process was called before setup")
        clips = [_Distinct() for _ in batch]
        for view, clip in zip(batch, clips, strict=True):
            for frames in view.frame_sets:
                clip.add(frames)
        made = iter(self._tower.embed([group for clip in clips for group in clip.groups]))
        return [self._result(view, clip, made) for view, clip in zip(batch, clips, strict=True)]

    def _result(self, view: ClipView, clip: "_Distinct", made: Iterator[Embeddings]) -> Result:
        """One clip's result; takes its groups from `made`."""
        groups = [next(made) for _ in range(clip.num_groups)]
        if not all(len(frames) for frames in view.frame_sets):
            return ClipError("no frame of the clip could be used")
        if any(not unit_length(embeddings) for embeddings in groups):
            return ClipError(f"{parse_backbone(self.backbone)} gave NaN, inf or nothing for a frame")
        encoded = [clip.encoded(frames, groups) for frames in view.frame_sets]
        return {self.column: dict(zip(self.requests, encoded, strict=True))}


@dataclass
class _Distinct:
    """The distinct frames of one clip: one list for each picture size, and where each (size, time) lies in it."""

    _pictures: dict[tuple[int, ...], list[NDArray[np.uint8]]] = field(default_factory=dict)
    _places: dict[tuple[tuple[int, ...], float], int] = field(default_factory=dict)

    def add(self, frames: Frames) -> None:
        """Take the frames of one request, those that are new."""
        pictures = self._pictures.setdefault(frames.data.shape[1:], [])
        for picture, time_s in zip(frames.data, frames.times_s, strict=True):
            if (key := (picture.shape, float(time_s))) not in self._places:
                self._places[key] = len(pictures)
                pictures.append(picture)

    @property
    def num_groups(self) -> int:
        """How many sizes there are."""
        return sum(bool(pictures) for pictures in self._pictures.values())

    @property
    def groups(self) -> list[NDArray[np.uint8]]:
        """uint8 [T, H, W, 3] of each size."""
        return [np.stack(pictures) for pictures in self._pictures.values() if pictures]

    def encoded(self, frames: Frames, groups: Sequence[Embeddings]) -> Encoded:
        """What became of the frames of one request."""
        size = frames.data.shape[1:]
        group = groups[list(self._pictures).index(size)]
        return Encoded(group[[self._places[size, float(time_s)] for time_s in frames.times_s]], frames.times_s.copy())


class ImageStage(Stage):
    """What stages on the shared embeddings have in common: the backbone, and how frames are sampled."""

    backbone: BackboneName = Field(
        default=BACKBONE,
        description=(
            "MODEL/TAG of open_clip, hf-hub:ORGANISATION/NAME, a folder (/... or ./...), or {model: ViT-L-14, weights: PATH, like: openai}"
        ),
    )
    precision: Precision = Field(
        default="auto", description="auto: bf16 on a GPU or CPU that computes in it, else fp16 on a GPU, fp32 on a CPU"
    )
    compile: bool = Field(default=False, description="torch.compile the image model: some minutes at the start")
    max_images: int = Field(
        default=64, ge=1, description="most frames a forward pass; fewer where little memory is free"
    )
    frame_side: int | None = Field(
        default=None,
        ge=16,
        description="short side to which frames are scaled down as they are decoded; null: what the model sees",
    )
    tolerance_s: float = Field(
        default=0.0, ge=0, description="how far a frame may be from its time; above 0, keyframes within it are cheap"
    )

    @field_validator("backbone")
    @classmethod
    def _known_form(cls, name: BackboneName) -> BackboneName:
        parsed = parse_backbone(name)
        if parsed.kind == "own" and (
            fault := unknown(parsed.model, parsed.tag)
        ):  # of published weights the plan says it
            raise ValueError(fault)
        return name

    @property
    @abstractmethod
    def sampling(self) -> Sampling:
        """When the frames are taken."""

    @property
    def request(self) -> FrameRequest:
        """The frames that the encoder gets for it.

        Decoders scale down by area, models expect an antialiased bicubic filter. At the model's own side the two differ by 0.7 of
        255 levels on average (720p to 224), and embeddings by a cosine distance of 2e-5 (ViT-B/32, random weights), 0.1 %
        of that of two different frames; twice the side takes 0.5 levels, and four times the memory.
        """
        side = self.frame_side or self.parsed.image_side
        return FrameRequest(self.sampling, short_side=side, tolerance_s=self.tolerance_s)

    @property
    def encoder(self) -> ImageEncoder:
        """The shared step."""
        return ImageEncoder(
            backbone=self.backbone,
            precision=self.precision,
            compile=self.compile,
            max_images=self.max_images,
            requests=(self.request,),
        )

    @property
    def shares(self) -> Sequence[SharedStage]:
        """The image encoder."""
        return [self.encoder]

    @property
    def identity(self) -> dict[str, Any]:
        """Its fields, but not where the backbone's files lie, nor how it is batched or compiled."""
        fields = {name: value for name, value in super().identity.items() if name not in ("compile", "max_images")}
        return fields | encoder_identity(self.backbone, self.precision)

    @property
    def parsed(self) -> Backbone:
        """The backbone."""
        return parse_backbone(self.backbone)

    def loaded_head(self, weights: Weights, hidden: Hidden = "none") -> Head:
        """A head from its file; raises ConfigError where it does not fit the backbone's embeddings."""
        import_model_library("torch")
        from shardpipe.models.clip_model import embedding_width  # noqa: PLC0415  imports torch

        config = resolved(weights for weights in self.parsed.files if weights.role == "config")
        state = load_state(resolve(weights))
        return read_head(
            state, where=f"{self.type}: {weights.url}", num_in=embedding_width(self.parsed, config), hidden=hidden
        )

    def encoded(self, view: ClipView) -> Encoded:
        """Its frames of a clip, as the encoder gave them."""
        encoded: Encoded = self.encoder.made_for(view)[self.request]
        return encoded


def encoder_identity(backbone: BackboneName, precision: Precision) -> dict[str, Any]:
    """What of an encoder's config determines its results."""
    return {"backbone": parse_backbone(backbone).identity, "precision": precision}


def resolved(loads: Iterable[Weights]) -> Mapping[str, Path]:
    """Where files of weights lie, by role."""
    return {weights.role: resolve(weights) for weights in loads}


def unit_length(embeddings: Embeddings) -> bool:
    """Whether all are finite and of length 1."""
    return bool(np.all(np.abs(np.linalg.norm(embeddings, axis=-1) - 1) < NOT_UNIT))  # False for NaN too


def column_times(encoded: Encoded) -> list[float]:
    """The times as a column stores them."""
    times: list[float] = encoded.times_s.tolist()
    return times
