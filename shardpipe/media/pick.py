"""Which frames of a clip a request gets, from the clip's timeline alone. All pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import Fractions, FrameRequest, Numbers, Pairs, Rate, Spread, Uniform

ROUNDING = 0.5
"""Containers round times to ticks: a frame half a tick late is still on screen at its time,"""
MAX_ROUNDING = 0.05
"""but not by more than this share of the distance between frames (AVI's tick is a whole frame)."""

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Clock:
    """pts: int64 [N] ticks, sorted, distinct. end: tick at which the last frame ends. base: seconds a tick."""

    pts: NDArray[np.int64]
    end: int
    base: float

    @property
    def duration_s(self) -> float:
        """From the first frame's start to the last frame's end."""
        return (self.end - int(self.pts[0])) * self.base

    @property
    def times_s(self) -> NDArray[np.float64]:
        """float64 [N]: when each frame is shown, seconds after the first."""
        times: NDArray[np.float64] = (self.pts - self.pts[0]) * self.base
        return times


def on_screen(clock: Clock, times_s: NDArray[np.float64]) -> Indices:
    """The last frame with pts <= t for each time, as the indices of distinct frames in order."""
    return np.unique(shown_at(clock, times_s))


def shown_at(clock: Clock, times_s: NDArray[np.float64]) -> Indices:
    """The index of the last frame with pts <= t for each time, in the order of the times."""
    ticks = clock.pts - clock.pts[0]
    usual = float(np.median(np.diff(ticks))) if len(ticks) > 1 else 1.0
    late = min(ROUNDING, MAX_ROUNDING * usual)
    found = np.searchsorted(ticks, times_s / clock.base + late, side="right") - 1
    return np.clip(found, 0, len(ticks) - 1)


def wanted_times(request: FrameRequest, clock: Clock) -> NDArray[np.float64]:
    """The times that a request asks for, seconds after the first frame."""
    if isinstance(request.sampling, Pairs | Numbers):
        return clock.times_s[exact(request, clock)]
    return spread(request.sampling, clock.duration_s)


def spread(sampling: Spread, duration: float) -> NDArray[np.float64]:
    """The times that are wanted of a clip of this duration, both in seconds."""
    match sampling:
        case Uniform(n=n):
            return (np.arange(n) + 0.5) * duration / n
        case Fractions(at=at):
            return np.array(sorted(at), np.float64) * duration
        case Rate(per_s=per_s, min_frames=least, max_frames=most):
            count = max(1, math.ceil(duration * per_s - 1e-6))  # a time at the very end is none of the clip
            if most is not None and count > most:
                return np.arange(most) * duration / most
            if count < least:
                return np.arange(least) * duration / least
            return np.arange(count) / per_s


def exact(request: FrameRequest, clock: Clock) -> Indices:
    """The frames on screen at the wanted times, or those that `Pairs` and `Numbers` mean; where a clip shorter than
    `min_frames` asks for and its frames are uneven, frames evenly by number.
    """
    if isinstance(request.sampling, Pairs):
        return _paired(request.sampling, clock)
    if isinstance(request.sampling, Numbers):
        return _numbered(request.sampling.at, clock)
    found = on_screen(clock, wanted_times(request, clock))
    if isinstance(request.sampling, Rate):
        least = min(request.sampling.min_frames, len(clock.pts))
        if len(found) < least:
            return np.arange(least) * len(clock.pts) // least
    return found


def _numbered(at: Sequence[int], clock: Clock) -> Indices:
    found: Indices = np.unique(np.minimum(np.array(at, np.intp), len(clock.pts) - 1))
    return found


def _paired(pairs: Pairs, clock: Clock) -> Indices:
    """First and second frame of each pair, in order; of pairs that would share a frame or leave the clip, the later is dropped."""
    last = len(clock.pts) - 1
    if last < 1:
        return np.zeros(1, np.intp)
    count = max(1, min(pairs.max_pairs, math.floor(clock.duration_s * pairs.per_s + 1e-6)))
    middles = (np.arange(count) + 0.5) * clock.duration_s / count
    firsts = np.minimum(shown_at(clock, middles - pairs.gap_s / 2), last - 1)
    seconds = np.maximum(shown_at(clock, middles + pairs.gap_s / 2), firsts + 1)
    found: list[int] = []
    for first, second in zip(firsts.tolist(), seconds.tolist(), strict=True):
        if not found or first > found[-1]:
            found += [first, second]
    return np.array(found, np.intp)


def from_keyframes(requests: Sequence[FrameRequest], clock: Clock, keys: Indices) -> list[Indices] | None:
    """A keyframe for each frame that each request gets, distinct and within its tolerance; None if that fails."""
    if not len(keys) or any(request.tolerance_s <= 0 for request in requests):
        return None
    times = clock.times_s[keys]
    picks = []
    for request in requests:
        wanted = wanted_times(request, clock)
        after = np.clip(np.searchsorted(times, wanted), 0, len(keys) - 1)
        before = np.maximum(after - 1, 0)
        nearest = np.where(np.abs(times[before] - wanted) <= np.abs(times[after] - wanted), before, after)
        found = np.unique(nearest)
        if np.any(np.abs(times[nearest] - wanted) > request.tolerance_s) or len(found) < len(exact(request, clock)):
            return None
        picks.append(keys[found])
    return picks


def picture_size(request: FrameRequest, shown: tuple[int, int]) -> tuple[int, int]:
    """(width, height) that a request gets of a picture shown at `shown`: aspect kept, never enlarged."""
    limit = request.long_side or request.short_side
    if not limit:
        return shown
    scale = min(1.0, limit / (max(shown) if request.long_side else min(shown)))
    return max(1, round(shown[0] * scale)), max(1, round(shown[1] * scale))
