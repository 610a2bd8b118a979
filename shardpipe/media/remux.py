"""Write mp4 files of packets, copied or encoded, with exact times and the same bytes each time.

The track's and the movie's timescale are one, and a multiple of the source's, so every time and the one edit
(frames are stored before they are shown) are exact. The last packet's duration makes the track last as its span does.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.media.mp4box import set_duration
from shardpipe.media.source import media_errors

MIN_TIMESCALE = 10000  # as FFmpeg's own muxer chooses, so that audio offsets are exact enough
MP4_VIDEO = frozenset({"h264", "hevc", "vp9", "av1", "mpeg4"})
"""Codecs whose packets are copied to mp4: those that the usual decoders expect there."""


@dataclass(frozen=True)
class Sample:
    """One frame's bytes as mp4 stores them. pts, dts: ticks after the clip's start (dts may be negative)."""

    data: bytes
    pts: int
    dts: int
    is_key: bool


class Sound(Protocol):
    """A clip's audio."""

    def begin(self, container: OutputContainer) -> "Iterator[tuple[float, Packet[AudioStream]]]":
        """Add its stream to the container; then its packets, each with its time (seconds after the clip's start)."""


def decode_times(pts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The dts of frames whose pts are given in order of decoding: the sorted pts, shifted back until dts <= pts."""
    ordered = np.sort(pts)
    return ordered - max(0, int((ordered - pts).max(initial=0)))


class Mp4:
    """An mp4 in the making: one video stream, maybe one of audio. Removes the file if its `with` body raises."""

    def __init__(self, path: Path, base: Fraction, *, sound: Sound | None = None) -> None:
        scale = base.denominator
        while scale < MIN_TIMESCALE:
            scale *= 2
        self.path, self.base, self.timescale = path, base, scale
        self._container = av.open(
            str(path),
            "w",
            format="mp4",
            options={
                "fflags": "+bitexact",
                "movflags": "faststart",
                "avoid_negative_ts": "disabled",
                "use_editlist": "1",
                "movie_timescale": str(scale),
                "video_track_timescale": str(scale),
            },
        )
        self._sound = sound
        self._sound_packets: Iterator[tuple[float, Packet[AudioStream]]] = iter(())
        self._next_sound: tuple[float, Packet[AudioStream]] | None = None
        self._num_sounds, self._is_sound_damaged = 0, False
        self._held: Packet[VideoStream] | None = None
        self._first_dts = 0
        self.num_samples = 0
        self.video: VideoStream | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abandon()

    def abandon(self) -> None:
        """Close the file and remove it."""
        with suppress(av.FFmpegError, ValueError):
            self._container.close()
        self.path.unlink(missing_ok=True)

    def copied(self, template: VideoStream, *, sar: Fraction, extradata: bytes | None = None) -> None:
        """Let the video stream be as `template`: its codec, size, colour tags and rotation."""
        stream = self._container.add_stream_from_template(template, opaque=True)
        stream.time_base = self.base
        stream.codec_context.sample_aspect_ratio = sar
        if extradata is not None:
            stream.codec_context.extradata = extradata
        self._begin(stream)

    def encoded(self, codec: str, options: dict[str, str]) -> VideoStream:
        """A video stream whose codec context encodes; set it up before the first frame."""
        stream = self._container.add_stream(codec, options=options)
        if not isinstance(stream, VideoStream):
            raise MediaError(f"{codec} is no video encoder")
        stream.codec_context.time_base = self.base
        self._begin(stream)
        return stream

    def _begin(self, stream: VideoStream) -> None:
        self.video = stream
        if self._sound is not None:
            self._sound_packets = self._sound.begin(self._container)
            self._next_sound = next(self._sound_packets, None)

    def put(self, sample: Sample) -> None:
        """Add a frame, in order of decoding."""
        packet = cast("Packet[VideoStream]", Packet(sample.data))
        packet.pts, packet.dts, packet.time_base = sample.pts, sample.dts, self.base
        packet.is_keyframe = sample.is_key
        self.put_packet(packet)

    def put_packet(self, packet: "Packet[VideoStream]") -> None:
        """Add an encoder's packet, whose pts and dts are ticks after the clip's start."""
        dts = packet.dts if packet.dts is not None else packet.pts or 0
        if self._held is None:
            self._first_dts = dts
        else:
            held = self._held.dts if self._held.dts is not None else 0
            self._held.duration = max(0, dts - held)
            self._mux(self._held)
        packet.dts = dts
        self._held = packet
        self.num_samples += 1

    def _mux(self, packet: "Packet[VideoStream]") -> None:
        if self.video is None:
            raise MediaError("a packet came before its stream")
        packet.stream = self.video
        seconds = float((packet.dts or 0) * self.base)
        self._mux_sound(seconds)
        with media_errors("mp4 cannot hold a frame"):
            self._container.mux(packet)

    def _mux_sound(self, until_s: float) -> None:
        while self._next_sound is not None and self._next_sound[0] <= until_s:
            with media_errors("mp4 cannot hold the sound"):
                try:
                    self._container.mux(self._next_sound[1])
                    self._num_sounds += 1
                except av.InvalidDataError:  # a damaged packet: the sound goes on without it
                    self._is_sound_damaged = True
            self._next_sound = next(self._sound_packets, None)

    def finish(self, duration: int) -> None:
        """Write the last frame, which ends `duration` ticks after the clip's start, and close the file."""
        if self._held is None:
            raise MediaError("no frame was written")
        self._held.duration = max(1, duration - ((self._held.dts or 0) - self._first_dts))
        self._mux(self._held)
        self._mux_sound(float("inf"))
        if self._is_sound_damaged and not self._num_sounds:
            raise MediaError("mp4 cannot hold the sound: all of it is damaged")
        self._container.close()
        set_duration(self.path, duration * (self.base * self.timescale).numerator)


def add_sound(video: Path, out: Mp4, duration: int) -> None:
    """Copy a written clip without audio to `out`, which has some, and remove it. Raises MediaError."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        out.copied(stream, sar=stream.sample_aspect_ratio or Fraction(1))
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and packet.dts is not None:
                ticks = packet.time_base / out.base
                out.put(Sample(bytes(packet), round(packet.pts * ticks), round(packet.dts * ticks), packet.is_keyframe))
    out.finish(duration)
    video.unlink()
