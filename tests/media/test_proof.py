from fractions import Fraction

import pytest

from shardpipe.media.proof import rate


@pytest.mark.parametrize("fps", [Fraction(12), Fraction(25), Fraction(30000, 1001), Fraction(60)])
def test_a_constant_rate_is_the_same_number_in_clips_of_any_length(fps: Fraction) -> None:
    assert {rate(n, n / fps) for n in range(1, 500)} == {float(fps)}
