"""How well still pictures under a slow, smooth camera explain a clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import Frames
from shardpipe.stages._active import without_bars
from shardpipe.stages._align import Alignment, Pyramid, align, laid_over, pyramids
from shardpipe.stages._blocks import Grid, grid_of
from shardpipe.stages._camera_path import MIN_SHAKE_FRAMES, CameraPath, camera_path, shakiness, unexpected
from shardpipe.stages._similarity import STILL, Similarity

STRIDE = 3  # of nine frames a second
MIN_FRAMES = 3
LEAST_FRAMES = 8
MIN_SIDE = 16
MIN_RUN_S = 1.5
EXPLAINED = 0.5
MISSES = 2
OVERLAP = 0.6
GROWN = 0.35  # natural logarithm
KNOWN = 0.5
LEVELS_OFF = 2.0
SLOPE_OFF = 0.25
NOISE_OFF = 1.5
SLOPE_SEEN = 1.5
OFF_SHARE = (0.008, 0.035)
LOGO_SHARE = 0.12
LOGO_PX = 1.0
LOGO_SAME = 4.0
LOGO_MOVES = 8.0
LOGO_RIM = 7
LOGO_DENSE = 0.3
TOUCHED = 0.05
HALF = 0.5
LEAST_INSIDE = 1e-3
FADED_IN = 1.25
FAINT = 0.5
SHAKE = (0.001, 0.002)
SPEED = (0.25, 0.5)  # widths a second

Series = NDArray[np.float64]


def still_picture_score(frames: Frames) -> float | None:
    """0 (live) to 1 (a still picture), of gray frames; None if it cannot be told."""
    times_s, data = _some(frames)
    inside = without_bars(data)
    if len(inside) < MIN_FRAMES or min(inside.shape[1:]) < MIN_SIDE:
        return None
    pictures = pyramids(inside)
    looks = _looks(pictures)
    gaps_s = np.diff(times_s)
    told = np.array([look.explained is not None for look in looks])
    if gaps_s[told].sum() < KNOWN * gaps_s.sum():
        return None
    explained = _lasting(looks, times_s)
    height, width = pictures[0].picture.shape
    first, last = _longest(explained > 0)
    if first == last:
        return 0.0
    path = camera_path([look.step for look in looks[first:last]], times_s[first : last + 1], (width, height))
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
    looks: list[Look] = []
    key, at, step, missed = pictures[0], STILL, STILL, 0
    for picture in pictures[1:]:
        found = align(key, picture, step.after(at))
        explained = _explained(key, picture, found)
        if explained is not None and explained < EXPLAINED:
            # what was dim says little of what is bright
            dark = found.gain > FADED_IN or float(key.slope.mean()) < FAINT
            missed += 1
            if dark or missed == MISSES:
                looks.append(Look(None, STILL) if dark else Look(explained, None))
                key, at, step, missed = picture, STILL, STILL, 0
            else:
                looks.append(Look(explained, step))
                at = step.after(at)
            continue
        missed = 0
        step = found.similarity.after(at.inverse())
        at = found.similarity
        looks.append(Look(explained, step))
        if float(found.inside.mean()) < OVERLAP or abs(np.log(abs(at.a))) > GROWN:
            key, at = picture, STILL
    return looks


def _explained(key: Pyramid, picture: Pyramid, found: Alignment) -> float | None:
    """From the share of the picture that the key picture does not explain; None where nothing is to be seen in both.

    A block may be off by what laying one picture over another costs, more at steep edges; one that is off by twice that counts in
    full.
    """
    if not found.fits:
        return 0.0
    slope = key.slope * np.float32(max(found.gain, 0.0))
    off = np.abs(found.shown - found.expected)
    share = _off_share(off, slope, found.inside)
    if share is not None and share > OFF_SHARE[0] and found.similarity.size_px > LOGO_PX:
        share = _off_share(off, slope, found.inside & ~_logo(key, picture, found))
    return None if share is None else _ramp(share, *OFF_SHARE)


def _off_share(off: Grid, slope: Grid, inside: NDArray[np.bool_]) -> float | None:
    """The share of the blocks with anything in them that are off; None if there are none."""
    share = grid_of(inside)
    whole = np.maximum(share, LEAST_INSIDE)
    slopes = grid_of(slope * inside) / whole
    ratio = grid_of(off * inside) / whole / (LEVELS_OFF + SLOPE_OFF * slopes)
    seen = share > HALF
    if not seen.any():
        return None
    usual = float(np.median(ratio[seen]))
    wrong = np.clip(ratio / max(1.0, NOISE_OFF * min(usual, 1.0)) - 1, 0, 1)
    told = seen & ((wrong > 0) | (slopes > SLOPE_SEEN))
    return float(wrong[told].sum() / np.count_nonzero(told)) if told.any() else None


def _logo(key: Pyramid, picture: Pyramid, found: Alignment) -> NDArray[np.bool_]:
    """The pixels of the key picture that show, in it or in what is laid over it, something that stays in its place on the screen
    while the picture moves on; none where that is much of the picture.
    """
    ahead, inside = laid_over(key.picture, found.similarity.inverse())
    gain, offset = np.float32(found.gain), np.float32(found.offset)
    stays = np.abs(picture.picture - gain * key.picture - offset) < LOGO_SAME
    moves = np.where(inside, np.abs(ahead - key.picture), key.slope) * gain > LOGO_MOVES
    dense = cv2.blur((stays & moves).astype(np.float32), (3, 3)) > LOGO_DENSE
    logo = np.asarray(cv2.dilate(dense.astype(np.float32), np.ones((LOGO_RIM, LOGO_RIM), np.uint8)), np.float32)
    if float(logo.mean()) > LOGO_SHARE:
        return np.zeros(logo.shape, np.bool_)
    return np.asarray((logo > 0) | (laid_over(logo, found.similarity)[0] > TOUCHED))


def _lasting(looks: Sequence[Look], times_s: Series) -> Series:
    """How well each step is explained, 0 where its picture lasts for too short a time to be one."""
    explained = np.array([0.0 if look.step is None else look.explained or 0.0 for look in looks])
    explained[explained < EXPLAINED] = 0.0
    ends = [i for i, look in enumerate(looks) if look.step is None]
    for start, end in pairwise([-1, *ends, len(looks)]):
        whole = start < 0 and end == len(looks)
        if not whole and times_s[end] - times_s[start + 1] < MIN_RUN_S:
            explained[start + 1 : end] = 0.0
    return explained


def _longest(good: NDArray[np.bool_]) -> tuple[int, int]:
    """First and end of the longest stretch of what is good."""
    ends = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(int), [0]])))
    stretches = list(zip(ends[::2], ends[1::2], strict=True))
    first, last = max(stretches, key=lambda stretch: stretch[1] - stretch[0], default=(0, 0))
    return int(first), int(last)


def _smoothness(path: CameraPath) -> float:
    """0 (shaken, or fast) to 1 (slow and smooth)."""
    steps = np.diff(path.at, axis=0) * path.arms
    speed = float(np.median(np.sqrt((steps**2).sum(axis=1)) / np.diff(path.times_s)))
    return _ramp(_shake(path), *SHAKE) * _ramp(speed, *SPEED)


def _shake(path: CameraPath) -> float:
    """Root mean square of the quick motion in widths; also of five or six frames, which must all be smooth."""
    if len(path.times_s) >= MIN_SHAKE_FRAMES:
        return shakiness(path)
    quick = unexpected(path.times_s, path.at * path.arms)
    return float(np.sqrt((quick**2).sum(axis=1).mean())) if len(quick) else 0.0


def _ramp(value: float, good: float, bad: float) -> float:
    """1 up to `good`, 0 from `bad` on."""
    return float(np.clip((bad - value) / (bad - good), 0.0, 1.0))
