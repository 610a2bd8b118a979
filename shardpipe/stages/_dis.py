"""Speeds by OpenCV's DIS: which pairs of frames it measures, and how fast their pixels move."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import Frames
from shardpipe.stages._flow_pairs import LONG_SIDE, MAX_GAP_S
from shardpipe.stages._shift import Gray, phase_shift, thumb

PRESETS: Mapping[str, int] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
MIN_SIDE = 48
STEP = 4  # the two faster presets find one vector for each 4x4 pixels; the rest is interpolated


def measured_pairs(times_s: NDArray[np.float64], *, pairs_per_s: float) -> list[int]:
    """First frames of the neighbours to measure: every second pair, or every pair where frames are too few for that
    (a source of under 8 fps); none that are more than `MAX_GAP_S` apart.
    """
    if len(times_s) <= 1:
        return []
    frames_per_s = (len(times_s) - 1) / max(float(times_s[-1] - times_s[0]), 1e-9)
    stride = max(1, int(frames_per_s / (0.9 * pairs_per_s)))
    gaps_s = np.diff(times_s)
    return [i for i in range(0, len(gaps_s), stride) if 0 < gaps_s[i] <= MAX_GAP_S]


def dis_speeds(frames: Frames, pairs: Sequence[int], *, preset: int) -> NDArray[np.float32]:
    """Speeds float32 [pairs, y, x] of every fourth pixel each way, in pixels a second at a long side of 256, between
    frames `i` and `i + 1` for each `i` of `pairs`.
    """
    to_256 = LONG_SIDE / max(frames.data.shape[1:])
    engine = cv2.DISOpticalFlow.create(preset)
    gaps_s = np.diff(frames.times_s)
    speeds = [_pair_flow(engine, frames.data[i], frames.data[i + 1]) * (to_256 / gaps_s[i]) for i in pairs]
    return np.array(speeds, np.float32)


def _pair_flow(engine: cv2.DISOpticalFlow, first: Gray, second: Gray) -> NDArray[np.float32]:
    """Flow lengths in pixels, float32, of every fourth pixel each way."""
    height, width = first.shape
    first, second = _at_least(first), _at_least(second)
    flow = engine.calc(first, second, _start(first, second))  # type: ignore[arg-type]  # the stub knows no None
    return np.hypot(flow[:height:STEP, :width:STEP, 0], flow[:height:STEP, :width:STEP, 1])


def _at_least(frame: Gray) -> Gray:
    """`frame`, its last row and column repeated up to `MIN_SIDE`: DIS refuses pictures of under 12
    pixels, and reads past the end of some that are under 32 high (seen as a crash at 256x28, OpenCV 5.0).
    """
    below, right = (max(0, MIN_SIDE - side) for side in frame.shape)
    if not (below or right):
        return frame
    return np.pad(frame, ((0, below), (0, right)), mode="edge")


def _start(first: Gray, second: Gray) -> NDArray[np.float32] | None:
    """A uniform flow to start from where the whole picture moved far, else None: alone, DIS loses moves of more than
    about a twentieth of the picture.
    """
    small = thumb(first)
    shift = np.array(phase_shift(small, thumb(second)), np.float32) * np.float32(first.shape[1] / small.shape[1])
    if not shift.any():
        return None
    flow = np.empty((*first.shape, 2), np.float32)
    flow[..., 0], flow[..., 1] = shift
    return flow
