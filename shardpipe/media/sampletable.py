"""A video's frame times without reading all of it: by an mp4's or mov's sample table, else by its first and last packets."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.media.fields import SecondFields
from shardpipe.media.timeline import counts_frames, is_shown, shown_at, timeline, video_packets

SAMPLED = 64
"""So many of the first packets tell the rate of all."""

TAIL = 24
"""The frame that is shown last is among so many last packets: more than frames can be out of order."""

BACK_S = (1.0, 5.0, 30.0)
"""How long before a video's end its last packets are looked for."""

HEAD_SHOWN = 32
"""The first packets are read until so many are shown: more than frames can be out of order."""


@dataclass(frozen=True)
class Times:
    """start, end: ticks at which the first frame begins and the last one ends. num_bytes: of all video packets.
    distances: int64, ticks between frames.
    """

    start: int
    end: int
    num_frames: int
    num_bytes: int
    distances: NDArray[np.int64]


def table_times(container: InputContainer, stream: VideoStream, head: "list[Packet[VideoStream]]") -> Times | None:
    """A stream's times from its sample table, its first packets (`head` has those that were read already) and its
    last ones. None where there is no table, or where it does not tell all: a file that was cut off, or one that goes
    on in fragments. Leaves the container at its end.
    """
    index = stream.index_entries
    if not container.format.name.startswith("mov") or not stream.frames or not len(index):
        return None
    table = [(entry.timestamp, entry.pos + entry.size, entry.size, entry.is_discard) for entry in index]
    if max(end for _, end, _, _ in table) > container.size:
        return None
    starts = _starts(stream, chain(head, video_packets(container, stream)))
    end = _end(container, stream, from_dts=table[-min(len(table), TAIL)][0])
    if not starts or end is None or len(index) != len(table):
        return None
    first = shown_at(head[0], by_dts=False)
    shown = np.array([dts for dts, _, _, hidden in table if not hidden], np.int64)
    leading = sum(first is None or at < first for at in starts)
    if leading == len(starts) or not head[0].is_keyframe:
        return None
    start = min(at for at in starts if first is not None and at >= first)
    num_bytes = sum(size for _, _, size, _ in table)
    return Times(start, end, len(shown) - leading, num_bytes, np.diff(shown)) if end > start else None


def sampled_times(container: InputContainer, stream: VideoStream) -> Times | None:
    """The times of a stream of which nothing was read yet, from its first packets and its last ones, as if the frames between came
    at the rate of the first. None where the container does not say how long it is, or cannot seek there.
    """
    by_dts = counts_frames(container)
    if not container.duration or not stream.time_base:
        return None
    try:
        first = timeline(islice(video_packets(container, stream), SAMPLED), by_dts=by_dts).pts
        end_s = ((container.start_time or 0) + container.duration) / av.time_base
        last = _last(container, stream, end_s, by_dts=by_dts)
    except (av.FFmpegError, MediaError):
        return None
    if not last or max(last) < first[-1]:
        return None
    is_all = min(last) <= first[-1]
    shown = np.unique(np.concatenate([first, list(last)])) if is_all else first[: -SAMPLED // 4]  # others come between
    distances = np.diff(shown)
    usual = float(np.median(distances)) if len(distances) else 0.0
    start, end = int(first[0]), max(last) + (last[max(last)] or max(1, round(usual)))
    num_frames = len(shown) if is_all else round((end - start) / float(distances.mean()))
    return Times(start, end, max(1, num_frames), container.size, distances)


def _last(container: InputContainer, stream: VideoStream, end_s: float, *, by_dts: bool) -> dict[int, int]:
    """When the last frames are shown, and for how long (0: unknown), by the packets of a video's last second or more."""
    is_second = SecondFields(stream)
    for back_s in BACK_S:
        container.seek(int((end_s - back_s) / float(stream.time_base or 1)), stream=stream, backward=True)
        found: dict[int, int] = {}
        latest: int | None = None
        for packet in video_packets(container, stream):
            at = shown_at(packet, by_dts=by_dts)
            if is_second(packet) and latest is not None:
                found[latest] += packet.duration or 0
            elif at is not None and is_shown(packet):
                found[at], latest = packet.duration or 0, at
        if found:
            return found
    return {}


def _starts(stream: VideoStream, packets: "Iterable[Packet[VideoStream]]") -> list[int]:
    """When the first frames are shown that no edit list hides, in order of decoding; none if packets are not frames."""
    found: list[int] = []
    is_second = SecondFields(stream)
    for packet in packets:
        if is_second(packet):
            return []
        at = shown_at(packet, by_dts=False)
        if at is not None and not packet.is_discard:
            found.append(at)
        if len(found) == HEAD_SHOWN:
            break
    return found


def _end(container: InputContainer, stream: VideoStream, *, from_dts: int) -> int | None:
    """When the last frame ends, from the packets from `from_dts` on; None where it cannot be told from them, as an edit list
    hides some.
    """
    try:
        container.seek(from_dts, stream=stream, backward=True, any_frame=True)
    except av.FFmpegError:
        return None
    packets = list(video_packets(container, stream))
    if any(packet.is_discard for packet in packets):
        return None
    ends = [(at, packet.duration or 0) for packet in packets if (at := shown_at(packet, by_dts=False)) is not None]
    at, length = max(ends, default=(0, 0))
    return at + length if length > 0 else None
