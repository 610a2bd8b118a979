"""Reading ahead: order, joining, the bound, and whose error is whose."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardpipe.core.errors import IntegrityError, StoreError
from shardpipe.engine.readahead import ReadAhead, read_all
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.store import open_store

WAIT_S = 20


class _Reads(RecordingStore):
    """Counts the reads that have begun, and lets them end when `open` is set."""

    def __init__(self, folder: Path, data: bytes) -> None:
        super().__init__(open_store(str(folder)))
        self.inner.create("a", data)
        self.open = threading.Event()
        self.begun: list[tuple[int, int]] = []

    def read_range(self, path: str, start: int, length: int) -> bytes:
        self.begun.append((start, length))
        assert self.open.wait(WAIT_S)
        return super().read_range(path, start, length)


@pytest.fixture
def data() -> bytes:
    return os.urandom(40_000)


@pytest.fixture
def reads(tmp_path: Path, data: bytes) -> Iterator[_Reads]:
    store = _Reads(tmp_path, data)
    yield store
    store.open.set()


def _until(reads: _Reads, count: int) -> None:
    for _ in range(WAIT_S * 100):
        if len(reads.begun) >= count:
            return
        threading.Event().wait(0.01)
    raise AssertionError(reads.begun)


def test_neighbours_share_reads_several_of_which_are_in_flight(reads: _Reads, data: bytes) -> None:
    places = [(i * 1000, 900) for i in range(40)]
    with ReadAhead(reads, max_bytes=40_000, read_bytes=5_000) as ahead:
        wanted = [ahead.want("a", *place) for place in places]
        assert not reads.begun
        ahead.go()
        _until(reads, 8)  # none has ended yet
        reads.open.set()
        assert [each.read() for each in wanted] == [data[start : start + length] for start, length in places]
    assert sorted(reads.begun) == [(i * 5_000, 4_900) for i in range(8)]


def test_no_more_is_read_ahead_than_was_asked_for(reads: _Reads, data: bytes) -> None:
    reads.open.set()
    with ReadAhead(reads, max_bytes=5_000, read_bytes=1_000) as ahead:
        wanted = [ahead.want("a", i * 1000, 1000) for i in range(40)]
        ahead.go()
        for i, each in enumerate(wanted):
            assert each.read() == data[i * 1000 : i * 1000 + 1000]
            assert sum(length for _, length in reads.begun) <= (i + 1) * 1000 + 5_000
    assert len(reads.begun) == 40


def test_whoever_waits_is_served_over_the_limit(reads: _Reads, data: bytes) -> None:
    reads.open.set()
    with ReadAhead(reads, max_bytes=1_000, read_bytes=1_000) as ahead:
        wanted = [ahead.want("a", i * 1000, 1000) for i in range(40)]
        ahead.go()
        assert [each.read() for each in reversed(wanted)] == [
            data[i * 1000 : i * 1000 + 1000] for i in range(39, -1, -1)
        ]


def test_a_long_range_is_several_reads(reads: _Reads, data: bytes) -> None:
    reads.open.set()
    with ReadAhead(reads, max_bytes=9_000, read_bytes=3_000) as ahead:
        first, second = ahead.want("a", 5, 10_000), ahead.want("a", 20_000, 9_001)
        ahead.go()
        assert b"".join(bytes(piece) for piece in first.pieces()) == data[5:10_005]
        assert second.read() == data[20_000:29_001]
    assert max(length for _, length in reads.begun) <= 3_000


def test_the_end_of_an_object_is_the_error_of_those_beyond_it(reads: _Reads, data: bytes) -> None:
    reads.open.set()
    with ReadAhead(reads, max_bytes=1_000, read_bytes=1_000) as ahead:
        wanted = [ahead.want("a", start, 400) for start in (39_200, 39_610, 39_700)]
        gone, after = ahead.want("b", 0, 10), ahead.want("a", 0, 10)
        ahead.go()
        assert wanted[0].read() == data[39_200:39_600]
        for each in wanted[1:]:
            with pytest.raises(IntegrityError, match="ends too early"):
                each.read()
        with pytest.raises(FileNotFoundError):
            read_all([gone, after])
        later = [ahead.want("a", i * 1000, 1000) for i in range(3)]  # nothing of the failed ones is held
        ahead.go()
        _until(reads, 7)
        assert [len(each.read()) for each in later] == [1000] * 3


def test_nothing_is_begun_after_the_end(reads: _Reads) -> None:
    ahead = ReadAhead(reads)
    wanted = ahead.want("a", 0, 10)
    ahead.close()
    with pytest.raises(StoreError, match="given up"):
        wanted.read()
    assert not reads.begun
