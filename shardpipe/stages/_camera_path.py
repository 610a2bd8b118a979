"""The path of a camera: from the steps of the whole picture to distances travelled and to shake."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shardpipe.stages._similarity import STILL, Similarity

Series = NDArray[np.float64]

SMOOTH_S = 0.3
SMOOTH_ARM = 15  # frames each way: 1.7 s at 9 a second
MEAN_ARM = 0.33  # mean distance of a 16:9 picture's points from its centre, in widths
MIN_SHAKE_FRAMES = 7
SHAKE_OVER = 5
SHAKE_PERCENTILE = 40


@dataclass(frozen=True)
class CameraPath:
    """Where the picture's content went.

    at: float64 [T, 4]: right in widths, down in heights, log of its growth, radians turned clockwise.
    size: width and height, of which only the ratio counts. known_s: seconds in which the steps could be told.
    """

    times_s: Series
    at: Series
    size: tuple[int, int]
    known_s: float

    @property
    def length_s(self) -> float:
        """Seconds from the first frame to the last."""
        return float(self.times_s[-1] - self.times_s[0])

    @property
    def arms(self) -> Series:
        """Widths that the picture's points move on average for one unit of each of the four."""
        return np.array([1.0, self.size[1] / self.size[0], MEAN_ARM, MEAN_ARM])


@dataclass(frozen=True)
class Travel:
    """How far a line went up, and down, in its own units."""

    up: float
    down: float

    @property
    def most(self) -> float:
        """The longer of the two."""
        return max(self.up, self.down)


def camera_path(steps: Sequence[Similarity | None], times_s: Series, size: tuple[int, int]) -> CameraPath:
    """The path of `steps` (pixels in a picture of `size`), each along the axes that the picture then has; unknown
    steps count as none.
    """
    moves = np.zeros((len(steps) + 1, 4))
    for i, step in enumerate(steps, 1):
        if step is not None:
            moves[i] = (step.b.real / size[0], step.b.imag / size[1], np.log(abs(step.a)), np.angle(step.a))
    known = np.array([step is not None for step in steps])
    return CameraPath(times_s, np.cumsum(moves, axis=0), size, float(np.diff(times_s)[known].sum()))


def along_first_axes(steps: Sequence[Similarity | None], path: CameraPath) -> list[CameraPath]:
    """The same path with its shifts measured along the axes of the first picture: as if it were first turned and grown
    and then shifted, and the other way round. A straight pan may be straight in one of these only, when the camera
    also rolls or zooms.
    """
    whole = [STILL]
    for step in steps:
        whole.append((step or STILL).after(whole[-1]))
    a, b = np.array([each.a for each in whole]), np.array([each.b for each in whole])
    width, height = path.size
    return [
        replace(path, at=np.column_stack([shift.real / width, shift.imag / height, path.at[:, 2:]]))
        for shift in (b, b / a)
    ]


def smoothed(path: CameraPath) -> Series:
    """The path, float64 [T, 4], without what is quicker than about a second: at each frame a line through those near
    it in time, weighted by a bell of `SMOOTH_S`.
    """
    count = len(path.times_s)
    near = np.arange(count)[:, None] + np.arange(-SMOOTH_ARM, SMOOTH_ARM + 1)
    inside = (near >= 0) & (near < count)
    near = near.clip(0, count - 1)
    away = path.times_s[near] - path.times_s[:, None]
    bell = np.exp(-0.5 * (away / SMOOTH_S) ** 2) * inside
    s0, s1, s2 = bell.sum(1), (bell * away).sum(1), (bell * away**2).sum(1)
    line = bell * (s2[:, None] - s1[:, None] * away) / (s0 * s2 - s1**2 + 1e-12)[:, None]
    return np.asarray(np.einsum("ij,ijk->ik", line, path.at[near]))


def travel(line: Series, still: float) -> Travel:
    """How far a smooth line goes up and down, not counting turns back of less than `still`."""
    turns = [float(line[0])]
    ahead = float(line[0])  # the farthest point since the last turn
    for value in map(float, line[1:]):
        if ahead == turns[-1] or (value - ahead) * (ahead - turns[-1]) > 0:
            ahead = value
        elif abs(value - ahead) > still:
            turns.append(ahead)
            ahead = value
    legs = np.diff([*turns, ahead])
    return Travel(float(legs[legs > 0].sum()), float(-legs[legs < 0].sum()))


def shakiness(path: CameraPath) -> float:
    """Root mean square, in widths, of how far the picture is from where the frames before and after put it.

    Taken over stretches of five frames, of which the 40th percentile counts: a start or a stop is no shake.
    0 for clips of fewer than seven frames.
    """
    if len(path.times_s) < MIN_SHAKE_FRAMES:
        return 0.0
    energy = (unexpected(path.times_s, path.at * path.arms) ** 2).sum(1)
    over = min(SHAKE_OVER, len(energy))
    local = np.convolve(energy, np.ones(over) / over, "valid")
    return float(np.sqrt(np.percentile(local, SHAKE_PERCENTILE)))


def unexpected(times_s: Series, at: Series) -> Series:
    """For each inner frame, its distance from the parabola through the two before it and the two after it."""
    inner = np.arange(2, len(times_s) - 2)
    near = inner[:, None] + np.array([-2, -1, 1, 2])
    t = times_s[near] - times_s[inner][:, None]
    parabola = np.linalg.pinv(np.stack([np.ones_like(t), t, t**2], axis=2))[:, 0]
    return np.asarray(at[inner] - np.einsum("ij,ijk->ik", parabola, at[near]))
