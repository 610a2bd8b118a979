"""Frame requests (what a stage wants to see) and frames (what it gets).

Sampling is by presentation time in seconds, so that a score does not depend on fps; by frame number (`Numbers`) only to
reproduce scores that are defined so.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pixels = Literal["rgb", "gray", "mv"]
"""Colour, luma, or no picture but its motion vectors (`Frames.vectors`)."""


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


@dataclass(frozen=True)
class Pairs:
    """Pairs of frames about `gap_s` apart, each around the middle of one of n equal parts of the clip: n is `per_s` times its
    duration, at least 1, at most `max_pairs`. No frame is in two pairs: frames 0 and 1 are the first pair, 2 and 3 the second.
    A source that is too slow gives neighbouring frames, and fewer pairs. A clip of one frame gives that frame, and no pair.
    """

    per_s: float
    gap_s: float
    max_pairs: int


@dataclass(frozen=True)
class Numbers:
    """The frames with these numbers, from 0 in order of time; for those beyond the clip's end its last frame, once. It depends on
    fps: for scores that are defined by frame numbers.
    """

    at: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.at or min(self.at) < 0:
            raise ValueError(f"frame numbers count from 0, and there is at least one, not {self.at}")


Spread = Uniform | Fractions | Rate
"""By times that follow from the clip's duration alone."""

Sampling = Spread | Pairs | Numbers


@dataclass(frozen=True)
class FrameRequest:
    """The frames that a stage wants of each clip.

    Give at most one of `long_side` and `short_side` (pixels; aspect ratio is kept, never enlarged; neither means the
    clip's own size). `tolerance_s` is how far from the wanted time a frame may be: above zero, keyframes or cached
    frames within it may be used in place of a full decode. Motion vectors (`mv`) are of the frame on screen, in a unit of
    their own: they take neither a size nor a tolerance.
    """

    sampling: Sampling
    long_side: int | None = None
    short_side: int | None = None
    pixels: Pixels = "rgb"
    tolerance_s: float = 0.0

    def __post_init__(self) -> None:
        if self.long_side and self.short_side:
            raise ValueError("give long_side or short_side, not both")
        if self.pixels == "mv" and (self.long_side or self.short_side or self.tolerance_s):
            raise ValueError(
                "motion vectors have no size and no tolerance: leave out long_side, short_side, tolerance_s"
            )


@dataclass(frozen=True)
class Frames:
    """Frames of one clip, in order of time, each different source frame once.

    data: uint8 [T, H, W, 3] (rgb) or [T, H, W] (gray), full range, as displayed (rotation and pixel aspect applied); of a
    request for `mv`, the bytes of `vectors`, uint8 [T, rows, columns, 8].
    times_s: float64 [T], presentation time of each frame, in seconds after the clip's first frame.

    In a pass both are read-only, since stages share them: copy what you want to change.
    """

    data: NDArray[np.uint8]
    times_s: NDArray[np.float64]

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Of a request for `mv`: float32 [T, rows, columns, 2], how fast the content of each cell of 16x16 coded pixels
        moves right and down, in long sides of the displayed picture a second. NaN where the video has no vector: in
        keyframes and blocks that are coded by themselves, and all over in codecs whose decoder tells none.
        """
        return self.data.view(np.float32)

    def __len__(self) -> int:
        return len(self.times_s)
