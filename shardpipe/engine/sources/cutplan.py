"""The unit list of `cut`: which videos, or parts of a long one, make a unit. Pure, but for the look at each header.

A unit holds consecutive videos up to a number of bytes or seconds, whichever comes first; a video much longer than
that is split at nominal times, each part a unit of its own. Names follow the order of the list, so they depend on the
sources alone.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from shardpipe.core.columns import Columns, float64, int64, string
from shardpipe.engine.sources.sources import Found

MIN_UNITS = 16
"""A small collection is dealt to at least about so many units (one a video at most), so that all cores have work."""

SPLIT_FROM = 1.5
"""A video is split where it is longer than this many nominal units."""

PROBE_THREADS = 4

PART_COLUMNS: Columns = {
    "unit": string,
    "url": string,
    "size": int64,
    "etag": string,
    "container": string,  # the tar that the video is a member of
    "offset": int64,
    "part": int64,  # 0 for the first or only part of a video
    "start_edge_s": float64,  # nominal, on the source's own clock; null: the video's start
    "end_edge_s": float64,  # null: the video's end
    "cost": float64,  # bytes to read
}


@dataclass(frozen=True)
class Times:
    """When a video begins, and how long it is; seconds."""

    start_s: float
    duration_s: float


@dataclass(frozen=True)
class _Part:
    video: Found
    index: int
    start_edge_s: float | None
    end_edge_s: float | None
    num_bytes: float
    duration_s: float


def plan_units(
    videos: Sequence[Found],
    *,
    times_of: Callable[[Found], Times | None],
    shard_bytes: int,
    unit_s: float,
    first_unit: int = 0,
) -> list[dict[str, Any]]:
    """The rows of a batch of sources, one a part. `times_of` gives None for a video that cannot be read (one part)."""
    with ThreadPoolExecutor(PROBE_THREADS) as pool:  # headers are read in FFmpeg or from a store: no Python held
        times = list(pool.map(times_of, videos))
    parts = [part for video, at in zip(videos, times, strict=True) for part in _split(video, at, unit_s)]
    total = sum(part.num_bytes for part in parts)
    target = min(float(shard_bytes), max(1.0, total / MIN_UNITS))
    rows = []
    for number, unit in enumerate(_group(parts, target, unit_s)):
        rows += [_row(f"{first_unit + number:06d}", part) for part in unit]
    return rows


def _split(video: Found, times: Times | None, unit_s: float) -> list[_Part]:
    size = float(video.size or 0)
    if times is None or times.duration_s <= SPLIT_FROM * unit_s:
        return [_Part(video, 0, None, None, size, times.duration_s if times else 0.0)]
    count = math.ceil(times.duration_s / unit_s)
    edges = [None, *(times.start_s + i * unit_s for i in range(1, count)), None]
    return [_Part(video, i, edges[i], edges[i + 1], size / count, unit_s) for i in range(count)]


def _group(parts: Sequence[_Part], target_bytes: float, unit_s: float) -> Iterator[list[_Part]]:
    unit: list[_Part] = []
    num_bytes = duration_s = 0.0
    for part in parts:
        over = num_bytes + part.num_bytes > target_bytes or duration_s + part.duration_s > unit_s
        if unit and over:
            yield unit
            unit, num_bytes, duration_s = [], 0.0, 0.0
        unit.append(part)
        num_bytes += part.num_bytes
        duration_s += part.duration_s
    if unit:
        yield unit


def _row(unit: str, part: _Part) -> dict[str, Any]:
    video = part.video
    return {
        "unit": unit,
        "url": video.url,
        "size": video.size,
        "etag": video.etag,
        "container": video.container,
        "offset": video.offset,
        "part": part.index,
        "start_edge_s": part.start_edge_s,
        "end_edge_s": part.end_edge_s,
        "cost": part.num_bytes,
        **video.passthrough,
    }
