"""Joined reads: which ranges share one."""

import pytest

from shardpipe.storage.ranges import NEAR, Joined, join_ranges


def test_small_gaps_are_joined() -> None:
    ranges = [(0, 10), (15, 10), (100, 5), (26, 4)]
    assert join_ranges(ranges, near=5, max_gap=5, max_bytes=1000) == [Joined(0, 30, (0, 1, 3)), Joined(100, 5, (2,))]
    assert join_ranges(ranges, near=0, max_gap=0, max_bytes=1000) == [
        Joined(s, n, (i,)) for s, n, i in [(0, 10, 0), (15, 10, 1), (26, 4, 3), (100, 5, 2)]
    ]
    assert join_ranges([]) == []


def test_larger_gaps_are_joined_as_long_as_they_are_a_small_share() -> None:
    gaps = {"near": 0, "max_gap": 50, "max_bytes": 10_000}
    assert len(join_ranges([(0, 100), (110, 100)], spare=0.1, **gaps)) == 1  # 10 bytes of 200
    assert len(join_ranges([(0, 100), (121, 100)], spare=0.1, **gaps)) == 2
    assert len(join_ranges([(0, 900), (951, 900)], spare=0.1, **gaps)) == 2  # 51 bytes: too far
    every_second = [(i * 200, 100) for i in range(20)]
    assert len(join_ranges(every_second, spare=0.1, **gaps)) == 20


def test_nine_of_ten_clips_are_streamed_and_every_second_one_is_read_alone() -> None:
    clip = 200 << 10
    clips = [(i * (clip + 2048), clip) for i in range(200)]
    most = [each for i, each in enumerate(clips) if i % 10]
    reads = join_ranges(most)
    assert len(reads) < 10
    assert sum(read.length for read in reads) <= 1.13 * clip * len(most)
    few = clips[::2]
    assert [(read.start, read.length) for read in join_ranges(few)] == few


def test_a_read_has_a_limit() -> None:
    ranges = [(i * 10, 10) for i in range(10)] + [(100, 500)]
    reads = join_ranges(ranges, max_bytes=30)
    assert [read.length for read in reads] == [30, 30, 30, 10, 500]


def test_overlaps_and_doubles() -> None:
    ranges = [(0, 100), (10, 5), (0, 100), (50, 60)]
    assert join_ranges(ranges, near=0, max_gap=0) == [Joined(0, 110, (0, 2, 1, 3))]
    assert join_ranges([(0, 5), (5 + NEAR, 5)]) == [Joined(0, 10 + NEAR, (0, 1))]


def test_bad_ranges() -> None:
    for bad in ((-1, 5), (0, -1)):
        with pytest.raises(ValueError, match="bad range"):
            join_ranges([bad])
