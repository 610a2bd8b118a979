"""Is a frame a mix of two others? The tests and fits behind `gradual.py`, on a trace of frames. Pure."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.detector import Transition
from shardpipe.scenes.frametrace import FrameTrace
from shardpipe.scenes.rampfit import LEVEL_S, Ramp, fit_ramp, fit_rise

HALVES_S = np.array([0.16, 0.2, 0.25, 0.31, 0.39, 0.49, 0.61, 0.76, 0.95, 1.2, 1.5])
"""How far the two ends are from the middle that is tried."""

LONGEST_FADE_S = 3.2  # until it stays level
MAX_TRIED = 2  # pairs of ends a moment
MAX_FIRST_CORRELATION = 0.75  # of the first guess at the ends, which may still be mixes
MIN_DIFFERENCE = 8.0  # of 255, root mean square between the two ends
MIN_FIT_AROUND_S = 0.4
FIT_AROUND = 0.3  # of the length, on both sides, that a ramp is fitted to
REACH_S = 2.3  # from the moment that is tried; with the margin and the walk below 3.5 s
MARGIN = 0.06  # of the length, on both sides
LEAST = 0.25  # of either end, in the frame in the middle
MIN_CONTRAST = 6.0
AROUND_S = 0.15
RAMP = (0.13, 0.87)  # the part of a fade whose frames are tested
MAX_BACK = 0.12
WHITE = 128
MIN_MIXED = 2
MAX_STEP = 0.45  # of the whole way, from one frame to the next
MAX_EASE = 0.3  # of the ramp's length, at each end
EASE_STEP = 0.004
MAX_FADE_ERROR = 0.012
MAX_FADE_RESIDUAL = 0.6
PLAIN_LEVEL = 40.0  # of 255, from black or white
PLAIN_CONTRAST = 4.0
NEARLY_PLAIN_CONTRAST = 12.0
SAME_PICTURE = 0.65


@dataclass(frozen=True)
class Bars:
    """What a dissolve must keep to. correlation: of the frames just outside it. energy: at most so many times that of a
    mix (2 in a pan). residual: of the frames in the middle. position_error, energy_error: of the fitted ramp, see
    `Ramp`. energy_weight: see `fit_ramp`. num_fits: how often it is fitted at most, each time around the last one.
    """

    correlation: float
    energy: float
    residual: float
    position_error: float
    energy_error: float
    energy_weight: float
    num_fits: int


BY_ENERGY = Bars(
    correlation=0.5,
    energy=1.6,
    residual=0.6,
    position_error=0.06,
    energy_error=0.012,
    energy_weight=20,
    num_fits=5,
)
"""Where both scenes go on: what moves in them may disturb the positions, but hardly the energies."""

BY_POSITION = Bars(
    correlation=-0.05,
    energy=1.35,
    residual=0.35,
    position_error=0.02,
    energy_error=math.inf,
    energy_weight=1,
    num_fits=2,
)
"""Between scenes that have nothing in common, also where the energy jumps: one of them has a cut during the dissolve."""


@dataclass(frozen=True)
class Line:
    """The way from frame a to frame b: positions (float64 [N], 0 at a, 1 at b) of N frames on it, and their distance
    from it, both in units of the distance between a and b.
    """

    positions: NDArray[np.float64]
    residuals: NDArray[np.float64]


def line(thumbs: NDArray[np.float32], a: int, b: int, frames: slice) -> Line:
    """Where `frames` lie on the line from thumbnail a to thumbnail b."""
    way = (thumbs[b] - thumbs[a]).astype(np.float64)
    square = float(way @ way) + 1e-9
    off = thumbs[frames] - thumbs[a]
    positions = off @ way / square
    rest = off - positions[:, None] * way
    return Line(positions, np.sqrt(np.einsum("ij,ij->i", rest, rest) / square))


def dissolve_at(trace: FrameTrace, center: int) -> Transition | None:
    """The dissolve that frame `center` is about the middle of, None if there is none."""
    tried = _ends_around(trace, center)[:MAX_TRIED]
    for bars in (BY_ENERGY, BY_POSITION):
        for a, b in tried:
            fitted = _fit_dissolve(trace, a, b, center, bars)
            if fitted is not None:
                return fitted
    return None


def _ends_around(trace: FrameTrace, center: int) -> list[tuple[int, int]]:
    """Pairs of frames at equal distances from `center` of which it is a mix, the best first."""
    times, thumbs, energy = trace.times, trace.thumbs, trace.energy
    if not 0 < center < len(times) - 1:
        return []
    at = times[center]
    before = np.searchsorted(times, at - HALVES_S + 1e-6, side="right") - 1
    after = np.searchsorted(times, at + HALVES_S - 1e-6)
    fits = (before >= 0) & (after < len(times)) & (before < center - 1) & (after > center + 1)
    before, after = before[fits], after[fits]
    contrast = trace.contrast
    plain = np.minimum(contrast[before], contrast[after]) < MIN_CONTRAST
    ends = np.sort(np.stack([energy[before], energy[after]]), axis=0)
    possible = energy[center] < BY_ENERGY.energy * (LEAST**2 * ends[0] + (1 - LEAST) ** 2 * ends[1])
    before, after = before[possible & ~plain], after[possible & ~plain]
    if not len(before):
        return []  # nearly always, and at little cost
    first, last = thumbs[before], thumbs[after]
    way, off = last - first, thumbs[center] - first
    square = np.einsum("ij,ij->i", way, way) + 1e-9
    position = np.einsum("ij,ij->i", off, way) / square
    rest = np.einsum("ij,ij->i", off, off) / square - position**2
    mixed = (1 - position) ** 2 * energy[before] + position**2 * energy[after]
    excess = energy[center] / (mixed + 1e-9)
    good = (np.sqrt(square / thumbs.shape[1]) > MIN_DIFFERENCE) & (rest < BY_ENERGY.residual**2)
    good &= excess < BY_ENERGY.energy
    good &= (position > LEAST) & (position < 1 - LEAST)
    score = np.sqrt(np.maximum(rest, 0)) + np.abs(excess - 1)
    order = [int(i) for i in np.argsort(score) if good[i]]
    pairs = [(int(before[i]), int(after[i])) for i in order]
    return [pair for pair in pairs if _correlation(thumbs[pair[0]], thumbs[pair[1]]) < MAX_FIRST_CORRELATION]


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    x, y = a.reshape(-1, 3) - a.reshape(-1, 3).mean(0), b.reshape(-1, 3) - b.reshape(-1, 3).mean(0)
    return float((x * y).sum() / (np.sqrt((x * x).sum() * (y * y).sum()) + 1e-9))


def _fit_dissolve(trace: FrameTrace, a: int, b: int, center: int, bars: Bars) -> Transition | None:
    """Fit a ramp to the frames around a and b, then around its ends, until they stay; None if the ramp is not one."""
    times = trace.times
    tried: set[tuple[int, int]] = set()
    while True:
        ramp = _ramp_around(trace, a, b, center, bars.energy_weight)
        if ramp is None or ramp.position_error > bars.position_error or ramp.energy_error > bars.energy_error:
            return None
        a, b = ramp.first - 1, ramp.last + 1
        if (a, b) in tried or len(tried) == bars.num_fits - 1:
            break
        tried.add((a, b))
    if not ramp.first < center < ramp.last or not _is_dissolve(trace, a, b, bars):
        return None
    margin_s = MARGIN * (times[ramp.last] - times[ramp.first])
    a = max(int(np.searchsorted(times, times[ramp.first] - margin_s, side="right")) - 1, 0)
    b = min(int(np.searchsorted(times, times[ramp.last] + margin_s)), len(times) - 1)
    first, last = _walk(trace, a, b, -1), _walk(trace, a, b, 1)
    return Transition(float(times[first + 1]), float(times[last]))


def _ramp_around(trace: FrameTrace, a: int, b: int, center: int, energy_weight: float) -> Ramp | None:
    """The ramp that fits best on the way from frame a to frame b, and on some of what comes before and after."""
    times = trace.times
    around_s = max(MIN_FIT_AROUND_S, FIT_AROUND * (times[b] - times[a]))
    start_s = max(times[a] - around_s, times[center] - REACH_S)
    stop_s = min(times[b] + around_s, times[center] + REACH_S)
    frames = _without_cuts(trace, a, b, trace.index(start_s), trace.index(stop_s) + 1)
    at = frames.start
    positions = line(trace.thumbs, a, b, frames).positions
    energy = trace.energy[frames]
    ramp = fit_ramp(times[frames], positions, energy, energy_weight=energy_weight, first=a - at, last=b - at)
    if ramp is None or times[at + ramp.last] - times[at + ramp.first] > 2 * HALVES_S[-1]:
        return None
    return replace(ramp, first=at + ramp.first, last=at + ramp.last)


def _without_cuts(trace: FrameTrace, a: int, b: int, start: int, stop: int) -> slice:
    """The frames from `start` to `stop`, as far as they go on from a and b without a jump to another picture."""
    thumbs = trace.thumbs[start:stop]
    steps = np.diff(thumbs, axis=0)
    far = np.einsum("ij,ij->i", steps, steps) > MAX_STEP**2 * float(((trace.thumbs[b] - trace.thumbs[a]) ** 2).sum())
    jumps = start + 1 + np.flatnonzero(far)  # the first frames after them
    before, after = jumps[jumps <= a], jumps[jumps > b]
    return slice(int(before[-1]) if len(before) else start, int(after[0]) if len(after) else min(stop, len(trace)))


def _walk(trace: FrameTrace, a: int, b: int, step: int) -> int:
    """The end of a ramp that is no straight line: from a (back) or b (on) as far as frames still move along it."""
    times, at = trace.times, b if step > 0 else a
    farthest = trace.index(times[at] + step * MAX_EASE * (times[b] - times[a]))
    farthest = min(max(farthest, 0), len(times) - 1)
    low, high = min(at, farthest), max(at, farthest)
    if low == high:
        return at
    positions = step * line(trace.thumbs, a, b, slice(low, high + 1)).positions[::step]
    moving = np.diff(positions) > EASE_STEP
    return at + step * (len(moving) if moving.all() else int(np.argmin(moving)))


def _is_dissolve(trace: FrameTrace, a: int, b: int, bars: Bars) -> bool:
    """The final test, with the frames just before and after the ramp as ends."""
    thumbs, energy = trace.thumbs, trace.energy
    if b - a < MIN_MIXED + 1 or _correlation(thumbs[a], thumbs[b]) > bars.correlation:
        return False
    on = line(thumbs, a, b, slice(a, b + 1))
    x, rest = on.positions, on.residuals
    steps = np.diff(x)
    if steps.max() > MAX_STEP or steps.min() < -MAX_BACK:
        return False
    middle = (x > LEAST) & (x < 1 - LEAST)
    if not middle.any():
        return False
    around = trace.index(trace.times[a] - AROUND_S), trace.index(trace.times[b] + AROUND_S)
    mixed = (1 - x) ** 2 * energy[around[0] : a + 1].max() + x**2 * energy[b : around[1] + 1].max()
    excess = float(np.median(energy[a : b + 1][middle] / (mixed[middle] + 1e-9)))
    return excess < bars.energy and float(np.median(rest[middle])) < bars.residual


def fade_to(trace: FrameTrace, plain: int) -> float | None:
    """When the fade that ends in the plain frame `plain` begins; None if there is none."""
    return _fade(trace, plain, -1, 0)


def fade_from(trace: FrameTrace, plain: int, until: int) -> float | None:
    """When the fade that begins in the plain frame `plain` ends, as seen in frames before `until`."""
    return _fade(trace, plain, 1, until - 1)


def _fade(trace: FrameTrace, plain: int, step: int, limit: int) -> float | None:
    """When the frames from `plain` on (step 1) or back (-1), as far as `limit`, stop getting richer in step with time.

    The root of the energy and the contrast are in proportion to the share of the picture, however that moves.
    """
    times = trace.times
    outward = np.arange(plain, limit + step, step)
    since_s = np.abs(times[outward] - times[plain])
    outward = outward[since_s <= LONGEST_FADE_S + LEVEL_S]
    since_s = since_s[: len(outward)]
    rise = fit_rise(since_s, np.stack([np.sqrt(trace.energy[outward]), trace.contrast[outward]]))
    if rise is None or rise[1] > MAX_FADE_ERROR:
        return None
    full = int(outward[rise[0]])
    if trace.contrast[full] < MIN_CONTRAST:
        return None
    on = line(trace.thumbs, plain, full, slice(min(plain, full), max(plain, full) + 1))
    x, rest = on.positions[::step], on.residuals[::step]  # from the plain frame outwards
    mixed = np.flatnonzero((x > RAMP[0]) & (x < RAMP[1]))
    steps = np.diff(x)
    if len(mixed) < MIN_MIXED or steps.max() > MAX_STEP or steps.min() < -MAX_BACK:
        return None
    if float(np.median(rest[mixed])) > MAX_FADE_RESIDUAL:
        return None
    ramp_s = float(since_s[rise[0]])
    margin_s = max(1.6 * ramp_s / rise[0], 0.05 * ramp_s)
    return float(times[plain] + step * min(ramp_s + margin_s, float(since_s[-1])))


def is_plain(trace: FrameTrace, at: int) -> bool:
    """Whether a frame is black or white, or the nearest to it that a fade through black or white shows."""
    contrast, level = float(trace.contrast[at]), float(trace.level[at])
    if min(level, 255 - level) > PLAIN_LEVEL:
        return False
    if contrast < PLAIN_CONTRAST:
        return True
    if contrast > NEARLY_PLAIN_CONTRAST:
        return False
    time_s = trace.times[at]
    near = trace.contrast[trace.index(time_s - 0.25) : trace.index(time_s + 0.25)]
    around = trace.contrast[trace.index(time_s - 0.5) : trace.index(time_s + 0.5)]
    return contrast <= float(near.min()) and contrast < 0.2 * float(around.max())


def is_flash(trace: FrameTrace, start_s: float, end_s: float) -> bool:
    """Whether a fade through white leads back to the picture before it: a flash light, and no change of scene."""
    times = trace.times
    before = int(np.searchsorted(times, start_s)) - 1
    after = trace.index(end_s)
    if before < 0 or after >= len(times) or trace.level[before : after + 1].max() < WHITE:
        return False
    return _correlation(trace.thumbs[before], trace.thumbs[after]) > SAME_PICTURE
