"""Ramps drawn by formula are found where they were drawn."""

from typing import Any

import numpy as np
import pytest

from shardpipe.scenes.rampfit import fit_ramp, fit_rise

TIMES = np.arange(60) / 25


def fit(curves: Any, first: Any, last: Any, times: Any = TIMES) -> Any:
    return fit_ramp(times, *curves, energy_weight=20, first=first, last=last)


def mixed(first: Any, last: Any, *, noise: Any = 0.0, times: Any = TIMES) -> Any:
    share = np.clip((times - times[first]) / (times[last] - times[first]), 0, 1)
    rng = np.random.default_rng(first)
    positions = share + noise * rng.normal(size=len(times))
    return positions, 30 * (1 - share) ** 2 * (1 + noise * rng.normal(size=len(times))) + 55 * share**2


@pytest.mark.parametrize(("first", "last"), [(20, 40), (5, 50), (28, 33), (1, 58)])
@pytest.mark.parametrize("guess", [(25, 35), (15, 45)])
def test_a_mix_of_two_scenes(first: Any, last: Any, guess: Any) -> None:
    ramp = fit(mixed(first, last), *guess)
    assert (ramp.first, ramp.last) == (first, last)
    assert max(ramp.position_error, ramp.energy_error) < 1e-6


def test_noise_moves_it_by_a_frame_or_two() -> None:
    ramp = fit(mixed(20, 40, noise=0.05), 24, 36)
    assert abs(ramp.first - 20) <= 2
    assert abs(ramp.last - 40) <= 2
    assert 0 < ramp.position_error < 0.03
    assert 0 < ramp.energy_error < 0.01


def test_times_count_not_frames() -> None:
    times = np.cumsum(np.where(np.arange(60) % 3, 0.02, 0.08))
    ramp = fit(mixed(21, 43, times=times), 25, 35, times)
    assert (ramp.first, ramp.last) == (21, 43)


def test_energy_that_does_not_dip_fits_badly() -> None:
    positions, _ = mixed(20, 40)
    ramp = fit((positions, np.full(60, 40.0)), 24, 36)
    assert ramp.position_error > 0.06 or ramp.energy_error > 0.012


def test_no_room() -> None:
    assert fit([each[:4] for each in mixed(20, 40)], 1, 2, TIMES[:4]) is None


@pytest.mark.parametrize("length", [4, 12, 40])
@pytest.mark.parametrize("foot", [0.0, 0.2])
def test_a_rise(length: Any, foot: Any) -> None:
    share = np.minimum(np.arange(60) / length, 1)
    found = fit_rise(TIMES, np.stack([foot * 8 * (1 - share) + 8 * share, 50 * share]))
    assert found is not None
    assert found[0] == length
    assert found[1] < 1e-6


def test_a_jump_and_a_fall_are_no_rise() -> None:
    jump = np.where(np.arange(60) > 0, 30.0, 0.0)[None]
    found = fit_rise(TIMES, jump)
    assert found is None or found[1] > 0.012
    assert fit_rise(TIMES, np.linspace(40, 5, 60)[None]) is None
    assert fit_rise(TIMES[:3], jump[:, :3]) is None
