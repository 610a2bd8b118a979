"""What an mp4's or mov's sample table says about its frames' times, without reading the frames."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.media.fields import SecondFields
from shardpipe.media.timeline import shown_at, video_packets

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
    end = _end(container, stream, last_dts=table[-1][0])
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


def _end(container: InputContainer, stream: VideoStream, *, last_dts: int) -> int | None:
    """When the last frame ends, from the packets after the last keyframe; None if it cannot be told from them."""
    try:
        container.seek(last_dts, stream=stream, backward=True)
    except av.FFmpegError:
        return None
    ends = [
        (at, packet.duration or 0)
        for packet in video_packets(container, stream)
        if not packet.is_discard and (at := shown_at(packet, by_dts=False)) is not None
    ]
    at, length = max(ends, default=(0, 0))
    return at + length if length > 0 else None
