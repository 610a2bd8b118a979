"""Quality: how blurred, dark, flat, grey, blocky, black or frozen a clip is, measured without a model."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shardpipe.core.columns import Writes, float32
from shardpipe.core.frames import FrameRequest, Frames, Rate, Uniform
from shardpipe.core.stage import ClipView, Result, Stage

Gray = NDArray[np.uint8]
Floats = NDArray[np.float64]

BLACK_LUMA = 25  # 0.10 of 255
BLACK_PIXELS = 0.98
FROZEN_MEAN = 1.5
FROZEN_PEAK = 2.0
FROZEN_PEAK_PER_MEAN = 2.5
FROZEN_BLOCK = 16
HELD_S = 1.0
BLUR_REACH = 4
BLOCK_PERIODS = (8.0, 32 / 3, 12.0, 16.0)
MIN_BLOCKS = 3


class Quality(Stage):
    """Finds clips that are too blurred, dark, flat or blocky to train on, black, or a still.

    All columns are float32. The whole picture counts, letterbox bars too (`borders` finds those).

    `blur`          0 (sharp) to 1 (blurred), at the clip's own size: the blur effect of Crété et al. 2007. Sharp video lies
                    near 0.3 to 0.5, a Gaussian blur of 2 pixels near 0.7. Null where no frame has any edge (black, one colour).
    `brightness`    0 (black) to 1 (white): mean luma.
    `contrast`      0 (one grey) to 0.5 (half black, half white): RMS contrast, the standard deviation of luma (Peli 1990).
    `colourfulness` 0 (grey) to about 110 (extremely colourful), 33 is moderate: Hasler and Süsstrunk 2003.
    `blockiness`    0 (no block grid) towards 1 (nothing but blocks), at the clip's own size, for codec blocks of 8 and 16
                    pixels, also after scaling by 4/3, 1.5 and 2. Clean video lies below 0.15, x264 at crf 45 above 0.4.
    `black_share`   0 to 1: share of the time in which the picture is black.
    `frozen_share`  0 to 1: share of the time in which the picture does not change. Null for a clip of one frame, unless
                    that is shown for over a second.

    Sampling is by time: `per_s` small grey frames a second (long side 256) for brightness, contrast, black and frozen;
    `num_colour` small colour frames; `num_native` grey frames at the clip's own size for blur and blockiness.

    Thresholds are ours, between the values given above; Open-Sora has no such filters.

    Cost: 7 to 10 ms of CPU a clip.

    Example rules: `blur < 0.65 AND blockiness < 0.3`, `brightness BETWEEN 0.05 AND 0.95 AND contrast >= 0.02`,
    `black_share < 0.1`, `frozen_share < 0.5 OR frozen_share IS NULL`.
    """

    version: ClassVar[int] = 1

    type: Literal["quality"] = "quality"
    per_s: float = Field(
        default=3.0,
        gt=0,
        description="small grey frames a second; a third of those that `flow` takes, which are converted once",
    )
    num_colour: int = Field(default=4, ge=1, description="small colour frames a clip")
    num_native: int = Field(default=3, ge=1, description="frames at the clip's own size")

    @property
    def frames(self) -> tuple[FrameRequest, ...]:
        """Small grey frames at a rate, a few small colour frames, a few grey frames at full size."""
        return (
            FrameRequest(sampling=Rate(per_s=self.per_s), long_side=256, pixels="gray"),
            FrameRequest(sampling=Uniform(n=self.num_colour), long_side=256, pixels="rgb"),
            FrameRequest(sampling=Uniform(n=self.num_native), pixels="gray"),
        )

    @property
    def writes(self) -> Writes:
        """Seven numbers; the class says what they mean."""
        names = ("blur", "brightness", "contrast", "colourfulness", "blockiness", "black_share", "frozen_share")
        return dict.fromkeys(names, float32)

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._score(view) for view in batch]

    def _score(self, view: ClipView) -> Mapping[str, Any]:
        small, colour, native = view.frame_sets
        duration_s = view.row.get("duration_s")
        return {
            "blur": blur(native.data),
            "brightness": float(np.mean([frame.mean() for frame in small.data]) / 255),
            "contrast": float(np.mean([cv2.meanStdDev(frame)[1][0, 0] for frame in small.data]) / 255),
            "colourfulness": float(np.mean([colourfulness(frame) for frame in colour.data])),
            "blockiness": blockiness(native.data),
            "black_share": black_share(small, duration_s=duration_s),
            "frozen_share": frozen_share(small, duration_s=duration_s),
        }


def blur(frames: Gray) -> float | None:
    """The median over `frames` (uint8 [T, H, W]) of the blur effect, 0 (sharp) to 1; None if none has an edge.

    Crété, Dolmiere, Ladret, Nicolas, "The blur effect: perception and estimation with a new no-reference perceptual blur
    metric", 2007: blur the picture again by a 9-pixel mean, and see how much of the variation between neighbours
    survives; the worse of the two directions counts. In exact integers: the mean's own variation is telescoped,
    9 * |m(x+1) - m(x)| = |g(x+5) - g(x-4)|, and the paper's sum of max(0, a - b) is the sum of a less that of min(a, b).
    """
    scores = [score for frame in frames if (score := _blur_effect(frame)) is not None]
    return float(np.median(scores)) if scores else None


def _blur_effect(frame: Gray) -> float | None:
    scores = []
    size = 2 * BLUR_REACH + 1
    inner = slice(BLUR_REACH, -BLUR_REACH)
    if frame.shape[0] > size:
        scores.append(_survival(cv2.absdiff(frame[1:], frame[:-1])[inner], cv2.absdiff(frame[size:], frame[:-size])))
    if frame.shape[1] > size:  # slices, not a transpose: OpenCV would copy a transposed picture
        near = cv2.absdiff(frame[:, 1:], frame[:, :-1])[:, inner]
        scores.append(_survival(near, cv2.absdiff(frame[:, size:], frame[:, :-size])))
    return max((score for score in scores if score is not None), default=None)


def _survival(near: NDArray[Any], far: NDArray[Any]) -> float | None:
    """The share of the variation `near` that the 9-pixel mean, whose own is `far` / 9, keeps; None without variation."""
    size = 2 * BLUR_REACH + 1
    variation = cv2.sumElems(near)[0] * size
    if not variation:
        return None
    # uint8 saturates at 255, and `far` is never above it: the minimum stays exact
    return float(cv2.sumElems(cv2.min(cv2.convertScaleAbs(near, alpha=size), far))[0] / variation)


def blockiness(frames: Gray) -> float | None:
    """How much of the step at block edges is the grid's own, 0 to 1, of `frames` uint8 [T, H, W]; None if all are too small.

    For each pixel column the mean step to the next one, divided by the same of its 8 neighbours (after Muijs and Kirenko,
    "A no-reference blocking artifact measure for adaptive video processing", 2005), averaged over the frames. For each
    period and phase, the median over the grid's columns (so a scene's own edges do not count), relative to the median phase;
    the best phase, averaged with that of the rows, gives r. The score is 1 - 1 / r of the clearest period. Any phase may win,
    so cropped video is seen too; periods are those of blocks of 8 pixels, as coded and after scaling.
    """
    along = [_step_profile(frames, axis) for axis in (1, 2)]
    best: float | None = None
    for period in BLOCK_PERIODS:
        ratios = [_grid_ratio(profile, period) for profile in along if len(profile) >= MIN_BLOCKS * period]
        if ratios:
            best = max(best or 0.0, 1 - 1 / float(np.mean(ratios)))
    return best


def _step_profile(frames: Gray, axis: int) -> Floats:
    """The step between neighbouring rows (axis 1) or columns (axis 2) of [T, H, W], relative to that nearby: [H - 1] or [W - 1]."""
    if frames.shape[axis] <= 2 * BLUR_REACH + 1:
        return np.empty(0)
    profiles = []
    for frame in frames:
        if axis == 1:
            steps = cv2.reduce(cv2.absdiff(frame[1:], frame[:-1]), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
        else:
            steps = cv2.reduce(cv2.absdiff(frame[:, 1:], frame[:, :-1]), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
        step = steps.ravel() / frame.shape[2 - axis]
        padded = np.pad(step, BLUR_REACH, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * BLUR_REACH + 1)
        nearby = (windows.sum(axis=1) - step) / (2 * BLUR_REACH)
        profiles.append(step / (nearby + 0.5))  # half a grey level: a flat picture has no grid
    return np.asarray(np.mean(profiles, axis=0), dtype=np.float64)


def _grid_ratio(profile: Floats, period: float) -> float:
    """The clearest phase of a grid of `period`, relative to the median phase; at least 1."""
    num_cells = int(len(profile) / period)
    starts = np.floor(np.arange(num_cells) * period + 1e-9).astype(int)
    by_phase = np.median(profile[starts[:, None] + np.arange(int(period))], axis=0)
    return float(max(1.0, by_phase.max() / max(float(np.median(by_phase)), 0.1)))


def colourfulness(rgb: NDArray[np.uint8]) -> float:
    """Hasler and Süsstrunk, "Measuring colourfulness in natural images", 2003, of one frame uint8 [H, W, 3].

    With rg = R - G and yb = (R + G) / 2 - B: sqrt(var rg + var yb) + 0.3 sqrt(mean rg squared + mean yb squared).
    Their scale: 0 not, 15 slightly, 33 moderately, 45 averagely, 59 quite, 82 highly, 109 extremely colourful.
    """
    red, green, blue = cv2.split(rgb)
    rg = cv2.subtract(red, green, dtype=cv2.CV_16S)
    yb = cv2.subtract(cv2.add(red, green, dtype=cv2.CV_16S), cv2.add(blue, blue, dtype=cv2.CV_16S))  # twice the paper's
    (rg_mean, rg_std), (yb_mean, yb_std) = (np.ravel(cv2.meanStdDev(plane)) for plane in (rg, yb))
    return float(np.hypot(rg_std, yb_std / 2) + 0.3 * np.hypot(rg_mean, yb_mean / 2))


def black_share(frames: Frames, *, duration_s: float | None = None) -> float:
    """The share of time in which the picture is black, 0 to 1; each frame counts until the next, the last until `duration_s`."""
    ends = np.append(frames.times_s[1:], max(duration_s or 0.0, frames.times_s[-1]))
    shown = ends - frames.times_s
    weights = shown if shown.any() else np.ones(len(shown))
    return float(np.average([is_black(frame) for frame in frames.data], weights=weights))


def is_black(frame: Gray) -> bool:
    """Whether at least 98 % of the pixels have a luma below 0.10 (the rule of FFmpeg's `blackdetect`)."""
    return bool(np.count_nonzero(frame <= BLACK_LUMA) >= BLACK_PIXELS * frame.size)


def frozen_share(frames: Frames, *, duration_s: float | None = None) -> float | None:
    """The share of time in which the picture stands still, 0 to 1; None where no time passes between frames.

    Two samples in a row are the same picture if `same_picture` says so. A picture that is shown for over one second (a
    slide show with few frames) stands still too; `duration_s` is the clip's, so that its last picture counts.
    """
    times = [float(t) for t in frames.times_s]
    still = total = 0.0
    for i in range(1, len(times)):
        gap = times[i] - times[i - 1]
        total += gap
        still += gap if gap > HELD_S or same_picture(frames.data[i - 1], frames.data[i]) else 0.0
    if duration_s is not None and duration_s - times[-1] > HELD_S:
        total += duration_s - times[-1]
        still += duration_s - times[-1]
    return still / total if total > 0 else None


def same_picture(a: Gray, b: Gray) -> bool:
    """Whether two frames (uint8 [H, W], long side 256) show the same but for coding noise.

    The mean difference is at most 1.5 grey levels, and in no block of 16 pixels above 2 levels plus 2.5 times the mean: what
    an encoder adds to a still is spread over the picture, what moves is not.
    """
    difference = cv2.absdiff(a, b)
    mean = float(difference.mean())
    if mean > FROZEN_MEAN:
        return False
    height, width = difference.shape
    blocks = cv2.resize(
        difference.astype(np.float32),
        (max(1, width // FROZEN_BLOCK), max(1, height // FROZEN_BLOCK)),
        interpolation=cv2.INTER_AREA,
    )
    return float(blocks.max()) <= FROZEN_PEAK + FROZEN_PEAK_PER_MEAN * mean
