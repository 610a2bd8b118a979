"""Decode frames one after the other, in the order in which they are shown, each with a valid time; and shrink them
for scene detectors.
"""

import heapq
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.media.source import MediaInput, media_errors, open_media, video_stream
from shardpipe.media.timeline import counts_frames, from_keyframe, is_shown, shown_at, video_packets

STEPS_BACK_S = (0.0, 2.0, 10.0, 60.0)
"""How much earlier a seek is tried again when it lands behind the wanted time; then from the very beginning."""

AREA_EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""swscale's area average, with the same bytes on every CPU (without the last two its SIMD paths round differently)."""

BT601 = Colorspace.ITU601


def decode(inp: MediaInput, *, start_s: float | None = None, end_s: float | None = None) -> Iterator[VideoFrame]:
    """The frames with start_s <= time < end_s (seconds on the video's own clock), in the order shown, on one thread.

    Each has a `pts` and `time_base`, and pts rise strictly (see `timeline.py` for the rules). Frames are as coded: not
    rotated, and their size may change on the way. `frame.is_corrupt` says that the decoder had to make up a part.
    Raises MediaError, which names the time, when the container or a packet cannot be read; the frames before it have
    been given by then. Close the iterator (or run it out) to close the file.
    """
    with open_media(inp) as container:
        stream = video_stream(container)
        first = None if start_s is None else tick(start_s, stream)
        end = None if end_s is None else tick(end_s, stream)
        found = _seek(container, stream, first) if first is not None else None
        if found is not None or first is None:
            packets = video_packets(container, stream) if found is None else found
            yield from _between(frames(packets, stream, by_dts=counts_frames(container)), first, end)
            return
    with open_media(inp) as container:  # no seek led before the wanted time: from the very beginning
        stream = video_stream(container)
        packets = video_packets(container, stream)
        yield from _between(frames(packets, stream, by_dts=counts_frames(container)), first, end)


def tick(time_s: float, stream: VideoStream) -> int:
    """The first tick of the stream at or after a time; a time that is a tick but for rounding is that tick."""
    base = stream.time_base
    if not base:
        raise MediaError("the video stream has no time base")
    exact = time_s / float(base)
    return round(exact) if abs(exact - round(exact)) < 1e-3 else math.ceil(exact)  # noqa: PLR2004  a thousandth tick


def frames(packets: "Iterable[Packet[VideoStream]]", stream: VideoStream, *, by_dts: bool) -> Iterator[VideoFrame]:
    """Decode packets that begin at a keyframe (those before it are skipped) into frames with strictly rising pts."""
    context, base = stream.codec_context, stream.time_base
    waiting: list[int] = []  # times of packets whose frames did not come out yet
    first: int | None = None
    last: int | None = None
    for packet in chain(from_keyframe(packets), (None,)):
        at = None
        if packet is not None:
            at = shown_at(packet, by_dts=by_dts)
            first = at if first is None else first
            if at is not None and is_shown(packet):
                heapq.heappush(waiting, at)
        with _decoding(at if at is not None else last, stream):
            decoded = context.decode(packet)
        for frame in decoded:
            pts = _time_of(frame, waiting, by_dts=by_dts)
            if pts is None or (last is not None and pts <= last) or (first is not None and pts < first):
                continue
            while waiting and waiting[0] <= pts:
                heapq.heappop(waiting)
            frame.pts, frame.time_base, last = pts, base, pts
            yield frame


def _time_of(frame: VideoFrame, waiting: list[int], *, by_dts: bool) -> int | None:
    if by_dts or frame.pts is None:
        return waiting[0] if waiting else None
    return frame.pts


@contextmanager
def _decoding(at: int | None, stream: VideoStream) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        where = "a frame" if at is None else f"the frame at {float(at * (stream.time_base or 0)):.3f} s"
        raise MediaError(f"{where} cannot be decoded: {error.strerror or error}") from error


def _seek(container: InputContainer, stream: VideoStream, target: int) -> "Iterator[Packet[VideoStream]] | None":
    """Packets from a keyframe that is shown at or before `target`; None if no seek leads there."""
    by_dts = counts_frames(container)
    if by_dts and stream.codec_context.has_b_frames:
        return None  # frames are counted, and after a seek the decoder drops some uncounted
    for back_s in STEPS_BACK_S:
        try:
            container.seek(target - tick(back_s, stream), stream=stream, backward=True)
        except av.FFmpegError:
            return None  # the container has no index, or nothing lies before
        with media_errors(f"cannot read on after a seek to {float(target * (stream.time_base or 0)):.3f} s"):
            packets = video_packets(container, stream)
            key = next((packet for packet in packets if packet.is_keyframe), None)
        at = None if key is None else shown_at(key, by_dts=by_dts)
        if key is not None and at is not None and at <= target:
            return chain((key,), packets)
    return None


def _between(shown: Iterator[VideoFrame], first: int | None, end: int | None) -> Iterator[VideoFrame]:
    frame = None
    for frame in shown:
        pts = frame.pts or 0
        if end is not None and pts >= end:
            return
        if first is None or pts >= first:
            yield frame
    if frame is None:
        raise MediaError("it has no frame that can be decoded")


class SmallBgr:
    """Shrinks frames to width x height for scene detectors: uint8 [height, width, 3] in bgr order, aspect ratio not
    kept, rotation not applied, the same bytes on every CPU.

    Cheap, as it runs on every frame: planes are averaged down as they are, and only the small picture becomes bgr, by
    BT.601's matrix whatever the frame says (a detector compares a video with itself). Keep one for all frames of a
    video: building it costs half as much as a frame. Raises MediaError where a frame cannot be scaled.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._even = width % 2 == 0 and height % 2 == 0  # OpenCV's I420 needs whole chroma samples
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """The small picture of one frame."""
        with media_errors(f"a frame of {frame.width}x{frame.height} {frame.format.name} cannot be scaled"):
            small = self._scaler.reformat(
                frame,
                self._width,
                self._height,
                "yuv420p" if self._even else "bgr24",
                src_colorspace=BT601,
                dst_colorspace=BT601,
                interpolation=AREA_EXACT,
                dst_color_range=ColorRange.MPEG if self._even else ColorRange.JPEG,
                threads=1,
            ).to_ndarray()
        return cv2.cvtColor(small, cv2.COLOR_YUV2BGR_I420) if self._even else small  # type: ignore[return-value]
