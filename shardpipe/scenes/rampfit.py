"""Where a mix of two scenes begins and ends: the ramp that fits the frames around it best, by least squares. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_LENGTH = 3  # frames from the last of one scene to the first of the other
COARSE = 24  # steps that the length of a ramp is tried in, before the ends are tried frame by frame

MIN_RISE_S = 0.12
LEVEL_S = 0.3
MAX_FOOT = 0.3  # of the height


@dataclass(frozen=True)
class Ramp:
    """first: the last frame before the mixed ones. last: the first after them. position_error: the share of the
    positions' variance that the ramp leaves, 0 to 1. energy_error: the mean square of what the parabola leaves of the
    energy, in units of the energy's own mean square.
    """

    first: int
    last: int
    position_error: float
    energy_error: float


def fit_ramp(
    times: NDArray[np.float64],
    positions: NDArray[np.float64],
    energy: NDArray[np.float64],
    *,
    energy_weight: float,
    first: int,
    last: int,
) -> Ramp | None:
    """The best ramp with its middle where the frames `first` and `last` have theirs; None if there is no room for one.

    times: float64 [N], seconds. positions: float64 [N], on the way from one scene to the other. energy: float64 [N].
    With r = 0 before the ramp, 1 after it and linear on it, the positions are fitted by a (1 - r) + b r, the energies
    by A (1 - r)^2 + B r^2, A and B above 0. The best has the lowest position_error + energy_weight * energy_error.
    """
    middle, step = (first + last) // 2, max(1, (last - first) // COARSE)
    energy = energy / np.sqrt(np.mean(energy**2) + 1e-9)
    begins, ends = np.arange(1, middle, step), np.arange(middle + 1, len(times) - 1, step)
    ramp = _best(times, positions, energy, energy_weight, (begins, ends))
    if ramp is None or step == 1:
        return ramp
    begins = np.arange(max(1, ramp.first - step), ramp.first + step + 1)
    ends = np.arange(ramp.last - step, min(len(times) - 1, ramp.last + step + 1))
    return _best(times, positions, energy, energy_weight, (begins, ends))


def _best(
    times: NDArray[np.float64],
    positions: NDArray[np.float64],
    energy: NDArray[np.float64],
    energy_weight: float,
    tried: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Ramp | None:
    first, last = (each.ravel() for each in np.meshgrid(*tried, indexing="ij"))
    long_enough = last - first >= MIN_LENGTH
    first, last = first[long_enough], last[long_enough]
    if not len(first):
        return None
    start_s, length_s = times[first][:, None], (times[last] - times[first])[:, None]
    share = np.clip((times[None] - start_s) / length_s, 0, 1)
    _, left = _fit(1 - share, share, positions)
    position_error = left / (np.var(positions) * len(times) + 1e-9)
    energies, left = _fit((1 - share) ** 2, share**2, energy)
    energy_error = left / len(times)
    cost = position_error + energy_weight * energy_error
    cost[energies.min(0) <= 0] = np.inf
    best = int(np.argmin(cost))
    if not np.isfinite(cost[best]):
        return None
    return Ramp(int(first[best]), int(last[best]), float(position_error[best]), float(energy_error[best]))


def fit_rise(times: NDArray[np.float64], curves: NDArray[np.float64]) -> tuple[int, float] | None:
    """Where curves [C, N] that begin to rise at the first of `times` (seconds, from 0) stop rising.

    (index, mean square of what is left, in units of the squares of the heights): of all the lines that rise from near
    0 at the first and stay level for `LEVEL_S`, the best. None if they do not rise, or in less than `MIN_RISE_S`.
    """
    found: list[tuple[float, int]] = []
    for at in range(int(np.searchsorted(times, MIN_RISE_S)), int(np.searchsorted(times, times[-1] - LEVEL_S / 2))):
        until = int(np.searchsorted(times, times[at] + LEVEL_S))
        share = np.minimum(times[:until] / times[at], 1)[None]
        fits = [_fit(1 - share, share, curve[:until]) for curve in curves]
        if all(height > 0 and abs(foot) < MAX_FOOT * height for ((foot,), (height,)), _ in fits):
            left = [float(squares[0] / height[0] ** 2) for (_, height), squares in fits]
            found.append((sum(left) / until / len(curves), at))
    if not found:
        return None
    error, at = min(found)
    return at, error


def _fit(
    one: NDArray[np.float64], two: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares of values [N] by one and two [M, N]: the coefficients [2, M] and the squares left [M]."""
    on_one, on_two = one @ values, two @ values
    ones, twos, both = (np.einsum("ij,ij->i", a, b) for a, b in ((one, one), (two, two), (one, two)))
    det = ones * twos - both**2 + 1e-12
    a, b = (on_one * twos - on_two * both) / det, (on_two * ones - on_one * both) / det
    return np.stack([a, b]), values @ values - a * on_one - b * on_two
