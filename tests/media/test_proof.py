from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from shardpipe.media.proof import rate

RATES = [Fraction(12), Fraction(25), Fraction(30000, 1001), Fraction(60)]


def facts(fps: Fraction, *, ticks: int, is_vfr: bool = False) -> Any:
    return SimpleNamespace(fps=fps, time_base=Fraction(1, ticks), is_vfr=is_vfr)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("is_vfr", [True, False])
def test_a_constant_rate_is_the_same_number_in_clips_of_any_length(fps: Fraction, *, is_vfr: bool) -> None:
    assert {rate(n, n / fps, facts(fps, ticks=90_000, is_vfr=is_vfr)) for n in range(1, 500)} == {float(fps)}


@pytest.mark.parametrize("fps", RATES)
def test_it_is_the_sources_however_coarse_the_ticks(fps: Fraction) -> None:
    """A container that counts milliseconds gives lengths that are off by one of them at either end."""
    for n in range(1, 500):
        for off in (-1, 0, 1):
            assert rate(n, Fraction(round(n / fps * 1000) + off, 1000), facts(fps, ticks=1000)) == float(fps)


def test_a_variable_rate_is_the_average() -> None:
    assert rate(50, Fraction(4), facts(Fraction(25), ticks=1000, is_vfr=True)) == 12.5
    assert rate(50, Fraction(4), facts(Fraction(25), ticks=1000)) == 12.5  # a pause in a source that has hardly any
