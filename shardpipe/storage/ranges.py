"""Which ranges of an object share a read: on a bucket a request costs more than a few bytes that nobody wants.

A request takes 20 to 50 ms, most of which others in flight hide, and some milliseconds of CPU on both sides: as much as
a few hundred kilobytes. So gaps up to MAX_GAP are read over; but all of them together are at most a small share of what
is wanted, so that clips that a threshold drops are not read either. Where most of a tar is wanted, that reads it whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

NEAR = 8 << 10
"""What may lie between neighbours that are wanted both: headers and a sidecar. Read over whatever it adds up to."""

MAX_GAP = 1 << 20
SPARE = 1 / 8
"""Bytes that a read may hold in vain beside those of NEAR, as a share of those that are wanted."""

MAX_BYTES = 16 << 20
"""A request costs some 2 ms of CPU, with 8 MiB each a tenth of what reading takes; those of 24 MiB were no faster than these."""


@dataclass(frozen=True)
class Joined:
    """One read that serves several ranges: `members` are their indices, in order of their first byte."""

    start: int
    length: int
    members: tuple[int, ...]


def join_ranges(
    ranges: Sequence[tuple[int, int]],
    *,
    near: int = NEAR,
    max_gap: int = MAX_GAP,
    spare: float = SPARE,
    max_bytes: int = MAX_BYTES,
) -> list[Joined]:
    """The reads that fetch all `ranges` ((first byte, length) each, any order, overlaps allowed), in order.

    Ranges share a read within `max_bytes` where at most `near` bytes lie between them; or at most `max_gap`, and all such
    gaps of the read are at most the share `spare` of its wanted bytes. A longer range is alone.
    """
    joined: list[Joined] = []
    in_vain = wanted = 0  # of the last one
    for i in sorted(range(len(ranges)), key=lambda i: ranges[i]):
        start, length = ranges[i]
        if start < 0 or length < 0:
            raise ValueError(f"bad range: {length} bytes from {start} on")
        if joined:
            last = joined[-1]
            last_end = last.start + last.length
            end, gap = max(last_end, start + length), max(0, start - last_end)
            total = wanted + end - max(start, last_end)
            skipped = in_vain + (gap if gap > near else 0)
            if end - last.start <= max_bytes and (gap <= near or (gap <= max_gap and skipped <= spare * total)):
                joined[-1] = Joined(last.start, end - last.start, (*last.members, i))
                in_vain, wanted = skipped, total
                continue
        joined.append(Joined(start, length, (i,)))
        in_vain, wanted = 0, length
    return joined
