"""From the steps of the whole picture to what a camera operator would call them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shardpipe.stages._global_motion import STILL, Similarity

Series = NDArray[np.float64]

SMOOTH_S = 0.3
X, Y, ZOOM, ROLL = range(4)
MEAN_ARM = 0.33  # mean displacement of a 16:9 picture's points, in widths, by a zoom of e or a turn of one radian


@dataclass(frozen=True)
class CameraPath:
    """Where the content went: float64 [T, 4]: right in widths, down in heights, log of the zoom, radians turned.

    known_s: the seconds in which the steps could be told; length_s: of all.
    """

    times_s: Series
    at: Series
    size: tuple[float, float]
    known_s: float
    length_s: float

    @property
    def aspect(self) -> float:
        return self.size[1] / self.size[0]


@dataclass(frozen=True)
class Travel:
    """Movement of one kind, both ways, in the path's units, and its mean speed a second."""

    forth: float
    back: float


def camera_path(steps: Sequence[Similarity | None], times_s: Series, size: tuple[float, float]) -> CameraPath:
    """The path of `steps` (pixels in a picture of width and height `size`); unknown steps count as none."""
    moves = np.zeros((len(steps) + 1, 4))
    known = np.array([step is not None for step in steps])
    for i, step in enumerate(steps, 1):
        if step is not None:
            moves[i] = (step.b.real / size[0], step.b.imag / size[1], np.log(abs(step.a)), np.angle(step.a))
    gaps_s = np.diff(times_s)
    return CameraPath(times_s, np.cumsum(moves, axis=0), size, float(gaps_s[known].sum()), float(gaps_s.sum()))


def other_axes(steps: Sequence[Similarity | None], path: CameraPath) -> list[CameraPath]:
    """The path with its shifts along the axes of the first picture: moved after, and before, it is turned and grown."""
    whole = [STILL]
    for step in steps:
        whole.append((step or STILL).after(whole[-1]))
    b = np.array([each.b for each in whole])
    a = np.array([each.a for each in whole])
    return [
        replace(path, at=np.column_stack([s.real / path.size[0], s.imag / path.size[1], path.at[:, 2:]]))
        for s in (b, b / a)
    ]


def smoothed(path: CameraPath) -> Series:
    """The path without what is quicker than about a second: a line through the neighbours of each point, weighted by a
    bell of `SMOOTH_S`."""
    away = path.times_s[:, None] - path.times_s
    bell = np.exp(-0.5 * (away / SMOOTH_S) ** 2)
    s0, s1, s2 = bell.sum(1), (bell * away).sum(1), (bell * away**2).sum(1)
    line = bell * (s2[:, None] - s1[:, None] * away) / (s0 * s2 - s1**2 + 1e-12)[:, None]
    return np.asarray(line @ path.at)


def travel(line: Series, still: float) -> Travel:
    """How far a smooth line goes up and down, not counting turns back of less than `still`."""
    turns = [float(line[0])]
    ahead = float(line[0])  # the farthest point since the last turn, in the direction of travel
    for value in map(float, line[1:]):
        rising = ahead - turns[-1]
        if rising == 0.0 or (value - ahead) * rising > 0:
            ahead = value
        elif abs(value - ahead) > still:
            turns.append(ahead)
            ahead = value
    legs = np.diff([*turns, ahead])
    return Travel(float(legs[legs > 0].sum()), float(-legs[legs < 0].sum()))


def shakiness(path: CameraPath) -> float:
    """Root mean square, in widths, of how far the picture is from where its neighbours in time put it."""
    if len(path.times_s) < 7:
        return 0.0
    arms = np.array([1.0, path.aspect, MEAN_ARM, MEAN_ARM])
    residual = np.abs(_unexpected(path.times_s, path.at * arms)) ** 2
    energy = residual.sum(1)
    local = np.convolve(energy, np.ones(5) / 5, "valid")
    return float(np.sqrt(np.percentile(local, 40)))


def _unexpected(times_s: Series, at: Series) -> Series:
    """For each inner point, its distance from the parabola through the two points before it and the two after it."""
    out = np.zeros((len(times_s) - 4, at.shape[1]))
    for i in range(2, len(times_s) - 2):
        near = [i - 2, i - 1, i + 1, i + 2]
        t = times_s[near] - times_s[i]
        design = np.stack([np.ones(4), t, t**2], axis=1)
        out[i - 2] = at[i] - (np.linalg.pinv(design) @ at[near])[0]
    return out
