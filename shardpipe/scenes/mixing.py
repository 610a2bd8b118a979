"""Is a frame a mix of two others? The tests and fits behind `gradual.py`, on a trace of frames. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.detector import Transition
from shardpipe.scenes.frametrace import FrameTrace

HALVES_S = np.array([0.16, 0.2, 0.25, 0.31, 0.39, 0.49, 0.61, 0.76, 0.95, 1.2, 1.5])
"""How far the two ends are from the middle that is tried."""

RAMPS_S = np.array([0.16, 0.25, 0.4, 0.6, 0.9, 1.3, 1.8, 2.5, 3.3])
"""Lengths of fades that are tried."""

MAX_CORRELATION = 0.75
MIN_DIFFERENCE = 8.0  # of 255, root mean square between the two ends
MAX_RESIDUAL = 0.45
MAX_ENERGY = 1.5  # times that of a mix; 2 in a pan
LEAST = 0.25  # of either end, in the frame in the middle
MIN_CONTRAST = 6.0
AROUND_S = 0.15
RAMP = (0.13, 0.87)  # the part of a ramp that its straight line is fitted to
RAMP_FOOT = 0.08
MAX_BACK = 0.12
WHITE = 128
MIN_MIXED = 2
MAX_STEP = 0.45  # of the whole way, from one frame to the next
MAX_EASE = 0.3  # of the ramp's length, at each end
EASE_STEP = 0.004
MAX_FADE_RESIDUAL = 0.35
PLATEAU = 0.06
PLATEAU_S = 0.25
PLAIN_LEVEL = 40.0  # of 255, from black or white
PLAIN_CONTRAST = 4.0
NEARLY_PLAIN_CONTRAST = 12.0
SAME_LINE = 0.2
SAME_RAMP = 0.8
SAME_PICTURE = 0.65


@dataclass(frozen=True)
class Line:
    """The way from frame a to frame b: positions (float64 [b - a + 1], 0 at a, 1 at b) of the frames on it, and their
    distance from it, both in units of the distance between a and b.
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
    """The dissolve whose middle is about frame `center`, None if there is none."""
    found = _ends_around(trace, center)
    for a, b in found:
        fitted = _fit_dissolve(trace, a, b, center)
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
    possible = energy[center] < MAX_ENERGY * (LEAST**2 * ends[0] + (1 - LEAST) ** 2 * ends[1])
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
    good = (np.sqrt(square / thumbs.shape[1]) > MIN_DIFFERENCE) & (rest < MAX_RESIDUAL**2) & (excess < MAX_ENERGY)
    good &= (position > LEAST) & (position < 1 - LEAST)
    score = np.sqrt(np.maximum(rest, 0)) + np.abs(excess - 1)
    order = [int(i) for i in np.argsort(score) if good[i]]
    pairs = [(int(before[i]), int(after[i])) for i in order]
    return [pair for pair in pairs if _correlation(thumbs[pair[0]], thumbs[pair[1]]) < MAX_CORRELATION]


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    x, y = a.reshape(-1, 3) - a.reshape(-1, 3).mean(0), b.reshape(-1, 3) - b.reshape(-1, 3).mean(0)
    return float((x * y).sum() / (np.sqrt((x * x).sum() * (y * y).sum()) + 1e-9))


def _fit_dissolve(trace: FrameTrace, a: int, b: int, center: int) -> Transition | None:
    """Move the ends to just outside the ramp until they stay; None if the ramp is not one."""
    times = trace.times
    for _ in range(5):
        if not a < center < b:
            return None
        on = line(trace.thumbs, a, b, slice(a, b + 1))
        ramp = ramp_of(times[a : b + 1], on.positions, center - a)
        if ramp is None:
            return None
        start_s, end_s = ramp
        margin = max(1.6 * (times[b] - times[a]) / (b - a), 0.05 * (end_s - start_s))
        to_a = int(np.searchsorted(times, start_s - margin, side="right")) - 1
        to_b = int(np.searchsorted(times, end_s + margin))
        if to_a < 0 or to_b >= len(times) or times[to_b] - times[to_a] > 2 * HALVES_S[-1]:
            return None
        if (to_a, to_b) == (a, b):
            break
        a, b = to_a, to_b
    if not _is_dissolve(trace, a, b):
        return None
    first, last = _walk(trace, a, b, -1), _walk(trace, a, b, 1)
    return Transition(float(times[first + 1]), float(times[last]))


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


def ramp_of(times: NDArray[np.float64], positions: NDArray[np.float64], center: int) -> tuple[float, float] | None:
    """When a straight line through the positions around `center` is at 0 and at 1; None if they do not rise."""
    first = last = center
    while first > 0 and positions[first - 1] > RAMP[0]:
        first -= 1
    while last < len(positions) - 1 and positions[last + 1] < RAMP[1]:
        last += 1
    if last - first + 1 < MIN_MIXED:
        return None
    first, last = max(0, first - 1), min(len(positions) - 1, last + 1)
    slope, at_zero = np.polyfit(times[first : last + 1] - times[first], positions[first : last + 1], 1)
    if slope <= 0:
        return None
    start_s = float(times[first] - at_zero / slope)
    return start_s, start_s + float(1 / slope)


def _is_dissolve(trace: FrameTrace, a: int, b: int) -> bool:
    """The final test, with the frames just before and after the ramp as ends."""
    thumbs, energy = trace.thumbs, trace.energy
    if b - a < MIN_MIXED + 1 or _correlation(thumbs[a], thumbs[b]) > MAX_CORRELATION:
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
    return excess < MAX_ENERGY and float(np.median(rest[middle])) < MAX_RESIDUAL


def fade_to(trace: FrameTrace, plain: int) -> float | None:
    """When the fade that ends in the plain frame `plain` begins; None if there is none."""
    return _fade(trace, plain, -1, 0)


def fade_from(trace: FrameTrace, plain: int, until: int) -> float | None:
    """When the fade that begins in the plain frame `plain` ends, as seen in frames before `until`."""
    return _fade(trace, plain, 1, until - 1)


def _fade(trace: FrameTrace, plain: int, step: int, limit: int) -> float | None:
    times = trace.times
    longest: float | None = None
    for ramp_s in RAMPS_S:
        wanted_s = times[plain] + step * ramp_s
        full = trace.index(wanted_s) if step > 0 else int(np.searchsorted(times, wanted_s + 1e-6, side="right")) - 1
        if (full - limit) * step > 0 or not 0 <= full < len(times):
            full = limit
        if abs(full - plain) > MIN_MIXED and trace.contrast[full] >= MIN_CONTRAST:
            found = _fit_fade(trace, plain, full, step)
            if found is not None and not _goes_on(trace, plain, full, step, limit):
                return found
            longest = found or longest
        if full == limit:
            break
    return longest


def _fit_fade(trace: FrameTrace, plain: int, full: int, step: int) -> float | None:
    """The end of the ramp between a plain frame and one that may be past it; None if it is no ramp."""
    times = trace.times
    low, high = min(plain, full), max(plain, full)
    on = line(trace.thumbs, plain, full, slice(low, high + 1))
    x, rest = on.positions[::step], on.residuals[::step]  # from the plain frame outwards
    t = np.abs(times[low : high + 1] - times[plain])[::step]
    mixed = np.flatnonzero((x > RAMP[0]) & (x < RAMP[1]))
    if len(mixed) < MIN_MIXED or np.diff(x).max() > MAX_STEP or float(np.median(rest[mixed])) > MAX_FADE_RESIDUAL:
        return None
    stop = int(np.argmax(x > RAMP[1])) or len(x) - 1
    if np.diff(x[: stop + 1]).min() < -MAX_BACK or stop < MIN_MIXED:
        return None
    fit = slice(0, stop + 1)
    risen = x[fit] > RAMP_FOOT
    if risen.sum() < MIN_MIXED:
        return None
    slope, at_zero = np.polyfit(t[fit][risen], x[fit][risen], 1)
    if slope <= 0:
        return None
    ramp_s = (1 - at_zero) / slope
    if ramp_s > t[-1]:
        return None
    margin = max(1.6 * t[-1] / (len(t) - 1), 0.05 * ramp_s)
    return float(times[plain] + step * min(ramp_s + margin, float(t[-1])))


def _goes_on(trace: FrameTrace, plain: int, full: int, step: int, limit: int) -> bool:
    """Whether the frames past `full` are still more of the same picture: the ramp is longer."""
    times = trace.times
    past = full
    while past != limit and abs(times[past] - times[full]) < PLATEAU_S:
        past += step
    if past == full:
        return False
    low, high = min(full, past), max(full, past)
    on = line(trace.thumbs, plain, full, slice(low, high + 1))
    if np.any((on.positions > 1 + PLATEAU) & (on.residuals < SAME_LINE)):
        return True
    fuller = low + int(np.argmax(trace.contrast[low : high + 1]))
    rises = trace.contrast[fuller] > (1 + PLATEAU) * trace.contrast[full]
    return bool(rises) and _correlation(trace.thumbs[fuller], trace.thumbs[full]) > SAME_RAMP


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
