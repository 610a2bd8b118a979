"""Encode from frames in hand: while a video is decoded for its scenes, pieces that clips will need are made at once.

A ring holds the latest frames, as a boundary is found some frames late. What is made here has the same bytes as what
`cut` would make later by seeking: it is only made sooner. Nothing here must be found for a clip to be right.
"""

from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.media.encode import Recoder
from shardpipe.media.remux import Mp4
from shardpipe.media.smartcut import Part, PartEncoder, cut_part

LAG = 17
"""Frames that may come between a boundary's frame and the news of it, that frame included."""

MAX_RING_BYTES = 256 << 20
MAX_PART_BYTES = 192 << 20


class Ring:
    """The latest frames: `num_frames` of them, fewer where they would take more than MAX_RING_BYTES."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames
        self._frames: deque[VideoFrame] = deque()

    def push(self, frame: VideoFrame) -> VideoFrame | None:
        """Add a frame; the one that had to leave for it, if any."""
        self._frames.append(frame)
        size = sum(plane.buffer_size for plane in frame.planes)
        if len(self._frames) > max(1, min(self._num_frames, MAX_RING_BYTES // max(1, size))):
            return self._frames.popleft()
        return None

    def between(self, start: int, end: int) -> list[VideoFrame]:
        """The frames with start <= pts < end that are still there."""
        return [frame for frame in self._frames if start <= (frame.pts or 0) < end]


class Seen:
    """When the frames of the sequential decode were shown."""

    def __init__(self) -> None:
        self._pts = array("q")

    def add(self, pts: int) -> None:
        """The next frame's time."""
        self._pts.append(pts)

    def between(self, start: int, end: int, promised: NDArray[np.int64]) -> NDArray[np.int64]:
        """The times of frames with start <= pts < end: as decoded if all of that was seen, else as `promised`."""
        if not len(promised) or not self._pts or self._pts[0] > start or self._pts[-1] < promised[-1]:
            return promised
        seen = np.frombuffer(self._pts, np.int64)
        low, high = np.searchsorted(seen, (start, end))
        return seen[low:high].copy()


class Parts:
    """Smart cutting's heads and tails, by the time at which they start.

    head_end: given where a clip starts, until when it must be encoded (None: not at all).
    tail_start: given where a clip starts and ends, from when on it must be encoded (None: not at all).
    """

    def __init__(
        self,
        *,
        head_end: Callable[[int], int | None],
        tail_start: Callable[[int, int], int | None],
        encoder: Callable[[VideoFrame], PartEncoder],
        num_frames: int,
    ) -> None:
        self._head_end, self._tail_start, self._encoder = head_end, tail_start, encoder
        self._ring = Ring(num_frames)
        self._parts: dict[int, Part] = {}
        self._open: tuple[PartEncoder, int] | None = None
        self._last_mark: int | None = None

    def see(self, frame: VideoFrame) -> None:
        """Encode a frame if a head is open."""
        if self._open is not None:
            encoder, end = self._open
            if (frame.pts or 0) >= end or not _encoded(encoder, [frame]):
                self._open = None
        self._ring.push(frame)

    def mark(self, pts: int, frames: NDArray[np.int64]) -> None:
        """A clip may end and another may start at `pts`; frames: the times of all frames."""
        self._open = None
        if self._last_mark is not None and self._last_mark < pts:
            tail = self._tail_start(self._last_mark, pts)
            if tail is not None and tail not in self._parts:
                self._encode(tail, pts, frames)
        self._last_mark = pts
        end = self._head_end(pts)
        if end is not None:
            encoder = self._encode(pts, end, frames)
            self._open = (encoder, end) if encoder else None
        self._forget()

    def take(self, expected: NDArray[np.int64]) -> Part | None:
        """The part that holds exactly these frames, or begins with them; None if it was not made."""
        part = self._parts.get(int(expected[0]))
        if part is None or not np.array_equal(part.pts[: len(expected)], expected):
            return None
        return cut_part(part, len(expected))

    def drop_before(self, pts: int) -> None:
        """Forget parts that start before `pts`."""
        for start in [start for start in self._parts if start < pts]:
            del self._parts[start]

    def _encode(self, start: int, end: int, frames: NDArray[np.int64]) -> PartEncoder | None:
        """Encode what the ring has of start <= pts < end; None if it does not reach back to `start`."""
        held = self._ring.between(start, end)
        low = int(np.searchsorted(frames, start))
        if not held or low == len(frames) or held[0].pts != frames[low]:
            return None
        encoder = self._encoder(held[0])
        self._parts[start] = encoder.part
        return encoder if _encoded(encoder, held) else None

    def _forget(self) -> None:
        sizes = {start: sum(map(len, part.samples)) for start, part in self._parts.items()}
        while sum(sizes.values()) > MAX_PART_BYTES:
            oldest = min(sizes)
            del self._parts[oldest], sizes[oldest]


def _encoded(encoder: PartEncoder, frames: list[VideoFrame]) -> bool:
    """Encode frames; false if that failed. What was encoded before is right, and shorter than a clip needs."""
    try:
        for frame in frames:
            encoder.add(frame)
    except MediaError:
        return False
    return True


@dataclass(frozen=True)
class Run:
    """One clip that is encoded whole, from `start` on."""

    start: int
    recoder: Recoder
    out: Mp4


class Runs:
    """Whole encodes, each from one mark to the next, in files of their own until a clip is just that.

    Frames are encoded as they leave the ring, so that a boundary that is found late can still end a run.
    """

    def __init__(self, *, begin: Callable[[int], Run | None]) -> None:
        self._begin = begin
        self._ring = Ring(LAG)
        self._open: Run | None = None
        self._done: dict[tuple[int, int], Run] = {}

    def see(self, frame: VideoFrame) -> None:
        """Encode the frame that leaves the ring for this one."""
        leaving = self._ring.push(frame)
        run = self._open
        if run is not None and leaving is not None and (leaving.pts or 0) >= run.start:
            self._add(run, [leaving])

    def mark(self, pts: int, frames: NDArray[np.int64]) -> None:
        """End the open run before `pts`, and begin one there."""
        self._end(pts)
        low = int(np.searchsorted(frames, pts))
        held = self._ring.between(pts, pts + 1)
        if low < len(frames) and held and frames[low] == pts:
            self._open = self._begin(pts)

    def take(self, start: int, end: int) -> Run | None:
        """The finished run of just this span; None if there is none. The caller owns its file."""
        if self._open is not None and self._open.start == start:
            self._end(end)
        return self._done.pop((start, end), None)

    def close(self) -> None:
        """Remove what no clip has taken."""
        if self._open is not None:
            self._open.out.abandon()
        for run in self._done.values():
            run.out.path.unlink(missing_ok=True)

    def _end(self, end: int) -> None:
        run, self._open = self._open, None
        if run is None:
            return
        if run.recoder.last_seen >= end or run.start >= end:
            run.out.abandon()  # frames after its end are in it already
            return
        if self._add(run, self._ring.between(max(run.start, run.recoder.last_seen + 1), end)):
            try:
                run.recoder.finish(end)
            except MediaError:
                run.out.abandon()
                return
            self._done[run.start, end] = run

    def _add(self, run: Run, frames: list[VideoFrame]) -> bool:
        try:
            for frame in frames:
                run.recoder.add(frame)
        except MediaError:
            run.out.abandon()
            self._open = None
            return False
        return True
