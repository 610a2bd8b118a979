"""When, and where, a clip's picture stands still."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import Frames
from shardpipe.stages._active import without_bars
from shardpipe.stages._align import Pyramid, nudge, pyramids
from shardpipe.stages._blocks import grid_of

HELD_S = 1.0
MIN_RUN_S = 1.0
LEVELS = 2.0
PER_NOISE = 2.5
PER_SLOPE = 0.06
MOST_NOISE = 2.0
LIGHT = 0.8
MOVED_PX = 0.15
LOOKS = 9
SELDOM = 0.02

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Stillness:
    """share: of the time, 0 to 1. run_s: the longest stretch in seconds. area: share of the picture that never changes, 0 to 1."""

    share: float
    run_s: float
    area: float


def stillness(frames: Frames, *, duration_s: float | None = None) -> Stillness | None:
    """Of gray frames; `duration_s` is the clip's, so that its last frame counts. None where no time passes, and for one frame that
    is not shown for over a second.
    """
    end_s = max(float(duration_s or 0.0), float(frames.times_s[-1]))
    if end_s <= 0 or (len(frames) == 1 and end_s <= HELD_S):
        return None
    pictures = pyramids(without_bars(frames.data))
    runs = still_runs(pictures, frames.times_s, end_s)
    counted = [run for run in runs if run >= min(MIN_RUN_S, end_s)]
    return Stillness(min(1.0, sum(counted) / end_s), max(counted, default=0.0), still_area(pictures))


def still_runs(pictures: Sequence[Pyramid], times_s: Series, end_s: float) -> list[float]:
    """The lengths in seconds of the stretches in which every picture is the same as the first of its stretch. A frame that is shown for
    over a second stands still for that time.
    """
    runs = []
    first, length_s = 0, 0.0
    for i, until_s in enumerate([*times_s[1:], end_s]):
        shown_s = float(until_s - times_s[i])
        follows = i + 1 < len(pictures)
        same = not follows or unchanged(pictures[first], pictures[i + 1])
        if same or shown_s > HELD_S:
            length_s += shown_s
        if not same:
            runs.append(length_s)
            first, length_s = i + 1, 0.0
    return [*runs, length_s]


def unchanged(still: Pyramid, frame: Pyramid) -> bool:
    """Whether a frame shows a still but for noise: no block of it differs much more than the others, its light is the same, and the
    whole has not moved by a sixth of a pixel in 128.
    """
    change = frame.picture - still.picture
    if abs(float(change.mean())) > LIGHT:
        return False
    if _changed(change, still.slope).any():
        return False
    move = nudge(still, frame)
    return move is None or move.size_px < MOVED_PX


def still_area(pictures: Sequence[Pyramid]) -> float:
    """The share of the blocks that are at (nearly) all times what they are at most times."""
    return float((unusual(pictures).mean(axis=0) <= SELDOM).mean())


def unusual(pictures: Sequence[Pyramid]) -> NDArray[np.bool_]:
    """Which blocks of each picture are not what they are at most times: [T, rows, columns]."""
    some = np.unique(np.linspace(0, len(pictures) - 1, LOOKS).round().astype(int))
    usual = np.median(np.stack([pictures[i].picture for i in some]), axis=0).astype(np.float32)
    slope = pictures[len(pictures) // 2].slope
    return np.stack([_changed(each.picture - usual, slope) for each in pictures])


def _changed(change: NDArray[np.float32], slope: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which blocks differ by more than noise: it is seen all over the picture, and more at edges."""
    blocks = grid_of(np.abs(change))
    noise = min(MOST_NOISE, float(np.partition(blocks, blocks.size // 2, axis=None)[blocks.size // 2]))
    return blocks > LEVELS + PER_NOISE * noise + PER_SLOPE * grid_of(slope)
