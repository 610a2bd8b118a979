"""Which frames a request gets, from times alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpipe.core.frames import Fractions, FrameRequest, Numbers, Pairs, Rate, Sampling, Uniform
from shardpipe.media.pick import Clock, exact, from_keyframes, on_screen, picture_size, wanted_times


def clock_of(times: list[int], last: int = 40, base: float = 0.001) -> Clock:
    return Clock(np.array(times, np.int64), times[-1] + last, base)


def picked(sampling: Sampling, clock: Clock) -> list[int]:
    return exact(FrameRequest(sampling), clock).tolist()


STEADY = clock_of([0, 40, 80, 120, 160, 200, 240, 280, 320, 360])  # 25 fps, 0.4 s


def test_uniform_takes_the_middle_of_equal_parts() -> None:
    assert picked(Uniform(1), STEADY) == [5]
    assert picked(Uniform(2), STEADY) == [2, 7]
    assert picked(Uniform(50), STEADY) == list(range(10))


def test_fractions_reach_from_the_first_to_the_last_frame() -> None:
    assert picked(Fractions((0.0, 0.5, 1.0)), STEADY) == [0, 5, 9]
    assert picked(Fractions((0.99, 0.0)), STEADY) == [0, 9]


def test_rate_is_by_time_and_bounded() -> None:
    assert picked(Rate(5), STEADY) == [0, 5]
    assert picked(Rate(25), STEADY) == list(range(10))
    assert picked(Rate(1000), STEADY) == list(range(10))
    assert picked(Rate(1, min_frames=4), STEADY) == [0, 2, 5, 7]
    assert picked(Rate(1, min_frames=40), STEADY) == list(range(10))
    assert picked(Rate(25, max_frames=2), STEADY) == [0, 5]


def test_numbers_are_those_of_frames_and_beyond_the_end_the_last_frame_once() -> None:
    assert picked(Numbers((0, 3, 9)), STEADY) == [0, 3, 9]
    assert picked(Numbers((9, 3, 3, 10, 400)), STEADY) == [3, 9]
    assert picked(Numbers((10,)), STEADY) == [9]
    assert picked(Numbers((0, 10, 20, 30)), STEADY) == [0, 9]
    uneven = clock_of([0, 400, 410, 900])
    assert picked(Numbers((1, 2)), uneven) == [1, 2]
    assert wanted_times(FrameRequest(Numbers((1, 7, 8))), uneven) == pytest.approx([0.4, 0.9])
    for wrong in ((), (-1, 3)):
        with pytest.raises(ValueError, match="count from 0"):
            Numbers(wrong)


def test_pairs_are_spread_over_the_clip() -> None:
    seconds = clock_of(list(range(0, 4000, 40)))  # 4 s at 25 fps
    assert picked(Pairs(1, gap_s=0.12, max_pairs=8), seconds) == [11, 14, 36, 39, 61, 64, 86, 89]
    assert picked(Pairs(1, gap_s=0.12, max_pairs=2), seconds) == [23, 26, 73, 76]
    assert picked(Pairs(0.1, gap_s=0.12, max_pairs=8), seconds) == [48, 51]
    assert picked(Pairs(25, gap_s=0.04, max_pairs=99), clock_of([0, 40, 80, 120, 160])) == [0, 1, 2, 3]
    slow = clock_of([0, 500, 1000, 1500], 500)  # neighbours where frames are further apart than the gap
    assert picked(Pairs(1, gap_s=0.1, max_pairs=8), slow) == [0, 1, 2, 3]
    assert picked(Pairs(9, gap_s=0.1, max_pairs=8), clock_of([0])) == [0]
    assert picked(Pairs(9, gap_s=9.0, max_pairs=8), clock_of([0, 40])) == [0, 1]


def test_rate_does_not_depend_on_fps() -> None:
    at = [wanted_times(FrameRequest(Rate(4)), clock_of(list(range(0, 2000, step)), step)) for step in (10, 20, 40, 100)]
    assert all(np.array_equal(times, at[0]) for times in at)


def test_rounded_times_lose_no_frame() -> None:
    thirtieths = clock_of([round(i * 1000 / 30) for i in range(300)], 33)
    assert picked(Rate(30), thirtieths) == list(range(300))
    assert picked(Rate(15), thirtieths) == list(range(0, 300, 2))
    avi = Clock(np.arange(50), 50, 0.04)  # the tick is a whole frame: no slack there
    assert on_screen(avi, np.array([0.075, 0.081])).tolist() == [1, 2]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(20, 400), min_size=1, max_size=40),
    st.lists(st.floats(0, 20), min_size=1, max_size=20),
)
def test_the_last_frame_at_or_before_each_time(steps: list[int], times: list[float]) -> None:
    pts = np.cumsum([7, *steps[:-1]]).tolist()
    clock = clock_of(pts, steps[-1])
    wanted = np.array(times)
    slack = min(0.5, 0.05 * float(np.median(np.diff(pts)))) if len(pts) > 1 else 0.05
    naive = {max([i for i, p in enumerate(pts) if p - 7 <= t / 0.001 + slack], default=0) for t in times}
    assert on_screen(clock, wanted).tolist() == sorted(naive)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=60),
    st.one_of(
        st.builds(Uniform, st.integers(1, 50)),
        st.builds(Rate, st.floats(0.1, 60), st.integers(1, 30), st.none() | st.integers(1, 30)),
        st.builds(Fractions, st.lists(st.floats(0, 1), min_size=1, max_size=9).map(tuple)),
        st.builds(Pairs, st.floats(0.1, 9), st.floats(0.001, 0.5), st.integers(1, 30)),
        st.builds(Numbers, st.lists(st.integers(0, 90), min_size=1, max_size=9).map(tuple)),
    ),
)
def test_always_some_distinct_frames_in_order(steps: list[int], sampling: Sampling) -> None:
    clock = clock_of(np.cumsum(steps).tolist(), steps[-1])
    found = picked(sampling, clock)
    assert found == sorted(set(found))
    assert len(found) >= 1
    assert 0 <= found[0] <= found[-1] < len(steps)
    if isinstance(sampling, Rate):
        assert len(found) >= min(sampling.min_frames, len(steps), sampling.max_frames or 99)
        assert len(found) <= max(sampling.max_frames or 10**6, sampling.min_frames)
    if isinstance(sampling, Pairs):
        assert len(found) == 1 if len(steps) == 1 else len(found) % 2 == 0
        assert len(found) <= 2 * sampling.max_pairs
    if isinstance(sampling, Numbers):
        assert set(found) == {min(number, len(steps) - 1) for number in sampling.at}
    assert from_keyframes([FrameRequest(sampling, tolerance_s=1e-9)], clock, np.arange(len(steps))) is not None or (
        isinstance(sampling, Uniform | Rate | Fractions)
    )


def test_keyframes_serve_only_where_all_tolerate_them() -> None:
    clock = clock_of(list(range(0, 4000, 40)))  # 4 s
    keys = np.array([0, 25, 50, 75])  # one a second
    loose = FrameRequest(Uniform(4), tolerance_s=0.6)
    assert [p.tolist() for p in from_keyframes([loose], clock, keys) or []] == [[0, 25, 50, 75]]
    assert from_keyframes([loose, FrameRequest(Uniform(1))], clock, keys) is None
    assert from_keyframes([FrameRequest(Uniform(4), tolerance_s=0.4)], clock, keys) is None  # 0.5 s away
    assert from_keyframes([FrameRequest(Uniform(8), tolerance_s=5)], clock, keys) is None  # fewer than asked for
    assert from_keyframes([loose], clock, keys[:0]) is None
    numbered = FrameRequest(Numbers((24, 51)), tolerance_s=0.05)
    assert [p.tolist() for p in from_keyframes([numbered], clock, keys) or []] == [[25, 50]]
    assert from_keyframes([FrameRequest(Numbers((24, 26)), tolerance_s=0.05)], clock, keys) is None  # one for both
    assert from_keyframes([FrameRequest(Numbers((0, 12)), tolerance_s=0.4)], clock, keys) is None  # 0.48 s away
    assert from_keyframes([FrameRequest(Pairs(1, gap_s=0.1, max_pairs=2), tolerance_s=0.6)], clock, keys) is None


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        (FrameRequest(Uniform(1), long_side=256), (256, 144)),
        (FrameRequest(Uniform(1), short_side=72), (128, 72)),
        (FrameRequest(Uniform(1), long_side=4000), (1280, 720)),
        (FrameRequest(Uniform(1)), (1280, 720)),
        (FrameRequest(Uniform(1), long_side=1), (1, 1)),
    ],
)
def test_sizes_keep_aspect_and_never_grow(request_: FrameRequest, size: tuple[int, int]) -> None:
    assert picture_size(request_, (1280, 720)) == size
    assert picture_size(request_, (720, 1280)) == size[::-1]
