"""One clip's packets in memory, and how to decode a few chosen frames out of them."""

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shardpipe.media.decode import frames
from shardpipe.media.motion import Gaps, reference_gaps
from shardpipe.media.pick import Clock, Indices
from shardpipe.media.timeline import is_shown, shown_at, timeline

if TYPE_CHECKING:
    from av.packet import Packet

PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive


class PacketStore:
    """All packets of a video stream, in order of decoding. Raises MediaError if no frame of them is shown."""

    def __init__(self, stream: VideoStream, packets: "list[Packet[VideoStream]]", *, by_dts: bool) -> None:
        self.stream = stream
        self._packets = packets
        self._by_dts = by_dts
        line = timeline(packets, by_dts=by_dts)
        self.clock = Clock(line.pts, line.end, float(stream.time_base or 1))
        self._at = [shown_at(packet, by_dts=by_dts) for packet in packets]
        self._keys = [i for i, packet in enumerate(packets) if packet.is_keyframe and self._at[i] is not None]

    @property
    def in_pieces(self) -> bool:
        """Whether each packet tells which frame it holds, so that some may be left out."""
        return not (self._by_dts and self.stream.codec_context.has_b_frames)

    @property
    def key_frames(self) -> Indices:
        """Which of the shown frames (indices into clock.pts) are keyframes."""
        times = [self._at[i] for i in self._keys if is_shown(self._packets[i])]
        return np.flatnonzero(np.isin(self.clock.pts, np.array(times, np.int64)))

    def reference_gaps(self) -> dict[int, Gaps]:
        """How far the references of each frame are, by its tick."""
        return reference_gaps(self.stream, self._packets, by_dts=self._by_dts)

    def decoded(self, wanted: list[int]) -> Iterator[VideoFrame]:
        """The frames shown at the wanted ticks (sorted), among others: only the parts that they need are decoded."""
        if not self.in_pieces:
            yield from self.decoded_whole()
            return
        for first, last in self._runs(wanted):
            yield from self._run(self._fed(first, last, frozenset(wanted)))

    def decoded_whole(self) -> Iterator[VideoFrame]:
        """All frames."""
        self.stream.codec_context.skip_frame = "DEFAULT"
        yield from self._run(iter(self._packets))

    def _run(self, packets: "Iterator[Packet[VideoStream]]") -> Iterator[VideoFrame]:
        self.stream.codec_context.flush_buffers()
        yield from frames(packets, self.stream, by_dts=self._by_dts)

    def _fed(self, first: int, last: int, wanted: frozenset[int]) -> "Iterator[Packet[VideoStream]]":
        """Packets first to last. The decoder is told to pass over frames that nobody wants and none refers to."""
        context = self.stream.codec_context
        sparing = context.name == "h264" and not self._by_dts and context.field_order in PROGRESSIVE
        for i in range(first, last + 1):
            if sparing:
                context.skip_frame = "DEFAULT" if self._at[i] in wanted else "NONREF"
            yield self._packets[i]

    def _runs(self, wanted: list[int]) -> list[tuple[int, int]]:
        """The parts to decode, as first and last packet: from the keyframe that a wanted frame needs to that frame."""
        runs: list[tuple[int, int]] = []
        for pts in wanted:
            holder = self._holders[pts]
            key = self._key_for(holder, pts)
            if runs and key <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(runs[-1][1], holder))
            else:
                runs.append((key, holder))
        return runs

    @cached_property
    def _holders(self) -> dict[int, int]:
        """By tick: the packet that holds the frame shown then."""
        packets = range(len(self._packets) - 1, -1, -1)
        return {at: i for i in packets if (at := self._at[i]) is not None and is_shown(self._packets[i])}

    def _key_for(self, holder: int, pts: int) -> int:
        """The last keyframe up to packet `holder` that is shown at or before `pts`."""
        before = bisect_right(self._keys, holder)
        return next((k for k in reversed(self._keys[:before]) if (self._at[k] or 0) <= pts), self._keys[0])
