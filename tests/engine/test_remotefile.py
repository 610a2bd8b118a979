"""A remote object as a file: the right bytes, each fetched once, no more ahead than was read in order."""

import io
import random
from itertools import pairwise
from pathlib import Path

import pytest

from shardpipe.core.errors import StoreError
from shardpipe.engine.sources.remotefile import AHEAD_BYTES, READ_BYTES, Ranges, RemoteFile

DATA = random.Random(1).randbytes(3 << 20)


class Sent:
    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []
        self.broken = False

    def __call__(self, start: int, stop: int) -> tuple[int, bytes]:
        if self.broken:
            raise StoreError("away")
        self.asked.append((start, stop))
        return start, self.data[start:stop]

    def num_bytes(self) -> int:
        return sum(stop - start for start, stop in self.asked)


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_reads_gives_the_bytes_and_none_twice(tmp_path: Path, seed: int) -> None:
    rng, sent = random.Random(seed), Sent()
    folder = tmp_path if seed % 2 else None
    offset = rng.choice([0, 1000])
    with RemoteFile(sent, len(DATA) - 5000, name="x", folder=folder, offset=offset, ahead_bytes=1 << 20) as file:
        mine = DATA[offset : offset + len(DATA) - 5000]
        at = 0
        for _ in range(200):
            if rng.random() < 0.3:
                at = file.seek(rng.randrange(len(mine)))
            size = rng.choice([1, 500, 32 << 10, 300 << 10])
            assert file.read(size) == mine[at : at + size]
            at = file.tell()
        taken = sorted(sent.asked)
        assert all(before[1] <= after[0] for before, after in pairwise(taken))
        assert offset <= taken[0][0]
        assert taken[-1][1] <= offset + len(mine)
        assert file.seek(0, io.SEEK_END) == len(mine)
        assert file.read() == b""
    assert file.num_fetched == sent.num_bytes() <= len(mine)
    assert list(tmp_path.iterdir()) == []


def test_a_look_at_a_header_costs_a_header() -> None:
    sent = Sent()
    with RemoteFile(sent, len(DATA), name="x", folder=None) as file:
        file.read(100)
        file.seek(1 << 20)
        file.read(100)
        assert sent.asked == [(0, READ_BYTES), (1 << 20, (1 << 20) + READ_BYTES)]


def test_reads_in_order_are_fetched_ahead_in_large_requests() -> None:
    data = bytes(64 << 20)
    sent = Sent(data)
    with RemoteFile(sent, len(data), name="x", folder=None) as file:
        ahead = 0
        while file.read(READ_BYTES):
            ahead = max(ahead, max(stop for _, stop in sent.asked) - file.tell())
    assert sent.num_bytes() == len(data)
    assert len(sent.asked) < 60
    assert 1 << 20 < ahead <= AHEAD_BYTES


def test_what_did_not_come_is_an_error_each_time_it_is_needed() -> None:
    sent = Sent()
    with RemoteFile(sent, len(DATA), name="x", folder=None) as file:
        file.read(READ_BYTES)
        sent.broken = True
        for _ in range(2):
            file.seek(1 << 20)
            with pytest.raises(StoreError, match="away"):
                file.read(10)
        assert isinstance(file.failure, StoreError)
        sent.broken = False
        file.seek(1 << 20)
        assert file.read(10) == DATA[1 << 20 : (1 << 20) + 10]


def test_ranges() -> None:
    rng = random.Random(3)
    ranges, plain = Ranges(), [False] * 60
    for _ in range(300):
        start, stop = sorted(rng.choices(range(61), k=2))
        missing = [i for first, last in ranges.gaps(start, stop) for i in range(first, last)]
        assert missing == [i for i in range(start, stop) if not plain[i]]
        if rng.random() < 0.3:
            ranges.add(start, stop)
            plain[start:stop] = [True] * (stop - start)
        if rng.random() < 0.05:
            ranges, plain = Ranges(), [False] * 60
