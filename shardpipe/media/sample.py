"""The frames that stages want of one clip, all from one decode of it.

Frames are chosen from the packets' times before anything is decoded; then only those groups of pictures are decoded
that hold a chosen frame, each up to the last chosen one, without H.264's frames that no other frame refers to.
"""

from collections.abc import Callable, Sequence

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.core.frames import FrameRequest, Frames, Pixels
from shardpipe.media.motion import NO_GAPS, MotionReader, export_vectors, field_size
from shardpipe.media.packetstore import PacketStore
from shardpipe.media.pick import Indices, exact, from_keyframes, picture_size
from shardpipe.media.pixels import PixelReader
from shardpipe.media.probe import clockwise, pixel_aspect
from shardpipe.media.source import MediaInput, open_media, video_stream
from shardpipe.media.timeline import counts_frames, video_packets

CHANNELS: dict[Pixels, tuple[int, ...]] = {"rgb": (3,), "gray": (), "mv": (8,)}

Allocate = Callable[[tuple[int, ...]], NDArray[np.uint8]]


def sample(inp: MediaInput, requests: Sequence[FrameRequest], allocate: Allocate | None = None) -> list[Frames]:
    """One Frames for each request, in their order; equal requests share one.

    `allocate` makes a uint8 array of a shape (for shared memory), once for each distinct request, when the clip's
    first chosen frame is decoded. Where every request has a tolerance and keyframes satisfy all, only keyframes are
    decoded: as many as exact frames would be, and `times_s` says which.
    Raises MediaError where a wanted frame cannot be decoded or is damaged; never gives a made-up picture.
    The clip's packets are held in memory, about its size.
    """
    if not requests:
        return []
    with open_media(inp, quick=True) as container:
        stream = video_stream(container)
        packets = list(video_packets(container, stream))
        if any(request.pixels == "mv" for request in requests):
            export_vectors(stream)
        clip = PacketStore(stream, packets, by_dts=counts_frames(container))
        return _sampled(clip, requests, allocate or _empty)


def _empty(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.empty(shape, np.uint8)


def _sampled(clip: PacketStore, requests: Sequence[FrameRequest], allocate: Allocate) -> list[Frames]:
    distinct = list(dict.fromkeys(requests))
    picks = from_keyframes(distinct, clip.clock, clip.key_frames) if clip.in_pieces else None
    if picks is None:
        picks = [exact(request, clip.clock) for request in distinct]
    filler = _Filler(clip, distinct, picks, allocate)
    try:
        for frame in clip.decoded(filler.wanted):
            filler.see(frame)
        filler.check()
    except MediaError:
        if not clip.in_pieces:
            raise
        # A keyframe from which decoding cannot start (intra refresh, open GOP): all packets from the first one on.
        filler.begin_again()
        for frame in clip.decoded_whole():
            filler.see(frame)
        filler.check()
    made = dict(zip(distinct, filler.results(), strict=True))
    return [made[request] for request in requests]


class _Filler:
    """Puts wanted frames into the arrays of the requests that want them, converted once for each size and kind."""

    def __init__(
        self, clip: PacketStore, requests: list[FrameRequest], picks: list[Indices], allocate: Allocate
    ) -> None:
        self._clip, self._requests, self._picks, self._allocate = clip, requests, picks, allocate
        self._clock, self._sar = clip.clock, pixel_aspect(clip.stream)
        self.wanted: list[int] = np.unique(np.concatenate([self._clock.pts[pick] for pick in picks])).tolist()
        """Ticks of all wanted frames, in order."""
        self._missing = set(self.wanted)
        self._arrays: list[NDArray[np.uint8]] = []
        self._readers: dict[tuple[int, int, Pixels], PixelReader | MotionReader] = {}
        self._slots: dict[int, dict[tuple[int, int, Pixels], list[NDArray[np.uint8]]]] = {}

    def see(self, frame: VideoFrame) -> None:
        """Take a decoded frame if it is wanted. Raises MediaError if it is wanted and damaged."""
        pts = frame.pts if frame.pts is not None else -1
        if pts not in self._missing:
            return
        if frame.is_corrupt:
            raise MediaError(f"the frame at {self._seconds(pts):.3f} s is damaged")
        if not self._arrays:
            self._make_room(frame)
        for kind, slots in self._slots[pts].items():
            self._readers[kind].read(frame, slots[0])
            for slot in slots[1:]:
                slot[...] = slots[0]
        self._missing.discard(pts)

    def check(self) -> None:
        """Raises MediaError if a wanted frame was not seen."""
        if self._missing:
            raise MediaError(f"the frame at {self._seconds(min(self._missing)):.3f} s cannot be decoded")

    def begin_again(self) -> None:
        """All frames are wanted once more."""
        self._missing = set(self.wanted)

    def results(self) -> list[Frames]:
        """One Frames for each request."""
        times = self._clock.times_s
        return [Frames(array, times[pick]) for array, pick in zip(self._arrays, self._picks, strict=True)]

    def _seconds(self, pts: int) -> float:
        return pts * self._clock.base

    def _make_room(self, frame: VideoFrame) -> None:
        turn = clockwise(frame)
        wide = max(1, round(frame.width * self._sar))
        shown = (frame.height, wide) if turn in (90, 270) else (wide, frame.height)
        for request, pick in zip(self._requests, self._picks, strict=True):
            moves = request.pixels == "mv"
            width, height = field_size(frame.width, frame.height, turn=turn) if moves else picture_size(request, shown)
            kind = (width, height, request.pixels)
            if kind not in self._readers:
                self._readers[kind] = self._reader(kind, turn)
            shape = (len(pick), height, width)
            array = self._allocate((*shape, *CHANNELS[request.pixels]))
            self._arrays.append(array)
            for slot, pts in zip(array, self._clock.pts[pick].tolist(), strict=True):
                self._slots.setdefault(pts, {}).setdefault(kind, []).append(slot)

    def _reader(self, kind: tuple[int, int, Pixels], turn: int) -> PixelReader | MotionReader:
        width, height, pixels = kind
        if pixels != "mv":
            return PixelReader(width, height, pixels, turn=turn)
        gaps = self._clip.reference_gaps()
        return MotionReader(lambda pts: gaps.get(pts, NO_GAPS), turn=turn, sar=self._sar)
