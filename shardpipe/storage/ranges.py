"""Ranged reads of one object, joined over small gaps: on a bucket a request costs more than a few skipped bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shardpipe.storage.store import Store

MAX_GAP = 1 << 20
MAX_BYTES = 8 << 20  # larger buffers are fresh memory every time, which costs more than the calls that they save


@dataclass(frozen=True)
class Joined:
    """One read that serves several ranges: `members` are their indices, in order of their first byte."""

    start: int
    length: int
    members: tuple[int, ...]


def join_ranges(
    ranges: Sequence[tuple[int, int]], *, max_gap: int = MAX_GAP, max_bytes: int = MAX_BYTES
) -> list[Joined]:
    """The reads that fetch all `ranges` ((first byte, length) each, any order, overlaps allowed), in order.

    Ranges at most `max_gap` bytes apart share a read, as long as it stays within `max_bytes`; a longer range is alone.
    """
    joined: list[Joined] = []
    for i in sorted(range(len(ranges)), key=lambda i: ranges[i]):
        start, length = ranges[i]
        if start < 0 or length < 0:
            raise ValueError(f"bad range: {length} bytes from {start} on")
        if joined:
            last = joined[-1]
            end = max(last.start + last.length, start + length)
            if start - (last.start + last.length) <= max_gap and end - last.start <= max_bytes:
                joined[-1] = Joined(last.start, end - last.start, (*last.members, i))
                continue
        joined.append(Joined(start, length, (i,)))
    return joined


def read_ranges(
    store: Store,
    path: str,
    ranges: Sequence[tuple[int, int]],
    *,
    max_gap: int = MAX_GAP,
    max_bytes: int = MAX_BYTES,
) -> Iterator[tuple[int, memoryview]]:
    """(index, bytes) of each range, in order of its first byte; views of the shared reads, nothing is copied.

    At most one read is held at a time, unless the caller keeps a view. IntegrityError if the object ends too early.
    """
    for read in join_ranges(ranges, max_gap=max_gap, max_bytes=max_bytes):
        data = memoryview(store.read_range(path, read.start, read.length))
        for i in read.members:
            start, length = ranges[i]
            yield i, data[start - read.start : start - read.start + length]
