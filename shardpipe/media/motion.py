"""The motion vectors that a decoder reads out of a video's own bits, as a field of speeds for each frame.

FFmpeg tells of each block where in another frame it was taken from, and whether that frame is shown earlier or later,
but not which one it is. It is taken for the nearest of the frames that others may refer to: encoders choose it for by
far the most blocks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from av.codec.context import Flags2
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.media.access import Scanner
from shardpipe.media.timeline import shown_at

if TYPE_CHECKING:
    from av.packet import Packet

CELL_BITS = 4
CELL = 1 << CELL_BITS
"""Side of a cell of the field, in coded pixels: a macroblock."""

VECTOR = np.dtype(
    {
        "names": ["source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "scale"],
        "formats": ["<i4", "u1", "u1", "<i2", "<i2", "<i4", "<i4", "<u2"],
        "offsets": [0, 4, 5, 10, 12, 24, 28, 32],
        "itemsize": 40,
    }
)
"""FFmpeg's AVMotionVector: from which side it comes (-1 an earlier frame, 1 a later one), the block's size and middle,
and where its source lies from there, in 1/scale pixels."""

HARDLY = 1e-6
"""Weight of vectors to an earlier frame beside those to a later one: there are fewer frames that those may mean."""

TELL_B_FRAMES = ("h264", "mpeg1video", "mpeg2video")
"""Decoders that give the true vectors of B-frames. MPEG-4's gives zeros for blocks that take theirs from a frame before."""

Gaps = tuple[float | None, float | None]
"""Seconds to the nearest reference shown before a frame and to that shown after it; None where there is none."""
NO_GAPS: Gaps = (None, None)


def export_vectors(stream: VideoStream) -> None:
    """Have the decoder give motion vectors beside its frames: to be called before it decodes. Pictures stay the same."""
    stream.codec_context.flags2 |= Flags2.export_mvs


def reference_gaps(stream: VideoStream, packets: "list[Packet[VideoStream]]", *, by_dts: bool) -> dict[int, Gaps]:
    """For each frame, by its tick, how far the references are that it may have. Packets are in order of decoding.

    None of them where times are counted (`by_dts`) and frames are out of order: then it is not known which is which.
    """
    if by_dts and stream.codec_context.has_b_frames:
        return {}
    base = float(stream.time_base or 1)
    b_frames_too = stream.codec_context.name in TELL_B_FRAMES
    known: list[int] = []  # ticks of the references decoded so far, sorted
    gaps: dict[int, Gaps] = {}
    for at, is_reference in _references(stream, packets, by_dts=by_dts):
        place = bisect_left(known, at)
        before = (at - known[place - 1]) * base if place else None
        after = (known[place] - at) * base if place < len(known) else None
        gaps[at] = (before, after) if after is None or b_frames_too else NO_GAPS
        if is_reference:
            known.insert(place, at)
    return gaps


def _references(
    stream: VideoStream, packets: "list[Packet[VideoStream]]", *, by_dts: bool
) -> Iterator[tuple[int, bool]]:
    """The tick of each frame, and whether others may refer to it: H.264 says so; elsewhere, what is shown before a frame
    that was decoded before it is a B-frame, to which none refers.
    """
    scanner = Scanner(stream) if stream.codec_context.name == "h264" else None
    latest: int | None = None
    for packet in packets:
        at = shown_at(packet, by_dts=by_dts)
        if at is None:
            continue
        if scanner is not None:
            yield at, not scanner.scan(packet)[1]
        else:
            yield at, latest is None or at > latest
        latest = at if latest is None else max(latest, at)


def field_size(width: int, height: int, *, turn: int) -> tuple[int, int]:
    """(columns, rows) of the field of a coded picture, turned as displayed."""
    columns, rows = -(-width // CELL), -(-height // CELL)
    return (rows, columns) if turn in (90, 270) else (columns, rows)


class MotionReader:
    """Gives the field of a frame: float32 [rows, columns, 2], how fast each cell's content moves right and down, in long
    sides of the displayed picture a second; NaN where the frame has no vector (a keyframe, a block coded by itself).
    """

    def __init__(self, gaps: Callable[[int], Gaps], *, turn: int, sar: Fraction) -> None:
        """`turn`: degrees clockwise from coded to displayed. `sar`: width by height of a coded pixel."""
        self._gaps, self._turn, self._sar = gaps, turn, float(sar)

    def read(self, frame: VideoFrame, into: NDArray[np.uint8]) -> None:
        """Write a frame's field into `into`, uint8 [rows, columns, 8]: the bytes of its numbers."""
        speeds = self._coded(frame)
        speeds[..., 0] *= self._sar
        speeds /= max(frame.width * self._sar, frame.height)
        for _ in range(self._turn // 90):
            speeds = np.rot90(speeds, -1)
            speeds = np.stack([-speeds[..., 1], speeds[..., 0]], axis=-1)
        into.view(np.float32)[...] = speeds

    def _coded(self, frame: VideoFrame) -> NDArray[np.float32]:
        """Speeds in coded pixels a second, in the frame as coded: of each cell, the mean by area over its vectors, to later frames if it has any."""
        columns, rows = field_size(frame.width, frame.height, turn=0)
        vectors = _vectors_of(frame)
        before, after = self._gaps(frame.pts if frame.pts is not None else -1)
        later = vectors["source"] > 0
        per_s = np.where(later, 1 / after if after else 0.0, -1 / before if before else 0.0)
        area = vectors["w"].astype(np.float64) * vectors["h"]
        area *= np.where(later, 1.0 if after else 0.0, HARDLY if before else 0.0)
        column = np.clip(vectors["dst_x"] >> CELL_BITS, 0, columns - 1)
        row = np.clip(vectors["dst_y"] >> CELL_BITS, 0, rows - 1)
        cell = row.astype(np.intp) * columns + column
        scaled = area * per_s / np.maximum(vectors["scale"], 1)
        sums = [np.bincount(cell, scaled * vectors[name], rows * columns) for name in ("motion_x", "motion_y")]
        weight = np.bincount(cell, area, rows * columns)
        with np.errstate(invalid="ignore"):
            means = np.stack(sums, axis=-1) / weight[:, None]
        return means.reshape(rows, columns, 2).astype(np.float32)


def _vectors_of(frame: VideoFrame) -> NDArray[np.void]:
    data = frame.side_data.get("MOTION_VECTORS")
    return np.frombuffer(memoryview(data), VECTOR) if data is not None else np.empty(0, VECTOR)
