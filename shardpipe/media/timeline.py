"""When each frame of a video is shown, by its packets alone.

The rules, which decoding follows too (`decode.py`):

* A frame is shown at its packet's pts, or at its dts where it has none.
* AVI stores no presentation times, and FFmpeg's guesses are wrong for B-frames: there, the i-th frame shown has the
  i-th smallest dts.
* Not shown are frames that an edit list hides, VP8's hidden reference frames, packets before the first keyframe, and frames that come after the
  first keyframe but are shown before it (they refer to what is missing).
* Of two frames with one time, only one is shown.
* Two packets that hold the two fields of a frame are one frame, shown at the first one's time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.media.fields import SecondFields
from shardpipe.media.source import media_errors

AnyStream = TypeVar("AnyStream", VideoStream, AudioStream)

VP8_SHOW_FRAME = 0x10  # RFC 6386, 9.1: bit 4 of a frame's first byte
MAX_BACK_S = 1.0
"""dts that go back by more than this are a restarted clock (two recordings in one file), which is refused."""


@dataclass(frozen=True)
class Timeline:
    """pts: int64 [N], sorted and distinct, ticks of the stream's time base. end: the tick at which the last frame
    ends. num_bytes: of all video packets.
    """

    pts: NDArray[np.int64]
    end: int
    num_bytes: int


def counts_frames(container: InputContainer) -> bool:
    """Whether times must be counted from dts, as the container has no presentation times."""
    return container.format.name == "avi"


def shown_at(packet: "Packet[VideoStream]", *, by_dts: bool) -> int | None:
    """The tick at which a packet's frame is shown (of AVI: one of those ticks), None if it has no time at all."""
    if by_dts or packet.pts is None:
        return packet.dts
    return packet.pts


def is_shown(packet: "Packet[VideoStream]") -> bool:
    """False for a packet whose frame is decoded, but never shown."""
    if packet.is_discard:  # by an edit list
        return False
    return packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & VP8_SHOW_FRAME)


def video_packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """The stream's packets that hold data, in order of decoding. Raises MediaError."""
    return with_data(container.demux(stream))


def with_data(packets: "Iterator[Packet[AnyStream]]") -> "Iterator[Packet[AnyStream]]":
    """The packets of a demuxer that hold data. Raises MediaError."""
    while True:
        try:
            with media_errors("the container cannot be read on"):
                packet = next(packets, None)
        except IndexError:  # PyAV trips at the very end over streams that appeared on the way (MPEG-TS, FLV)
            return
        if packet is None:
            return
        if packet.size:
            yield packet


def from_keyframe(packets: "Iterable[Packet[VideoStream]]") -> "Iterator[Packet[VideoStream]]":
    """Packets from the first keyframe on. Raises MediaError where the clock restarts, and if there is no keyframe."""
    started, last = False, None
    for packet in packets:
        started = started or packet.is_keyframe
        if not started:
            continue
        if packet.dts is not None and not packet.is_discard:  # an edit list may have parts that overlap where hidden
            if last is not None and (last - packet.dts) * packet.time_base > MAX_BACK_S:
                at = float(last * packet.time_base)
                raise MediaError(f"timestamps restart after {at:.3f} s: split the file there, or remux it")
            last = packet.dts
        yield packet
    if not started:
        raise MediaError("it has no keyframe, so no frame can be decoded")


def timeline(packets: "Iterable[Packet[VideoStream]]", *, by_dts: bool) -> Timeline:
    """The timeline of a stream's packets (all of them, in order of decoding). Raises MediaError if nothing is shown."""
    times: list[int] = []
    lengths: list[int] = []
    num_bytes, first, seconds, is_last_shown = 0, None, None, False
    for packet in from_keyframe(packets):
        num_bytes += packet.size
        seconds = seconds or SecondFields(packet.stream)
        if seconds(packet):
            if is_last_shown and packet.pts is not None:
                lengths[-1] += packet.duration or 0
            continue
        at = shown_at(packet, by_dts=by_dts)
        if at is None:
            is_last_shown = False
            continue
        first = at if first is None else first
        is_last_shown = at >= first and is_shown(packet)
        if is_last_shown:
            times.append(at)
            lengths.append(packet.duration or 0)
    if not times:
        raise MediaError("it has no frame that can be shown")
    return Timeline(*_ends(np.array(times, np.int64), np.array(lengths, np.int64)), num_bytes)


def _ends(times: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Sorted distinct times, and where the last frame ends: by its own duration, else by the median distance."""
    pts, where = np.unique(times, return_index=True)
    usual = int(np.median(np.diff(pts))) if len(pts) > 1 else 1
    last = int(lengths[where[-1]])
    return pts, int(pts[-1]) + (last if last > 0 else max(1, usual))
