"""How well still pictures under a slow, smooth camera explain a clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import Frames
from shardpipe.stages._active import active_part
from shardpipe.stages._align import Alignment, Pyramid, align, pyramids
from shardpipe.stages._blocks import Grid, grid_of
from shardpipe.stages._camera_path import CameraPath, camera_path, shakiness
from shardpipe.stages._similarity import STILL, Similarity

STRIDE = 3  # of nine frames a second
MIN_FRAMES = 3
LEAST_FRAMES = 8
MIN_SIDE = 16
MIN_RUN_S = 1.5
EXPLAINED = 0.5
OVERLAP = 0.6
GROWN = 0.35  # natural logarithm
KNOWN = 0.5
LEVELS_OFF = 1.5
SLOPE_OFF = 0.25
NOISE_OFF = 1.5
SLOPE_SEEN = 1.5
OFF_SHARE = (0.005, 0.03)
LOGO_SHARE = 0.12
LOGO_PX = 2.0
HALF = 0.5
TOUCHED = 0.05
SHAKE = (0.0012, 0.003)
SPEED = (0.25, 0.5)  # widths a second

Series = NDArray[np.float64]


def still_picture_score(frames: Frames) -> float | None:
    """0 (live) to 1 (a still picture), of gray frames; None if it cannot be told."""
    times_s, data = _some(frames)
    top, bottom, left, right = active_part(data)
    if len(data) < MIN_FRAMES or min(bottom - top, right - left) < MIN_SIDE:
        return None
    pictures = pyramids(data[:, top:bottom, left:right])
    looks = _looks(pictures)
    gaps_s = np.diff(times_s)
    told = np.array([look.explained is not None for look in looks])
    if gaps_s[told].sum() < KNOWN * gaps_s.sum():
        return None
    explained = _lasting(looks, times_s)
    height, width = pictures[0].picture.shape
    path = camera_path([look.step for look in looks], times_s, (width, height))
    return float(np.average(explained[told], weights=gaps_s[told])) * _smoothness(path)


@dataclass(frozen=True)
class Look:
    """A frame against the picture that it should show: how well that explains it, 0 to 1, None if there is nothing to see; and the
    step of the picture from the frame before, None where another picture begins.
    """

    explained: float | None
    step: Similarity | None


def _some(frames: Frames) -> tuple[Series, NDArray[np.uint8]]:
    """Every third frame, or more of them in a short clip."""
    stride = max(1, min(STRIDE, (len(frames) - 1) // (LEAST_FRAMES - 1)))
    return frames.times_s[::stride], frames.data[::stride]


def _looks(pictures: Sequence[Pyramid]) -> list[Look]:
    """One for each picture but the first. A key picture serves until too little of it is in sight, or it explains no more."""
    looks = []
    key, at, step = pictures[0], STILL, STILL
    for picture in pictures[1:]:
        found = align(key, picture, step.after(at))
        explained = _explained(key, picture, found)
        if explained is not None and explained < EXPLAINED:
            looks.append(Look(explained, None))
            key, at, step = picture, STILL, STILL
            continue
        step = found.similarity.after(at.inverse())
        at = found.similarity
        looks.append(Look(explained, step))
        if float(found.inside.mean()) < OVERLAP or abs(np.log(abs(at.a))) > GROWN:
            key, at = picture, STILL
    return looks


def _explained(key: Pyramid, picture: Pyramid, found: Alignment) -> float | None:
    """From the share of the picture that the key picture does not explain; None where nothing is to be seen in both."""
    inside = grid_of(found.inside)
    off = grid_of(np.abs(found.shown - found.expected) * found.inside) / np.maximum(inside, 1e-3)
    slope = grid_of(key.slope) * max(found.gain, 0.0)
    seen = (inside > HALF) & ~_logo(key, picture, found, slope)
    if not seen.any():
        return None
    allowed = LEVELS_OFF + SLOPE_OFF * slope
    usual = float(np.median((off / allowed)[seen]))
    wrong = seen & (off > allowed * max(1.0, NOISE_OFF * min(usual, 1.0)))
    told = seen & (wrong | (slope > SLOPE_SEEN))
    if not told.any():
        return None
    return _ramp(float(wrong.sum() / told.sum()), *OFF_SHARE)


def _logo(key: Pyramid, picture: Pyramid, found: Alignment, slope: Grid) -> NDArray[np.bool_]:
    """The blocks in which something stays in its place on the screen while the picture moves on, in the key picture or as
    laid over it; none where that is much of the picture.
    """
    height, width = slope.shape
    none = np.zeros((height, width), bool)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    scale = key.picture.shape[1] / width
    points = ((x - (width - 1) / 2) + 1j * (y - (height - 1) / 2)).astype(np.complex64) * np.float32(scale)
    moved = np.abs(found.similarity.of(points) - points)
    unmoved = grid_of(np.abs(picture.picture - (np.float32(found.gain) * key.picture + np.float32(found.offset))))
    logo = (moved > LOGO_PX) & (slope > SLOPE_SEEN) & (unmoved < LEVELS_OFF + SLOPE_OFF * HALF * slope)
    if not logo.any() or logo.mean() > LOGO_SHARE:
        return none
    wide = cv2.dilate(logo.astype(np.float32), np.ones((3, 3), np.uint8))
    a, b = found.similarity.a, found.similarity.b / scale
    middle = complex((width - 1) / 2, (height - 1) / 2)
    shift = b + middle - a * middle
    matrix = np.array([[a.real, -a.imag, shift.real], [a.imag, a.real, shift.imag]])
    there = cv2.warpAffine(wide, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray((wide > 0) | (there > TOUCHED))


def _lasting(looks: Sequence[Look], times_s: Series) -> Series:
    """How well each step is explained, 0 where its picture lasts for too short a time to be one."""
    explained = np.array([0.0 if look.step is None else look.explained or 0.0 for look in looks])
    ends = [i for i, look in enumerate(looks) if look.step is None]
    for start, end in pairwise([-1, *ends, len(looks)]):
        whole = start < 0 and end == len(looks)
        if not whole and times_s[end] - times_s[start + 1] < MIN_RUN_S:
            explained[start + 1 : end] = 0.0
    return explained


def _smoothness(path: CameraPath) -> float:
    """0 (shaken, or fast) to 1 (slow and smooth)."""
    steps = np.diff(path.at, axis=0) * path.arms
    speed = float(np.median(np.sqrt((steps**2).sum(axis=1)) / np.diff(path.times_s)))
    return _ramp(shakiness(path), *SHAKE) * _ramp(speed, *SPEED)


def _ramp(value: float, good: float, bad: float) -> float:
    """1 up to `good`, 0 from `bad` on."""
    return float(np.clip((bad - value) / (bad - good), 0.0, 1.0))
