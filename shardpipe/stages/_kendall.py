"""Kendall's rank correlation."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_VALUES = 3


def kendall(a: NDArray[Any], b: NDArray[Any]) -> tuple[float, float]:
    """Tau-b of two series [N], -1 to 1, and the two-sided p-value that they are unrelated; N is a few hundred at most.

    M. G. Kendall, "Rank Correlation Methods", 1970: tau-b divides the surplus of concordant pairs by the geometric mean
    of the pairs not tied in either series; p is that of the normal distribution of the surplus with its variance
    under ties. Both are NaN where all of a series is one value, or there are fewer than three.
    """
    count = len(a)
    if count < MIN_VALUES:
        return math.nan, math.nan
    surplus = float((np.sign(a[:, None] - a) * np.sign(b[:, None] - b)).sum()) / 2
    (ties_a, far_a, odd_a), (ties_b, far_b, odd_b) = _ties(a), _ties(b)
    pairs = count * (count - 1) / 2
    untied = (pairs - ties_a) * (pairs - ties_b)
    if untied <= 0:
        return math.nan, math.nan
    variance = (count * (count - 1) * (2 * count + 5) - far_a - far_b) / 18
    variance += ties_a * ties_b / pairs + odd_a * odd_b / (9 * count * (count - 1) * (count - 2))
    tau = max(-1.0, min(1.0, surplus / math.sqrt(untied)))
    return tau, math.erfc(abs(surplus) / math.sqrt(2 * variance))


def _ties(values: NDArray[Any]) -> tuple[float, float, float]:
    """Over the groups of t equal values: the sums of t (t - 1) / 2, t (t - 1) (2 t + 5) and t (t - 1) (t - 2)."""
    t = np.unique(values, return_counts=True)[1].astype(np.float64)
    return (
        float((t * (t - 1) / 2).sum()),
        float((t * (t - 1) * (2 * t + 5)).sum()),
        float((t * (t - 1) * (t - 2)).sum()),
    )
