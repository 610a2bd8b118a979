"""Kendall's tau-b and its p-value against definitions worked out by brute force."""

import itertools
import math

import numpy as np
import pytest

from shardpipe.stages._kendall import kendall

SERIES = [
    ([1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5]),
    ([1, 1, 2, 3, 3, 3], [1, 2, 2, 3, 1, 3]),
    ([0.5, -1, 0.5, 2, 2, 7], [1, 1, 1, 0, 3, 0]),
    ([4, 4, 1, 2, 2, 4], [6, 5, 4, 3, 2, 1]),
]


def surplus(a: list[float], b: list[float]) -> int:
    """Concordant less discordant pairs."""
    signs = [(x > y) - (x < y) for x, y in itertools.combinations(a, 2)]
    others = [(x > y) - (x < y) for x, y in itertools.combinations(b, 2)]
    return sum(one * two for one, two in zip(signs, others, strict=True))


@pytest.mark.parametrize(("a", "b"), SERIES)
def test_tau_is_the_surplus_over_the_untied_pairs(a: list[float], b: list[float]) -> None:
    untied = [sum(x != y for x, y in itertools.combinations(each, 2)) for each in (a, b)]
    assert kendall(np.array(a), np.array(b))[0] == pytest.approx(
        surplus(a, b) / math.sqrt(math.prod(untied)), abs=1e-12
    )


@pytest.mark.parametrize(("a", "b"), SERIES)
def test_p_is_normal_with_the_variance_over_all_orders(a: list[float], b: list[float]) -> None:
    """The variance with its corrections for ties is that of the surplus over all 720 orders of one series."""
    variance = np.mean([surplus(a, list(order)) ** 2 for order in itertools.permutations(b)])
    expected = math.erfc(abs(surplus(a, b)) / math.sqrt(2 * variance))
    assert kendall(np.array(a), np.array(b))[1] == pytest.approx(expected, rel=1e-9)


def test_a_published_pair() -> None:
    """Of ten pairs 8 and 9 are untied in the two series, and 4 more are discordant than concordant."""
    tau, p = kendall(np.array([12, 2, 1, 12, 2]), np.array([1, 4, 7, 1, 0]))
    assert tau == pytest.approx(-4 / math.sqrt(8 * 9), abs=1e-12)
    assert p == pytest.approx(0.2827454599327748, rel=1e-9)


def test_a_hundred_points_in_float32() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=100).astype(np.float32)
    assert kendall(a, a)[0] == 1
    assert kendall(a, -a)[0] == -1
    assert kendall(a, a)[1] < 1e-20
    assert kendall(a, rng.normal(size=100))[1] > 0.01


@pytest.mark.parametrize(("a", "b"), [([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2], [2, 1]), ([], [])])
def test_nothing_to_rank_is_nan(a: list[float], b: list[float]) -> None:
    assert all(math.isnan(value) for value in kendall(np.array(a), np.array(b)))
