"""The facts of a video, from its header, its packets and its first frame; never from a full decode.

An mp4 or mov with a complete sample table is known from that table and its first and last packets, so a two-hour
file costs a few reads. Other containers store no frame count: all their packets are read, none is decoded; or, where a
caller would spare the bytes, the first and the last ones.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import cast

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.core.video import VideoFacts
from shardpipe.media.color import MATRICES, PRIMARIES, RANGES, TRANSFERS
from shardpipe.media.decode import frames
from shardpipe.media.sampletable import Times, sampled_times, table_times
from shardpipe.media.source import MediaInput, input_name, open_media, video_stream
from shardpipe.media.timeline import counts_frames, timeline, video_packets

MAX_JITTER = 0.1
"""Distances between frames that vary by more than this share of the usual one (and one tick) are a variable rate."""

USUAL_RATES = tuple(
    Fraction(rate) for rate in (24, 25, 30, 48, 50, 60, 100, 120, 12, 15, "24000/1001", "30000/1001", "60000/1001")
)
MAX_DURATION_S = 7 * 86400
"""A longer video is not believed: one wrong timestamp would make thousands of units of it."""
PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive


def probe(inp: MediaInput, *, sparing: bool = False) -> VideoFacts:
    """The facts of a video. Raises MediaError for what is no video, has no video stream, or whose first frames cannot
    be decoded.

    sparing: of a container without a sample table only the beginning and the end are read. The number of frames and the bit
    rate are estimates then, and whether frames come at one rate is told by the first ones.
    """
    with open_media(inp) as container:
        try:
            return _facts(inp, container, video_stream(container), sparing=sparing)
        except MediaError as error:
            raise MediaError(f"{input_name(inp)}: {error}") from error


def _facts(inp: MediaInput, container: InputContainer, stream: VideoStream, *, sparing: bool) -> VideoFacts:
    head: list[Packet[VideoStream]] = []
    frame = _first_frame(container, stream, head)
    times = table_times(container, stream, head)
    if times is None and sparing:
        with open_media(inp) as again:  # some containers do not give their first packets a second time
            times = sampled_times(again, video_stream(again))
    times = times or _packet_times(inp)
    base = stream.time_base or Fraction(1)
    duration = (times.end - times.start) * base
    if duration > MAX_DURATION_S:
        raise MediaError(
            f"its {times.num_frames} frames would last {float(duration / 3600):.0f} hours by their timestamps, which must "
            "be damaged: remux it, or split it"
        )
    is_vfr = _varies(times.distances)
    part = frame.format.components[0]
    return VideoFacts(
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width=frame.width,
        height=frame.height,
        time_base=base,
        start_s=float(times.start * base),
        duration_s=float(duration),
        num_frames=times.num_frames,
        fps=_rate(stream, times, is_vfr=is_vfr),
        is_vfr=is_vfr,
        pix_fmt=frame.format.name,
        bit_depth=part.bits,
        color_transfer=TRANSFERS.get(frame.color_trc, "unknown"),
        color_range="pc" if frame.format.name.startswith("yuvj") else RANGES.get(frame.color_range, "unknown"),
        color_space=MATRICES.get(frame.colorspace, "unknown"),
        color_primaries=PRIMARIES.get(frame.color_primaries, "unknown"),
        interlaced=frame.interlaced_frame or stream.codec_context.field_order not in PROGRESSIVE,
        rotation=clockwise(frame),
        mirrored=is_mirrored(frame),
        sar=pixel_aspect(stream),
        bit_rate=round(times.num_bytes * 8 / duration),
        has_audio=bool(container.streams.audio),
        has_alpha=has_alpha(frame, stream),
    )


def clockwise(frame: VideoFrame) -> int:
    """How far a player turns a frame's picture, after mirroring it if it does: 0, 90, 180 or 270 degrees clockwise."""
    turn = round(-frame.rotation / 90) % 4 * 90
    return (turn + 180) % 360 if is_mirrored(frame) else turn


def is_mirrored(frame: VideoFrame) -> bool:
    """Whether a player mirrors a frame's picture, left to right: the determinant of its display matrix is negative."""
    for each in cast("Iterable[SideData]", frame.side_data):  # the stubs say another type
        if each.type is SideDataType.DISPLAYMATRIX:
            a, b, _, c, d, *_ = np.frombuffer(bytes(each), np.int32).tolist()
            return bool(a * d < b * c)
    return False


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width / height of one pixel; 1 where it is unknown or absurd."""
    sar = stream.sample_aspect_ratio
    return sar if sar and Fraction(1, 16) <= sar <= 16 else Fraction(1)  # noqa: PLR2004  beyond is a damaged header


def has_alpha(frame: VideoFrame, stream: VideoStream) -> bool:
    """Whether the picture has an alpha channel (in webm it is a second layer, which is not decoded)."""
    return any(part.is_alpha for part in frame.format.components) or stream.metadata.get("alpha_mode") == "1"


def _first_frame(container: InputContainer, stream: VideoStream, head: "list[Packet[VideoStream]]") -> VideoFrame:
    """The first frame that is shown; `head` collects the packets that were read for it."""

    def kept() -> "Iterator[Packet[VideoStream]]":
        for packet in video_packets(container, stream):
            head.append(packet)
            yield packet

    frame = next(frames(kept(), stream, by_dts=counts_frames(container)), None)
    if frame is None:
        raise MediaError("it has no frame that can be decoded")
    return frame


def _packet_times(inp: MediaInput) -> Times:
    """From all packets."""
    with open_media(inp) as container:
        packets = video_packets(container, video_stream(container))
        shown = timeline(packets, by_dts=counts_frames(container))
    return Times(int(shown.pts[0]), shown.end, len(shown.pts), shown.num_bytes, np.diff(shown.pts))


def _varies(distances: NDArray[np.int64]) -> bool:
    if len(distances) == 0:
        return False
    usual = float(np.median(distances))
    return bool(np.any(np.abs(distances - usual) > max(1.01, MAX_JITTER * usual)))


def _rate(stream: VideoStream, times: Times, *, is_vfr: bool) -> Fraction:
    """The average rate: frames a second of the whole, or the exact constant rate where one fits within rounding."""
    base = stream.time_base or Fraction(1)
    whole = Fraction(times.num_frames) / ((times.end - times.start) * base)
    if is_vfr:
        return whole.limit_denominator(1001) or whole
    slack = Fraction(3, max(3, times.end - times.start))  # start, end and last duration are rounded to ticks
    told = [rate for rate in (stream.guessed_rate, stream.average_rate) if rate]
    fits = [rate for rate in (*told, *USUAL_RATES) if abs(rate / whole - 1) <= max(slack, Fraction(1, 2000))]
    return fits[0] if fits else whole.limit_denominator(1001)
