"""Zooms over a picture as Open-Sora 1.3's `detect_zoom` judges them: points far from the centre move more."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import Frames
from shardpipe.stages._kendall import kendall
from shardpipe.stages._shift import Gray

STEP_S = 1 / 3  # 10 frames at 30 fps
MAX_STEPS = 5
MAX_UNJUDGED = 3
CROP = 2 / 3
SIDE = 256
MAX_CORNERS = 100
QUALITY = 0.3
MIN_DISTANCE_PX = 7
CORNER_BLOCK = 7
WINDOW = (15, 15)
LEVELS = 2
MIN_POINTS = 11
MAX_P = 0.1
MIN_TAU = 0.5
EARLY = 0.99  # of a step: times are rounded to ticks

Points = NDArray[np.float32]


@dataclass(frozen=True)
class ZoomSteps:
    """How many steps of a clip are zooms, of those that were judged."""

    zooms: int
    judged: int

    @property
    def share(self) -> float | None:
        """0 to 1; None if no step was judged."""
        return self.zooms / self.judged if self.judged else None


def zoom_steps(frames: Frames) -> ZoomSteps:
    """Judges the first five steps of a third of a second, of gray `frames`; a step without enough points is not judged,
    and the third of those ends the search.
    """
    zooms = judged = unjudged = 0
    start = _first_with_corners(frames)
    if start is None:
        return ZoomSteps(0, 0)
    at, picture, points = start
    for number in _next_steps(frames.times_s, at):
        after = centre(frames.data[number])
        before, points = _tracked(picture, after, points)
        picture = after
        verdict = is_zoom(before, points)
        judged += verdict is not None
        zooms += verdict is True
        unjudged += verdict is None
        if judged == MAX_STEPS or unjudged == MAX_UNJUDGED:
            break
    return ZoomSteps(zooms, judged)


def centre(frame: Gray) -> Gray:
    """The middle two thirds of a frame, so that few watermarks count, scaled to cover a square of 256 pixels, of which
    the middle: uint8 [256, 256].
    """
    height, width = (max(1, int(side * CROP)) for side in frame.shape)
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    scale = max(SIDE / height, SIDE / width)
    size = max(SIDE, int(width * scale)), max(SIDE, int(height * scale))
    large = cv2.resize(frame[top : top + height, left : left + width], size)
    top, left = (large.shape[0] - SIDE) // 2, (large.shape[1] - SIDE) // 2
    return np.ascontiguousarray(large[top : top + SIDE, left : left + SIDE], np.uint8)


def is_zoom(before: Points, after: Points) -> bool | None:
    """Whether points, float32 [N, 2] x and y, moved as in a zoom; None if there are too few to tell.

    Tested are, of x and of y, the points that moved up the axis or not at all, and those that moved down it: in each
    group of at least 11, motion and position must agree by rank (Kendall), |tau| >= 0.5 at p <= 0.1. As there, a
    group that moved by one and the same amount has no tau and is no proof against a zoom: an exact still passes.
    """
    verdicts = []
    for position, motion in zip(before.T, (after - before).T, strict=True):
        for group in (motion < 0, motion >= 0):
            if np.count_nonzero(group) >= MIN_POINTS:
                tau, p = kendall(motion[group], position[group])
                verdicts.append(not (p > MAX_P or abs(tau) < MIN_TAU))
    return all(verdicts) if verdicts else None


def _first_with_corners(frames: Frames) -> tuple[int, Gray, Points] | None:
    """The first frame with corners (Shi and Tomasi 1994): its number, its centre, and the corners."""
    for number, frame in enumerate(frames.data):
        picture = centre(frame)
        corners = cv2.goodFeaturesToTrack(picture, MAX_CORNERS, QUALITY, MIN_DISTANCE_PX, blockSize=CORNER_BLOCK)
        if corners is not None and len(corners):  # type: ignore[redundant-expr]  # the stub knows no None
            return number, picture, np.asarray(corners, np.float32).reshape(-1, 2)
    return None


def _next_steps(times_s: NDArray[np.float64], number: int) -> list[int]:
    """The frames after `number`, each the first at least a step after the one before."""
    steps, last_s = [], float(times_s[number])
    for i in range(number + 1, len(times_s)):
        if times_s[i] - last_s >= EARLY * STEP_S:
            steps.append(i)
            last_s = float(times_s[i])
    return steps


def _tracked(first: Gray, second: Gray, points: Points) -> tuple[Points, Points]:
    """The points that are found again (pyramids of Lucas and Kanade): where they were and where they are."""
    if not len(points):
        return points, points
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        first,
        second,
        points[:, None],
        None,
        winSize=WINDOW,
        maxLevel=LEVELS,
        criteria=criteria,  # type: ignore[call-overload]
    )
    kept = status[:, 0] == 1
    return points[kept], np.asarray(found[kept, 0], np.float32)
