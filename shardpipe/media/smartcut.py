"""Smart cuts of H.264: whole GOPs are copied bit by bit, only frames before and after them are encoded anew.

The encoded parts have parameter sets with an id of their own; all sets go into the one avcC, so the file has one
ordinary sample description, which every decoder reads. Encoded parts have no B-frames and no lookahead: packet n
depends on frames 0 .. n alone, so a part may be cut short at any frame, and is the same whether its end was known or not.
Where nothing can be copied, one part is the whole clip.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType, VideoFrame

from shardpipe.core.errors import MediaError
from shardpipe.media.access import Access
from shardpipe.media.encode import video_encoder
from shardpipe.media.nal import (
    H264_AUD,
    H264_FILLER,
    H264_PPS,
    H264_SPS,
    ParameterSets,
    h264_type,
    join_lengths,
    split_lengths,
    split_start_codes,
)
from shardpipe.media.packets import PacketIndex
from shardpipe.media.probe import pixel_aspect
from shardpipe.media.reading import PacketReader
from shardpipe.media.remux import Mp4, Sample, decode_times

NOT_STORED = (H264_SPS, H264_PPS, H264_AUD, H264_FILLER)
SEI = 6
PIX_FMTS = frozenset(
    {
        "yuv420p",
        "yuvj420p",
        "yuv422p",
        "yuvj422p",
        "yuv444p",
        "yuvj444p",
        "yuv420p10le",
        "yuv422p10le",
        "yuv444p10le",
        "gray",
    }
)


@dataclass
class Part:
    """Consecutive frames encoded without B-frames: one sample each, in the order shown. pts: ticks of the source."""

    sets: ParameterSets = field(default_factory=ParameterSets)
    pts: list[int] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class PartSettings:
    """How parts are encoded. sets_id: of their parameter sets, free in the source. base: of pts. fps: the usual rate."""

    base: Fraction
    fps: Fraction
    sets_id: int
    preset: str
    crf: int
    gop_s: float


class PartEncoder:
    """Encodes consecutive frames to a Part; what `part` holds is complete after every frame."""

    def __init__(self, first: VideoFrame, settings: PartSettings) -> None:
        self.part = Part()
        context = video_encoder("libx264")
        self._size, self._format = (first.width, first.height), first.format.name
        context.width, context.height, context.pix_fmt = first.width, first.height, first.format.name
        context.time_base, context.framerate, context.thread_count = settings.base, settings.fps, 1
        context.color_range, context.color_trc = first.color_range, first.color_trc
        context.color_primaries, context.colorspace = first.color_primaries, first.colorspace
        context.flags |= Flags.global_header
        context.options = {
            "preset": settings.preset,
            "tune": "zerolatency",
            "crf": str(settings.crf),
            "g": str(max(1, round(settings.gop_s * settings.fps))),
            "x264-params": f"sps-id={settings.sets_id}:scenecut=0:sliced-threads=0:cpu-independent=1",
        }
        self._context = context

    def add(self, frame: VideoFrame) -> None:
        """Encode one more frame. Raises MediaError."""
        if (frame.width, frame.height) != self._size or frame.format.name != self._format:
            raise MediaError("the picture's size or format changes inside a scene")
        frame.pict_type = PictureType.NONE
        try:
            packets = self._context.encode(frame)
        except av.FFmpegError as error:
            raise MediaError(f"libx264 cannot encode a frame: {error}") from error
        if len(packets) != 1:
            raise MediaError(f"libx264 gave {len(packets)} packets for one frame without B-frames")
        if not self.part.pts:
            for unit in split_start_codes(self._context.extradata or b""):
                self.part.sets.add(unit)
        units = split_start_codes(bytes(packets[0]))
        self.part.is_key.append(packets[0].is_keyframe)
        self.part.pts.append(frame.pts or 0)
        self.part.samples.append(join_lengths(unit for unit in units if h264_type(unit) not in (*NOT_STORED, SEI)))


@dataclass(frozen=True)
class Plan:
    """What of a span is copied: packets first .. stop - 1; frames start <= pts < copy_start and copy_end <= pts < end
    are not (none where the ends are equal). All in ticks. num_head, num_tail: how many frames those are.
    """

    start: int
    copy_start: int
    copy_end: int
    end: int
    first: int
    stop: int
    num_head: int
    num_tail: int


def plan_copy(index: PacketIndex, start: int, end: int) -> Plan | None:
    """The longest copy in a span whose frames are known; None if nothing of it can be copied."""
    first = index.start_after(start)
    if first is None or not index.timed or index.at[first] >= end:
        return None
    stop = index.copy_stop(first, end)
    if not index.copyable(first, stop):
        return None
    copy_start, last = int(index.at[first]), int(index.at[first:stop].max())
    copy_end = min(end, index.frame_end(last))
    num_head, num_tail = len(index.frames_between(start, copy_start)), len(index.frames_between(copy_end, end))
    return Plan(start, copy_start, copy_end, end, first, stop, num_head, num_tail)


def copied_samples(reader: PacketReader, plan: Plan) -> Iterator[bytes]:
    """The bytes of the copied packets as mp4 stores them. Raises MediaError."""
    index = reader.index
    h264 = reader.stream.codec_context.codec.canonical_name == "h264"
    for packet in reader.packets(plan.first, plan.stop):
        data = bytes(packet)
        if not h264 or index.length_bytes == 4:  # noqa: PLR2004  as it is stored here
            yield data
        elif index.length_bytes:
            yield join_lengths(split_lengths(data, index.length_bytes))
        else:
            yield join_lengths(unit for unit in split_start_codes(data) if h264_type(unit) not in NOT_STORED)


def write_plan(reader: PacketReader, plan: Plan, out: Mp4, *, head: Part, tail: Part) -> None:
    """Write head, copied packets and tail as one track, which lasts as the plan. Raises MediaError."""
    index = reader.index
    h264 = reader.stream.codec_context.codec.canonical_name == "h264"
    sets = index.sets.joined(head.sets).joined(tail.sets) if plan.stop > plan.first else head.sets
    if sets.changed:
        raise MediaError("the encoded parts of a clip have different parameter sets")
    out.copied(reader.stream, sar=pixel_aspect(reader.stream), extradata=sets.avcc() if h264 else None)
    copied = index.at[plan.first : plan.stop]
    pts = np.concatenate([np.array(head.pts, np.int64), copied, np.array(tail.pts, np.int64)]) - plan.start
    clean = index.access[plan.first : plan.stop] == Access.CLEAN
    keys = [*head.is_key, *clean.tolist(), *tail.is_key]
    data = chain(head.samples, copied_samples(reader, plan), tail.samples)
    for sample, at, dts, is_key in zip(data, pts, decode_times(pts), keys, strict=True):
        out.put(Sample(sample, int(at), int(dts), is_key))
    out.finish(plan.end - plan.start)


def encode_part(frames: Iterable[VideoFrame], settings: PartSettings) -> Part:
    """Encode frames, all of them, to a Part. Raises MediaError."""
    encoder: PartEncoder | None = None
    for frame in frames:
        encoder = encoder or PartEncoder(frame, settings)
        encoder.add(frame)
    return encoder.part if encoder else Part()


def cut_part(part: Part, num_frames: int) -> Part:
    """Its first frames."""
    return Part(part.sets, part.pts[:num_frames], part.samples[:num_frames], part.is_key[:num_frames])
