"""Lays one picture over another: the shift, turn and growth under which a still picture shows what a later frame shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.stages._blocks import grid_of
from shardpipe.stages._shift import Gray
from shardpipe.stages._similarity import STILL, Similarity

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

LONG_SIDE = 128
LEVELS = 3
COARSEST_SIDE = 12
SMOOTH_PX = 0.8
FAR_OUTSIDE = -1e6  # of which any share, however small, is outside
OUTSIDE = -1.0
ROUNDS = 3
SETTLED_PX = 0.02
OUTLIERS = 4.0
LEAST_SCALE = 0.5  # gray levels
MARKED = 0.2  # of the pixels
STEEPEST = 0.4  # of the marks
MIN_NUM_MARKS = 400
MIN_MARKS = 30
THIN = 3
LEVELS_FAR = 5.0
SLOPE_FAR = 0.6
FAR_SHARE = 0.25
LEAST_INSIDE = 1e-3
LEAST_SPREAD = 4.0
TO_DEVIATION = 1.4826
MOST_GROWTH = 3.0
RIM = np.ones((5, 5), np.uint8)  # beyond its edge a picture was not smoothed with what comes into sight
GAIN_UNIT = 64.0
RIDGE = np.diag([1e-3, 1e-3, 1e-3, 1e-3, 1e-1, 1e-1])  # what has no texture stays where it is


@dataclass(frozen=True)
class Pyramid:
    """A picture of at most 128 pixels, float32 [H, W], and what follows from it, each worked out once if at all."""

    picture: Floats
    known_marks: dict[int, "Marks"] = field(default_factory=dict, repr=False)

    @cached_property
    def levels(self) -> tuple[Floats, ...]:
        """The picture, and the same at a half and a quarter of that, where it is large enough."""
        levels = [self.picture]
        while len(levels) < LEVELS and min(levels[-1].shape) >= 2 * COARSEST_SIDE:
            height, width = levels[-1].shape
            size = width // 2, height // 2
            levels.append(np.asarray(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA), np.float32))
        return tuple(levels)

    def marks(self, number: int) -> "Marks":
        """What a level is found again by."""
        if number not in self.known_marks:
            self.known_marks[number] = _marks(self.levels[number])
        return self.known_marks[number]

    @cached_property
    def slope(self) -> Floats:
        """How steep the picture is at each pixel, float32 [H, W], gray levels a pixel."""
        return np.asarray(cv2.magnitude(*slopes(self.picture)), np.float32)


@dataclass(frozen=True)
class Marks:
    """The pixels of a picture with the steepest slopes; plain ones would say little, and hide that the rest does not fit.

    which: their numbers, [N], the steepest last. values: float32 [N]. basis: float32 [6, N], what growth, turn, shift right,
    shift down, gain and offset change in each.
    """

    which: NDArray[np.intp]
    values: Floats
    basis: Floats


@dataclass(frozen=True)
class Alignment:
    """How a still picture is seen in a frame.

    similarity: from the still to the frame, in pixels of the finest level from the centre. shown: the frame laid over the
    still, float32 [H, W]. expected: the still with the frame's brightness. inside: the pixels that the frame shows.
    gain, offset: the brightness of the frame as that of the still times `gain` plus `offset`. fits: False where even the level
    above the finest one is far off in many places, and the search ended there.
    """

    similarity: Similarity
    shown: Floats
    expected: Floats
    inside: Mask
    gain: float = 1.0
    offset: float = 0.0
    fits: bool = True


def pyramids(frames: Sequence[Gray] | NDArray[np.uint8]) -> list[Pyramid]:
    """Frames uint8 [H, W] shrunk by area to a long side of 128 at most, and smoothed a little, which evens out grain and
    the blur of sampling between pixels.
    """
    return [_pyramid(frame) for frame in frames]


def _pyramid(frame: Gray) -> Pyramid:
    scale = min(1.0, LONG_SIDE / max(frame.shape))
    height, width = (_even(side * scale) for side in frame.shape)
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return Pyramid(np.asarray(cv2.GaussianBlur(small.astype(np.float32), (0, 0), SMOOTH_PX), np.float32))


def _even(side: float) -> int:
    """A side that halves twice without rest, where that is possible."""
    return max(4, round(side / 4) * 4) if side >= LEVELS else max(1, round(side))


def align(still: Pyramid, frame: Pyramid, guess: Similarity) -> Alignment:
    """Lays `frame` over `still`, from coarse to fine from a guess on: least squares of the difference in brightness over shift, turn,
    growth, gain and offset (Lucas and Kanade 1981; inverse compositional: Baker and Matthews 2004), with little weight on pixels
    that differ much (Tukey's biweight), so that things before the still do not pull it away.
    """
    similarity, gain, offset = guess, 1.0, 0.0
    for number in reversed(range(len(still.levels))):
        scale = still.levels[number].shape[1] / still.picture.shape[1]
        at_level = Similarity(similarity.a, similarity.b * scale)
        for _ in range(ROUNDS):
            better = _round(still, frame, number, (at_level, gain, offset))
            if better is None:
                break
            moved = better[0].after(at_level.inverse())
            at_level, gain, offset = better
            if moved.size_px < SETTLED_PX:
                break
        similarity = Similarity(at_level.a, at_level.b / scale)
        if number == 1 and _far_off(still, frame, number, (at_level, gain, offset)):
            nothing = np.zeros(still.picture.shape, np.float32)
            return Alignment(similarity, nothing, nothing, nothing > 0, gain, offset, fits=False)
    shown, inside = laid_over(frame.picture, similarity)
    inside = cv2.erode(inside.astype(np.uint8), RIM, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    shown = np.where(inside, shown, 0)
    gain, offset = _light(still.picture[inside], shown[inside], gain, offset)
    return Alignment(similarity, shown, still.picture * np.float32(gain) + np.float32(offset), inside, gain, offset)


def _round(
    still: Pyramid, frame: Pyramid, number: int, state: tuple[Similarity, float, float]
) -> tuple[Similarity, float, float] | None:
    """One step of least squares at a level; None where the pictures do not overlap or have no texture."""
    similarity, gain, offset = state
    marks = still.marks(number)
    shown = laid_over(frame.levels[number], similarity)[0].ravel()[marks.which]
    inside = shown > OUTSIDE
    if np.count_nonzero(inside) < MIN_MARKS:
        return None
    error = shown - (np.float32(gain) * marks.values + np.float32(offset))
    steepest = slice(-math.ceil(STEEPEST * len(error)), None)
    sizes = np.abs(error[steepest][inside[steepest]])
    if not len(sizes):
        return None
    usual = float(np.partition(sizes, len(sizes) // 2)[len(sizes) // 2])
    near = 1 - (error / np.float32(OUTLIERS * max(LEAST_SCALE, TO_DEVIATION * usual))) ** 2
    weighted = marks.basis * (np.maximum(near, 0, out=near) ** 2 * inside)
    try:
        change = np.linalg.solve(
            (weighted @ marks.basis.T).astype(np.float64) + RIDGE, (weighted @ error).astype(np.float64)
        )
    except np.linalg.LinAlgError:
        return None
    reach = max(still.levels[number].shape) / 2
    grow, turn, right, down = change[:4] / max(gain, 0.1)
    step = Similarity(1 + complex(grow, turn) / reach, complex(right, down))
    if not (1 / MOST_GROWTH < abs(step.a) < MOST_GROWTH) or abs(step.b) > reach:
        return None
    better = similarity.after(step.inverse())
    if not 1 / MOST_GROWTH < abs(better.a) < MOST_GROWTH:
        return None
    return better, gain + float(change[4]) / GAIN_UNIT, offset + float(change[5])


def _far_off(still: Pyramid, frame: Pyramid, number: int, state: tuple[Similarity, float, float]) -> bool:
    """Whether the two differ much, at a level, in many blocks."""
    similarity, gain, offset = state
    level = still.levels[number]
    shown, inside = laid_over(frame.levels[number], similarity)
    off = np.abs(shown - np.float32(gain) * level - np.float32(offset)) * inside
    slope = cv2.magnitude(*slopes(level)) * np.float32(max(gain, 0.0))
    seen = np.maximum(grid_of(inside), LEAST_INSIDE)
    return float((grid_of(off) / seen > LEVELS_FAR + SLOPE_FAR * grid_of(slope)).mean()) > FAR_SHARE


def _marks(level: Floats) -> Marks:
    """Of one level."""
    height, width = level.shape
    across, down = slopes(level)
    count = min(level.size, max(MIN_NUM_MARKS, round(MARKED * level.size)))
    steep = cv2.magnitude(across, down).ravel()
    parts = (level.size - count, level.size - math.ceil(STEEPEST * count))
    which = np.argpartition(steep, parts)[level.size - count :]
    reach = max(level.shape) / 2
    x = ((which % width - (width - 1) / 2) / reach).astype(np.float32)
    y = ((which // width - (height - 1) / 2) / reach).astype(np.float32)
    values, right, below = (each.ravel()[which] for each in (level, across, down))
    grow, turn = right * x + below * y, below * x - right * y
    basis = np.stack([grow, turn, right, below, values / GAIN_UNIT, np.ones_like(values)])
    return Marks(which, values, basis.astype(np.float32, copy=False))


def slopes(level: Floats) -> tuple[Floats, Floats]:
    """Half the difference of the next neighbours each way, along x and along y."""
    across = cv2.Sobel(level, cv2.CV_32F, 1, 0, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(level, cv2.CV_32F, 0, 1, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(across, np.float32), np.asarray(down, np.float32)


def _light(still: Floats, shown: Floats, gain: float, offset: float) -> tuple[float, float]:
    """Gain and offset by the plain parts too, since sampling between pixels dims steep ones: least squares over a third of the
    pixels, with little weight on what is far off.
    """
    x, y = still[::THIN], shown[::THIN]
    if len(x) < MIN_MARKS:
        return gain, offset
    error = y - (np.float32(gain) * x + np.float32(offset))
    sizes = np.abs(error)
    usual = float(np.partition(sizes, len(sizes) // 2)[len(sizes) // 2])
    weights = np.maximum(1 - (error / np.float32(OUTLIERS * max(LEAST_SCALE, TO_DEVIATION * usual))) ** 2, 0) ** 2
    total = float(weights.sum())
    mean_x, mean_y = float(weights @ x) / total, float(weights @ y) / total
    spread = float(weights @ (x - mean_x) ** 2) / total
    if spread < LEAST_SPREAD:
        return gain, offset
    better = float((weights * (x - mean_x)) @ (y - mean_y)) / total / spread
    return better, mean_y - better * mean_x


def laid_over(frame: Floats, similarity: Similarity) -> tuple[Floats, Mask]:
    """What the frame shows at each pixel of the still, and where it shows anything."""
    height, width = frame.shape
    a, b = similarity.a, similarity.b
    middle = complex((width - 1) / 2, (height - 1) / 2)
    shift = b + middle - a * middle
    matrix = np.array([[a.real, -a.imag, shift.real], [a.imag, a.real, shift.imag]])
    shown = cv2.warpAffine(
        frame,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=FAR_OUTSIDE,
    )
    return np.asarray(shown, np.float32), shown > OUTSIDE


def nudge(still: Pyramid, frame: Pyramid) -> Similarity | None:
    """The small move between two pictures that are nearly the same, by one step of `align`; None where there is no texture."""
    found = _round(still, frame, 0, (STILL, 1.0, 0.0))
    return found and found[0]
