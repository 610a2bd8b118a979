"""Read the packets of an index again, and decode any of its frames: one opened container, seeks where they help."""

from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.media.decode import frames
from shardpipe.media.packets import NO_TIME, PacketIndex, rewind
from shardpipe.media.timeline import counts_frames, from_keyframe, video_packets

SEEK_BACK_S = (0.0, 1.0, 5.0, 30.0)
MAX_SKIP = 64
"""So many packets are rather read over than sought over."""

MORE_ENTRIES = (0, 1, 3)
"""How many keyframes earlier decoding begins, when it did not give the frames that the packets promise."""


class PacketReader:
    """The packets of an index by number. Packets that follow what was read last are read on, others are sought."""

    def __init__(self, container: InputContainer, stream: VideoStream, index: PacketIndex) -> None:
        self.container, self.stream, self.index = container, stream, index
        self.by_dts = counts_frames(container)
        self._packets: Iterator[Packet[VideoStream]] | None = None
        self._next = 0
        self._by_pos = np.argsort(index.pos, kind="stable")
        self._sorted_pos = index.pos[self._by_pos]

    def forget_place(self) -> None:
        """Others have moved the container: seek before the next packet."""
        self._packets = None

    def packets(self, first: int, stop: int) -> "Iterator[Packet[VideoStream]]":
        """Packets first .. stop - 1 of the index. Raises MediaError if they are not there any more."""
        if first >= stop:
            return
        packet = self._find(first)
        yield packet
        for number in range(first + 1, stop):
            found = next(self._packets, None) if self._packets else None
            if found is None or not self._is(found, number):
                self._packets = None
                raise MediaError(f"reading packet {number} again gave another packet")
            self._next = number + 1
            yield found

    def frames(self, start: int, end: int, *, expected: NDArray[np.int64]) -> Iterator[VideoFrame]:
        """The frames with start <= pts < end, in order. Raises MediaError if they are not those `expected`."""
        promised = [int(pts) for pts in expected]
        for earlier in MORE_ENTRIES:
            entry = self.index.entry_before(start, earlier=earlier)
            if entry is None or not self.index.timed:
                break
            given = self._exactly(entry, start, end, promised)
            first = next(given, None)
            if first is not None:
                yield first
                yield from given
                return
        yield from self._from_start(start, end, promised)

    def _exactly(self, entry: int, start: int, end: int, promised: list[int]) -> Iterator[VideoFrame]:
        """Frames decoded from `entry` on; nothing at all if the first is not the one that was promised."""
        stop = max(self.index.last_needed(end), entry + 1)
        number = 0
        for frame in frames(self._decodable(entry, stop, start), self.stream, by_dts=self.by_dts):
            pts = frame.pts or 0
            if pts < start:
                continue
            if number == len(promised) or pts != promised[number]:
                if number == 0:
                    return
                raise MediaError(f"decoding gave another frame than the packets promise at {self._seconds(pts):.3f} s")
            number += 1
            yield frame
            if number == len(promised):
                return
        if number:
            raise MediaError(f"decoding gave {number} of {len(promised)} frames from {self._seconds(start):.3f} s")

    def _decodable(self, entry: int, stop: int, start: int) -> "Iterator[Packet[VideoStream]]":
        """The packets to decode; those shown before `start` to which nothing refers are left out."""
        self._flush()
        skip = self.index.disposable & (self.index.at < start)
        for number, packet in enumerate(self.packets(entry, stop), entry):
            if not skip[number]:
                yield packet

    def _from_start(self, start: int, end: int, promised: list[int]) -> Iterator[VideoFrame]:
        """Decoded from the very first packet on: what every player shows, whatever the packets promise."""
        self._packets = None
        rewind(self.container, self.stream)
        self._flush()
        number = 0
        for frame in frames(from_keyframe(video_packets(self.container, self.stream)), self.stream, by_dts=self.by_dts):
            pts = frame.pts or 0
            if pts >= end:
                break
            if pts >= start:
                if number < len(promised) and pts == promised[number]:
                    number += 1
                yield frame
        if number < len(promised):
            at = self._seconds(promised[number])
            raise MediaError(f"the frame at {at:.3f} s cannot be decoded; {number} of {len(promised)} frames can")

    def _flush(self) -> None:
        context = self.stream.codec_context
        if context.is_open:
            context.flush_buffers()
            context.reorder_depth = max(context.reorder_depth, self.index.reorder)

    def _find(self, number: int) -> "Packet[VideoStream]":
        if self._packets is not None and self._next <= number <= self._next + MAX_SKIP:
            found = self._skip_to(number)
            if found is not None:
                return found
        base = self.stream.time_base or 1
        dts, at = int(self.index.dts[number]), int(self.index.at[number])
        target = at if dts == NO_TIME else min(dts, at)
        for back_s in SEEK_BACK_S:
            try:
                self.container.seek(target - round(back_s / base), stream=self.stream, backward=True)
            except av.FFmpegError:
                continue
            self._packets = video_packets(self.container, self.stream)
            found = self._skip_to(number)
            if found is not None:
                return found
        rewind(self.container, self.stream)
        self._packets = video_packets(self.container, self.stream)
        found = self._skip_to(number)
        if found is None:
            raise MediaError(f"the packet at {self._seconds(at):.3f} s cannot be found again")
        return found

    def _skip_to(self, number: int) -> "Packet[VideoStream] | None":
        for packet in self._packets or ():
            if self._is(packet, number):
                self._next = number + 1
                return packet
            if self._number_of(packet) > number:
                break
        self._packets = None
        return None

    def _is(self, packet: "Packet[VideoStream]", number: int) -> bool:
        pos = -1 if packet.pos is None else packet.pos
        if packet.size != self.index.size[number] or pos != self.index.pos[number]:
            return False
        return pos >= 0 or packet.pts is None or bool(packet.pts == self.index.at[number])

    def _number_of(self, packet: "Packet[VideoStream]") -> int:
        """The number of a packet in the index; -1 if it is not in it."""
        if packet.pos is None or packet.pos < 0:
            return -1
        place = int(np.searchsorted(self._sorted_pos, packet.pos))
        if place < len(self._sorted_pos) and self._sorted_pos[place] == packet.pos:
            return int(self._by_pos[place])
        return -1

    def _seconds(self, pts: int) -> float:
        return float(pts * (self.stream.time_base or 1))
