"""Joined reads: what is joined, and that each range gets its own bytes."""

import os
from pathlib import Path

import pytest

from shardpipe.core.errors import IntegrityError
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.ranges import Joined, join_ranges, read_ranges
from shardpipe.storage.store import open_store


def test_small_gaps_are_joined() -> None:
    ranges = [(0, 10), (15, 10), (100, 5), (26, 4)]
    assert join_ranges(ranges, max_gap=5, max_bytes=1000) == [Joined(0, 30, (0, 1, 3)), Joined(100, 5, (2,))]
    assert join_ranges(ranges, max_gap=0, max_bytes=1000) == [
        Joined(s, n, (i,)) for s, n, i in [(0, 10, 0), (15, 10, 1), (26, 4, 3), (100, 5, 2)]
    ]
    assert join_ranges([], max_gap=5) == []


def test_a_read_has_a_limit() -> None:
    ranges = [(i * 10, 10) for i in range(10)] + [(100, 500)]
    reads = join_ranges(ranges, max_bytes=30)
    assert [read.length for read in reads] == [30, 30, 30, 10, 500]


def test_overlaps_and_doubles() -> None:
    assert join_ranges([(0, 100), (10, 5), (0, 100), (50, 60)], max_gap=0) == [Joined(0, 110, (0, 2, 1, 3))]


def test_bad_ranges() -> None:
    for bad in ((-1, 5), (0, -1)):
        with pytest.raises(ValueError, match="bad range"):
            join_ranges([bad])


def test_each_range_gets_its_bytes(tmp_path: Path) -> None:
    store = RecordingStore(open_store(str(tmp_path)))
    data = os.urandom(10_000)
    store.create("a", data)
    ranges = [(i * 37 % 9_000, i * 13 % 700) for i in range(60)]
    found = dict(read_ranges(store, "a", ranges, max_gap=50, max_bytes=2_000))
    assert {i: bytes(view) for i, view in found.items()} == {i: data[s : s + n] for i, (s, n) in enumerate(ranges)}
    reads = [op for op in store.operations if op.name == "read_range"]
    assert len(reads) == len(join_ranges(ranges, max_gap=50, max_bytes=2_000)) < 20


def test_a_short_object(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.create("a", b"x" * 100)
    with pytest.raises(IntegrityError, match="ends too early"):
        list(read_ranges(store, "a", [(0, 10), (95, 10)]))
