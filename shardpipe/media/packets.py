"""All packets of a video (or of a window of it): their times, and where decoding and copying may begin and end.

The index is made once, by reading the packets without decoding. Times follow `timeline.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.media.access import Access, Scanner
from shardpipe.media.fields import SecondFields
from shardpipe.media.nal import ParameterSets
from shardpipe.media.timeline import counts_frames, from_keyframe, is_shown, shown_at, video_packets

WINDOW_BACK_S = (0.0, 2.0, 10.0, 30.0, 120.0)
"""How far before a window the keyframe lies from which packets are read, at most: its first frames may need one or two more."""

MAX_TAIL = 32
MAX_REORDER = 16
"""FFmpeg ends the process where it is told of more."""

BEFORE_ALL_S = 30.0
NO_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True)
class PacketIndex:
    """The packets in order of decoding. All arrays have length N; times are ticks of the stream's time base.

    at: int64, when the frame is shown. dts: int64, NO_TIME where unknown. pos, size: int64, bytes in the file (pos -1
    where unknown). access: uint8, an Access. disposable: no other frame refers to it. shown: it is shown at all.
    end: when the last frame ends. sets: parameter sets seen (H.264). steady: no parameter set changes on the way.
    lossless: some of it may be coded without loss (H.264).
    timed: each packet's time is its own frame's (not so in AVI with B-frames), and each is there once.
    """

    at: NDArray[np.int64]
    dts: NDArray[np.int64]
    pos: NDArray[np.int64]
    size: NDArray[np.int64]
    access: NDArray[np.uint8]
    disposable: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    end: int
    sets: ParameterSets
    length_bytes: int
    steady: bool
    lossless: bool
    timed: bool

    @cached_property
    def frame_pts(self) -> NDArray[np.int64]:
        """When frames are shown, sorted and distinct."""
        return np.unique(self.at[self.shown])

    @cached_property
    def _max_before(self) -> NDArray[np.int64]:
        """int64 [N]: the latest time among packets 0 .. i."""
        return np.maximum.accumulate(self.at)

    @cached_property
    def _min_after(self) -> NDArray[np.int64]:
        """int64 [N + 1]: the earliest time among packets i .. N - 1."""
        later = np.minimum.accumulate(self.at[::-1])[::-1]
        return np.append(later, np.iinfo(np.int64).max)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """All i > 0 such that packets before i are exactly those shown before packet i and all after it."""
        return np.flatnonzero(self._max_before < self._min_after[1:]) + 1

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Packets at which a copy may start: decoding can begin there, and nothing after it is shown before it."""
        first = self.access == Access.CLEAN
        alone = self.at < self._min_after[1:]
        follows = np.append(NO_TIME, self._max_before[:-1]) < self.at
        return np.flatnonzero(first & alone & follows & self.shown)

    @cached_property
    def entries(self) -> NDArray[np.int64]:
        """Packets from which decoding gives all frames shown at or after that packet's own."""
        return np.flatnonzero(self.access != Access.NONE)

    @cached_property
    def reorder(self) -> int:
        """The most packets that come before one that is shown before them; no codec can have more than MAX_REORDER."""
        order = np.argsort(np.argsort(self.at, kind="stable"), kind="stable")
        return int(min(MAX_REORDER, max(0, (np.arange(len(order)) - order).max(initial=0))))

    @cached_property
    def longest_tail(self) -> int:
        """The most frames that may lie between two places at which a copy may end; at most MAX_TAIL."""
        gaps = np.diff(np.concatenate([[0], self._ends]))
        return int(min(MAX_TAIL, gaps.max(initial=1)))

    def frames_between(self, start: int, end: int) -> NDArray[np.int64]:
        """The times of the frames with start <= pts < end."""
        low, high = np.searchsorted(self.frame_pts, (start, end))
        return self.frame_pts[low:high]

    def frame_end(self, pts: int) -> int:
        """When the frame shown at `pts` ends: the next frame's time, or the end of all."""
        at = int(np.searchsorted(self.frame_pts, pts, side="right"))
        return int(self.frame_pts[at]) if at < len(self.frame_pts) else self.end

    def start_after(self, pts: int) -> int | None:
        """The first packet shown at or after `pts` at which a copy may start."""
        at = int(np.searchsorted(self.at[self.starts], pts))
        return int(self.starts[at]) if at < len(self.starts) else None

    def copy_stop(self, first: int, end: int) -> int:
        """The last packet number `stop` such that packets first .. stop - 1 hold just the frames from packet
        `first`'s up to some time, all shown before `end`; `first` if there are none.
        """
        limit = int(np.searchsorted(self._max_before, end))
        at = int(np.searchsorted(self._ends, limit, side="right"))
        return max(first, int(self._ends[at - 1])) if at else first

    def copyable(self, first: int, stop: int) -> bool:
        """Whether the packets hold one shown frame each, and these are all frames of their time."""
        if stop <= first:
            return False
        times = np.sort(self.at[first:stop])
        frames = self.frames_between(int(times[0]), int(times[-1]) + 1)
        return bool(self.shown[first:stop].all() and np.array_equal(times, frames))

    def entry_before(self, pts: int, *, earlier: int = 0) -> int | None:
        """The last packet shown at or before `pts` from which decoding is exact, `earlier` entries before it.

        Where that is no IDR, one keyframe more is gone back: a recovery point may refer to frames before it.
        """
        known = np.flatnonzero(self.at[self.entries] <= pts)
        if not len(known):
            return None
        place = int(known[-1])
        clean = self.access[self.entries[place]] == Access.CLEAN
        place -= earlier + (0 if clean else 1)
        return int(self.entries[place]) if place >= 0 else None

    def last_needed(self, end: int) -> int:
        """One more than the last packet that must be decoded to see all frames before `end`."""
        needed = np.flatnonzero((self.at < end) & self.shown)
        return int(needed[-1]) + 1 if len(needed) else 0


def index_packets(
    container: InputContainer, stream: VideoStream, *, window: tuple[int, int] | None = None
) -> PacketIndex:
    """Read the packets of a stream; with a `window` (ticks) only those from a keyframe before its start, from which its frames
    can be decoded, to the first clean keyframe after its end. Raises MediaError if no frame is shown, or the container cannot be
    read.
    """
    by_dts = counts_frames(container)
    for back_s in WINDOW_BACK_S if window else ():
        found = _packets_before(container, stream, window[0], back_s, by_dts=by_dts) if window else None
        if found is None or window is None:
            continue
        try:
            index = _index(stream, found, window, by_dts=by_dts)
        except MediaError:
            continue
        if _serves(index, window[0]):
            return index
    rewind(container, stream)
    return _index(stream, from_keyframe(video_packets(container, stream)), window, by_dts=by_dts)


def _serves(index: PacketIndex, pts: int) -> bool:
    """Whether frames from `pts` on can be decoded by this index, surely or in a second way."""
    entry = index.entry_before(pts)
    if entry is None or not index.timed:
        return entry is not None
    return bool(index.access[entry] == Access.CLEAN) or index.entry_before(pts, earlier=1) is not None


def _index(
    stream: VideoStream, found: "Iterator[Packet[VideoStream]]", window: tuple[int, int] | None, *, by_dts: bool
) -> PacketIndex:
    scanner, is_second = Scanner(stream), SecondFields(stream)
    rows: list[tuple[int, int, int, int, int, bool, bool, int]] = []
    first, stop = None, None
    timed = not (by_dts and bool(stream.codec_context.has_b_frames))
    for packet in found:
        at = shown_at(packet, by_dts=by_dts)
        access, disposable = scanner.scan(packet)
        if is_second(packet) and rows:
            at, access = rows[-1][0], Access.NONE
            if packet.pts is not None:
                rows[-1] = (*rows[-1][:-1], rows[-1][-1] + (packet.duration or 0))
        if at is None:
            timed = False  # a packet without any time: nothing can be copied, and frames are counted from the start
            continue
        first = at if first is None else first
        if window and access == Access.CLEAN and at >= window[1]:
            stop = at
            break
        dts = NO_TIME if packet.dts is None else packet.dts
        pos = -1 if packet.pos is None else packet.pos
        shown = at >= first and is_shown(packet)
        rows.append((at, dts, pos, packet.size, access, disposable, shown, packet.duration or 0))
    if not any(row[6] for row in rows):
        raise MediaError("it has no frame that can be shown")
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return PacketIndex(
        at=columns[0].astype(np.int64),
        dts=columns[1].astype(np.int64),
        pos=columns[2].astype(np.int64),
        size=columns[3].astype(np.int64),
        access=columns[4].astype(np.uint8),
        disposable=columns[5],
        shown=columns[6],
        end=stop if stop is not None else _end(columns[0], columns[7], columns[6]),
        sets=scanner.sets,
        length_bytes=scanner.length_bytes,
        steady=scanner.steady,
        lossless=scanner.lossless,
        timed=timed and not _any_twice(columns[2]),
    )


def _any_twice(pos: NDArray[np.int64]) -> bool:
    """Whether a packet comes more than once, as by an edit list of several parts."""
    known = pos[pos >= 0]
    return len(np.unique(known)) < len(known)


def _end(at: NDArray[np.int64], duration: NDArray[np.int64], shown: NDArray[np.bool_]) -> int:
    """When the last frame ends: as `timeline.timeline` has it."""
    times, where = np.unique(at[shown], return_index=True)
    usual = int(np.median(np.diff(times))) if len(times) > 1 else 1
    last = int(duration[shown][where[-1]])
    return int(times[-1]) + (last if last > 0 else max(1, usual))


def rewind(container: InputContainer, stream: VideoStream) -> None:
    """Back to the first packet. Raises MediaError where the container cannot seek."""
    start = stream.start_time or 0
    for target in (start - round(BEFORE_ALL_S / (stream.time_base or 1)), start):
        try:
            container.seek(target, stream=stream, backward=True)
        except av.FFmpegError:
            continue
        return
    raise MediaError("the container cannot be read a second time: it has no way to seek")


def _packets_before(
    container: InputContainer, stream: VideoStream, target: int, back_s: float, *, by_dts: bool
) -> "Iterator[Packet[VideoStream]] | None":
    """Packets from a keyframe that is shown at or before `target`, by a seek so far before it; None if that leads elsewhere."""
    try:
        container.seek(target - round(back_s / (stream.time_base or 1)), stream=stream, backward=True)
    except av.FFmpegError:
        return None
    packets = video_packets(container, stream)
    key = next((packet for packet in packets if packet.is_keyframe), None)
    at = None if key is None else shown_at(key, by_dts=by_dts)
    return chain((key,), packets) if key is not None and at is not None and at <= target else None
