"""Frame requests (what a stage wants to see) and frames (what it gets).

Sampling is by presentation time in seconds, never by frame number, so that a score does not depend on fps.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pixels = Literal["rgb", "gray"]


@dataclass(frozen=True)
class Uniform:
    """`n` frames: those on screen at the middle of `n` equal parts of the clip."""

    n: int


@dataclass(frozen=True)
class Fractions:
    """The frames on screen at these fractions of the clip's duration, 0 to 1."""

    at: tuple[float, ...]


@dataclass(frozen=True)
class Rate:
    """The frames on screen at 0, 1/per_s, 2/per_s ... seconds; at least `min_frames` where the clip has them
    (a shorter clip is sampled faster), at most `max_frames` (a longer clip is sampled slower, evenly).
    """

    per_s: float
    min_frames: int = 1
    max_frames: int | None = None


Sampling = Uniform | Fractions | Rate


@dataclass(frozen=True)
class FrameRequest:
    """The frames that a stage wants of each clip.

    Give at most one of `long_side` and `short_side` (pixels; aspect ratio is kept, never enlarged; neither means the
    clip's own size). `tolerance_s` is how far from the wanted time a frame may be: above zero, keyframes
    within it may be used in place of a full decode.
    """

    sampling: Sampling
    long_side: int | None = None
    short_side: int | None = None
    pixels: Pixels = "rgb"
    tolerance_s: float = 0.0

    def __post_init__(self) -> None:
        if self.long_side and self.short_side:
            raise ValueError("give long_side or short_side, not both")


@dataclass(frozen=True)
class Frames:
    """Frames of one clip, in order of time, each different source frame once.

    data: uint8 [T, H, W, 3] (rgb) or [T, H, W] (gray), full range, as displayed (rotation and pixel aspect applied).
    times_s: float64 [T], presentation time of each frame, in seconds after the clip's first frame.
    """

    data: NDArray[np.uint8]
    times_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times_s)
