"""Lays one picture over another: the shift, turn and growth under which a still picture shows what a later frame shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.stages._shift import Gray
from shardpipe.stages._similarity import STILL, Similarity

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

LONG_SIDE = 128
LEVELS = 3
COARSEST_SIDE = 12
SMOOTH_PX = 0.8
OUTSIDE = -1e6
ROUNDS = 4
SETTLED_PX = 0.02
OUTLIERS = 4.0
LEAST_SCALE = 0.5  # gray levels
MIN_PIXELS = 64
EDGES = 0.15  # of the pixels
MIN_EDGES = 12
MOST_GROWTH = 3.0
GAIN_UNIT = 64.0
RIDGE = np.diag([1e-3, 1e-3, 1e-3, 1e-3, 1e-1, 1e-1])  # what has no texture stays where it is


@dataclass(frozen=True)
class Pyramid:
    """A picture of at most 128 pixels, float32 [H, W], and the same at a half and a quarter of that, where it is large enough."""

    levels: tuple[Floats, ...]

    @property
    def picture(self) -> Floats:
        """The finest level."""
        return self.levels[0]

    @cached_property
    def bases(self) -> tuple[Floats, ...]:
        """Of each level, float32 [6, H * W]: what growth, turn, shift right, shift down, gain and offset change in each pixel."""
        return tuple(_basis(level) for level in self.levels)

    @cached_property
    def slope(self) -> Floats:
        """How steep the finest level is at each pixel, float32 [H, W], gray levels a pixel."""
        return np.asarray(np.hypot(self.bases[0][2], self.bases[0][3]).reshape(self.picture.shape))

    @cached_property
    def edges(self) -> tuple[NDArray[np.intp], ...]:
        """Of each level, the pixels with the steepest slopes: where plain parts could hide that the rest does not fit."""
        return tuple(_steepest(basis) for basis in self.bases)


@dataclass(frozen=True)
class Alignment:
    """How a still picture is seen in a frame.

    similarity: from the still to the frame, in pixels of the finest level from the centre. shown: the frame laid over the
    still, float32 [H, W]. expected: the still with the frame's brightness. inside: the pixels that the frame shows.
    gain, offset: the brightness of the frame as that of the still times `gain` plus `offset`.
    """

    similarity: Similarity
    shown: Floats
    expected: Floats
    inside: Mask
    gain: float = 1.0
    offset: float = 0.0


def pyramids(frames: Sequence[Gray] | NDArray[np.uint8]) -> list[Pyramid]:
    """Frames uint8 [H, W] shrunk by area to a long side of 128 at most, and smoothed a little, which evens out grain and
    the blur of sampling between pixels.
    """
    return [_pyramid(frame) for frame in frames]


def _pyramid(frame: Gray) -> Pyramid:
    scale = min(1.0, LONG_SIDE / max(frame.shape))
    height, width = (_even(side * scale) for side in frame.shape)
    small = cv2.resize(frame.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    levels = [np.asarray(cv2.GaussianBlur(small, (0, 0), SMOOTH_PX), np.float32)]
    while len(levels) < LEVELS and min(levels[-1].shape) >= 2 * COARSEST_SIDE:
        height, width = levels[-1].shape
        levels.append(np.asarray(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)))
    return Pyramid(tuple(levels))


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
    shown, inside = _laid_over(frame.picture, similarity)
    return Alignment(similarity, shown, still.picture * np.float32(gain) + np.float32(offset), inside, gain, offset)


def _round(
    still: Pyramid, frame: Pyramid, number: int, state: tuple[Similarity, float, float]
) -> tuple[Similarity, float, float] | None:
    """One step of least squares at a level; None where the pictures do not overlap or have no texture."""
    similarity, gain, offset = state
    shown, inside = _laid_over(frame.levels[number], similarity)
    flat = inside.ravel()
    if np.count_nonzero(flat) < MIN_PIXELS:
        return None
    template, basis = still.levels[number], still.bases[number]
    error = (shown - (np.float32(gain) * template + np.float32(offset))).ravel()
    edges = still.edges[number]
    some = np.abs(error[edges][flat[edges]])
    if len(some) < MIN_EDGES:
        return None
    scale = max(LEAST_SCALE, float(np.partition(some, len(some) // 2)[len(some) // 2]) * 1.4826)
    near = 1 - (error / np.float32(OUTLIERS * scale)) ** 2
    weights = np.maximum(near, 0, out=near) ** 2 * flat
    weighted = basis * weights
    try:
        change = np.linalg.solve((weighted @ basis.T).astype(np.float64) + RIDGE, (weighted @ error).astype(np.float64))
    except np.linalg.LinAlgError:
        return None
    reach = max(template.shape) / 2
    grow, turn, right, down = change[:4] / max(gain, 0.1)
    step = Similarity(1 + complex(grow, turn) / reach, complex(right, down))
    if not (1 / MOST_GROWTH < abs(step.a) < MOST_GROWTH) or abs(step.b) > reach:
        return None
    better = similarity.after(step.inverse())
    if not 1 / MOST_GROWTH < abs(better.a) < MOST_GROWTH:
        return None
    return better, gain + float(change[4]) / GAIN_UNIT, offset + float(change[5])


def _basis(level: Floats) -> Floats:
    height, width = level.shape
    # differences of the next neighbours each way; at the rim of one
    across, down = np.gradient(level, axis=1), np.gradient(level, axis=0)
    reach = max(level.shape) / 2
    x = ((np.arange(width) - (width - 1) / 2) / reach)[None, :]
    y = ((np.arange(height) - (height - 1) / 2) / reach)[:, None]
    grow, turn = across * x + down * y, down * x - across * y
    rows = (grow, turn, across, down, level / GAIN_UNIT, np.ones_like(level))
    return np.stack([row.ravel() for row in rows]).astype(np.float32)


def _steepest(basis: Floats) -> NDArray[np.intp]:
    slopes = np.hypot(basis[2], basis[3])
    rest = int(len(slopes) * (1 - EDGES))
    return np.argpartition(slopes, rest)[rest:]


def _laid_over(frame: Floats, similarity: Similarity) -> tuple[Floats, Mask]:
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
        borderValue=OUTSIDE,
    )
    inside = shown > -1
    return np.asarray(np.where(inside, shown, 0), np.float32), inside


def nudge(still: Pyramid, frame: Pyramid) -> Similarity | None:
    """The small move between two pictures that are nearly the same, by one step of `align`; None where there is no texture."""
    found = _round(still, frame, 0, (STILL, 1.0, 0.0))
    return found and found[0]
