"""Which clip goes to which shard, and at which place. All pure: the same clips and settings give the same shards.

Clips keep their order (that of the unit list), or are dealt in a random one that only seed and keys decide. A shard is
closed as soon as its tar reaches the target, so it is at most one clip larger, and only the last of a bucket is smaller.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

BLOCK = 512
END_BYTES = 2 * BLOCK
"""The end mark of a tar."""


@dataclass(frozen=True)
class Packable:
    """A clip to pack. `num_bytes`: what it takes in a tar, headers and padding included; `bucket`: the values it shares."""

    key: str
    num_bytes: int
    bucket: tuple[Any, ...] = field(default=())


def member_bytes(size: int) -> int:
    """What a member of `size` bytes takes in a tar: its header, and itself in whole blocks."""
    return BLOCK + -(-size // BLOCK) * BLOCK


def sample_bytes(sizes: Iterable[int]) -> int:
    """What a clip with members of these sizes takes in a tar."""
    return sum(member_bytes(size) for size in sizes)


def pack(clips: Sequence[Packable], *, shard_bytes: int, shuffle: int | None = None) -> list[list[int]]:
    """The shards in order, each the places of its clips in `clips`, in order. No shard is empty.

    `shuffle` is a seed. With buckets, a shard holds clips of one bucket, and buckets come in order of their values
    (null first).
    """
    order = list(range(len(clips)))
    if shuffle is not None:
        order.sort(key=lambda i: (shuffled_rank(clips[i].key, seed=shuffle), clips[i].key))
    order.sort(key=lambda i: bucket_rank(clips[i].bucket))  # stable: the order within a bucket stays
    shards = []
    for _, bucket in groupby(order, key=lambda i: bucket_rank(clips[i].bucket)):
        shards += _fill([(i, clips[i].num_bytes) for i in bucket], shard_bytes)
    return shards


def shuffled_rank(key: str, *, seed: int) -> bytes:
    """Where a clip stands in the order that a seed gives: sha256 of `SEED:KEY`."""
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()


def bucket_rank(bucket: tuple[Any, ...]) -> tuple[tuple[bool, Any], ...]:
    """Sorts buckets by their values, null before everything else."""
    return tuple((value is not None, value if value is not None else 0) for value in bucket)


def _fill(clips: Sequence[tuple[int, int]], shard_bytes: int) -> list[list[int]]:
    """(place, bytes) of each clip to shards: one is closed when it has reached `shard_bytes`."""
    shards: list[list[int]] = []
    left = 0
    for place, num_bytes in clips:
        if left <= 0:
            shards.append([])
            left = shard_bytes - END_BYTES
        shards[-1].append(place)
        left -= num_bytes
    return shards
