"""Stages that ask a model about frames of a clip: which frames, how large, as pictures or as one video."""

from typing import Literal

from pydantic import Field, model_validator

from shardpipe.core.frames import Fractions, FrameRequest, Rate, Spread, Uniform
from shardpipe.stages._asking import AskingStage

NUM_FRAMES = 8
MAX_FRAMES = 32
LONG_SIDE = 448
FRAME_FIELDS = ("num_frames", "fps", "max_frames", "fractions", "long_side", "short_side", "frames_as", "tolerance_s")


class SeeingStage(AskingStage):
    """At most one of `num_frames`, `fps` and `fractions` is given; num_frames 0 asks without frames."""

    num_frames: int | None = Field(
        default=None,
        ge=0,
        le=256,
        description=f"frames at the middle of equal parts of the clip; null: {NUM_FRAMES}; 0: none",
    )
    fps: float | None = Field(default=None, gt=0, description="frames a second instead, at most max_frames")
    max_frames: int | None = Field(
        default=None, ge=1, le=256, description=f"with fps: a longer clip is sampled slower; null: {MAX_FRAMES}"
    )
    fractions: tuple[float, ...] | None = Field(
        default=None, min_length=1, max_length=256, description="frames at these fractions of the clip instead, 0 to 1"
    )
    long_side: int | None = Field(
        default=None,
        ge=28,
        le=8192,
        description=f"of the frames as they are decoded, never enlarged; null: {LONG_SIDE}, unless short_side is set",
    )
    short_side: int | None = Field(default=None, ge=28, le=8192, description="of the frames instead")
    frames_as: Literal["images", "video"] | None = Field(
        default=None, description="images (also null), or one video with the frames' times, for models that take videos"
    )
    tolerance_s: float | None = Field(
        default=None,
        ge=0,
        description="how far a frame may be from its time; above 0, keyframes within it are cheap; null: 0",
    )

    @model_validator(mode="after")
    def _frames_fit(self) -> "SeeingStage":
        ways = [name for name in ("num_frames", "fps", "fractions") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are two ways to choose frames: give one")
        if self.max_frames is not None and self.fps is None:
            raise ValueError("max_frames is for fps: give num_frames alone, or fps too")
        if self.fractions is not None and (
            list(self.fractions) != sorted(set(self.fractions))
            or not 0 <= min(self.fractions) <= max(self.fractions) <= 1
        ):
            raise ValueError("fractions lie between 0 and 1, each greater than the one before")
        if self.long_side is not None and self.short_side is not None:
            raise ValueError("give long_side or short_side, not both")
        idle = [name for name in FRAME_FIELDS if name != "num_frames" and getattr(self, name) is not None]
        if self.sampling is None and idle:
            raise ValueError(f"without frames {', '.join(idle)} do nothing: leave them out")
        if self.frames_as == "video" and self.dialect == "openai":
            raise ValueError("OpenAI's API takes no videos: leave frames_as out, or set dialect: vllm")
        return self

    @property
    def default_num_frames(self) -> int:
        """Where the config says nothing of frames."""
        return NUM_FRAMES

    @property
    def sampling(self) -> Spread | None:
        """When frames are taken; None for no frames."""
        if self.fps is not None:
            return Rate(self.fps, max_frames=self.max_frames or MAX_FRAMES)
        if self.fractions is not None:
            return Fractions(self.fractions)
        count = self.default_num_frames if self.num_frames is None else self.num_frames
        return Uniform(count) if count else None

    @property
    def frames(self) -> FrameRequest | None:
        """In colour, at the model's size."""
        if self.sampling is None:
            return None
        side = LONG_SIDE if self.long_side is None and self.short_side is None else self.long_side
        return FrameRequest(
            self.sampling, long_side=side, short_side=self.short_side, tolerance_s=self.tolerance_s or 0.0
        )

    @property
    def max_images(self) -> int:
        """As many as it may get."""
        match self.sampling:
            case Uniform(n):
                return n
            case Fractions(at):
                return len(at)
            case Rate():
                return self.max_frames or MAX_FRAMES
            case _:
                return 0

    @property
    def has_video(self) -> bool:
        """Whether frames are given as one video."""
        return self.frames_as == "video"
