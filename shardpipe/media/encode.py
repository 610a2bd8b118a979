"""Encode frames to H.264, HEVC, AV1 or VP9 in mp4, so that bytes depend on the frames and the settings alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange

from shardpipe.core.cutting import PRESETS, WriteSpec
from shardpipe.core.errors import ConfigError, MediaError
from shardpipe.core.video import VideoFacts
from shardpipe.media.remux import Mp4
from shardpipe.media.upright import Upright, shape_of

SOFTWARE = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}
NVENC = {"h264": "h264_nvenc", "hevc": "hevc_nvenc", "av1": "av1_nvenc"}
AV1_PRESETS = dict(zip(PRESETS, (12, 11, 10, 9, 8, 6, 4, 3, 2, 0), strict=True))
VP9_SPEEDS = dict(zip(PRESETS, (8, 7, 6, 5, 4, 3, 2, 1, 0, 0), strict=True))
NVENC_PRESETS = dict(zip(PRESETS, (1, 1, 2, 3, 4, 5, 6, 7, 7, 7), strict=True))
DEEP = {"libx264", "libx265", "libsvtav1", "hevc_nvenc", "av1_nvenc"}
"""Encoders that take 10 bits; the others here make 8 of them."""


MAX_TIMESCALE = 2**31
NEVER = -(2**63)


@dataclass(frozen=True)
class Encoding:
    """An encoder by FFmpeg's name, its options, and the pixel format that it is given."""

    encoder: str
    options: dict[str, str]
    pix_fmt: str


def encoding_of(spec: WriteSpec, facts: VideoFacts, *, rate: Fraction) -> Encoding:
    """How a video is encoded; `rate` is the clip's frames a second. Raises ConfigError where no encoder fits."""
    encoder = (NVENC if spec.encoder == "nvenc" else SOFTWARE).get(spec.codec)
    if encoder is None:
        raise ConfigError(f"cut.write: there is no nvenc encoder for {spec.codec}; use encoder: software")
    gop = str(max(1, round(spec.gop_s * rate)))
    deep = facts.bit_depth > 8 and encoder in DEEP  # noqa: PLR2004
    return Encoding(encoder, {"g": gop, **_options(encoder, spec)}, "yuv420p10le" if deep else "yuv420p")


def _options(encoder: str, spec: WriteSpec) -> dict[str, str]:
    crf, preset = str(spec.crf), spec.speed
    match encoder:
        case "libx264":
            return {"preset": preset, "crf": crf, "threads": "1", "x264-params": "cpu-independent=1"}
        case "libx265":
            quiet = "log-level=none:info=0:pools=none:frame-threads=1:wpp=0:open-gop=0:repeat-headers=0"
            return {"preset": preset, "crf": crf, "x265-params": quiet, "threads": "1"}
        case "libsvtav1":
            os.environ.setdefault("SVT_LOG", "0")  # it prints a banner for each clip else
            number = str(AV1_PRESETS.get(preset, preset))
            return {"preset": number, "crf": crf, "svtav1-params": "lp=1", "threads": "1"}
        case "libvpx-vp9":
            speed = str(VP9_SPEEDS.get(preset, preset))
            return {"crf": crf, "b": "0", "cpu-used": speed, "deadline": "good", "threads": "1", "row-mt": "0"}
        case _:
            number = f"p{NVENC_PRESETS[preset]}" if preset in NVENC_PRESETS else preset
            return {"preset": number, "rc": "vbr", "cq": crf, "b": "0", "forced-idr": "1"}


def video_encoder(name: str) -> VideoCodecContext:
    """An encoder's context, to be set up. Raises MediaError if there is no such video encoder."""
    try:
        context = av.CodecContext.create(name, "w")
    except av.FFmpegError as error:
        raise MediaError(f"there is no encoder {name} here") from error
    if not isinstance(context, VideoCodecContext):
        raise MediaError(f"{name} is no video encoder")
    return context


def check_encoder(spec: WriteSpec) -> None:
    """Encode a black picture as `spec` says. Raises ConfigError that names the encoder if that fails."""
    encoder = (NVENC if spec.encoder == "nvenc" else SOFTWARE).get(spec.codec)
    if encoder is None:
        raise ConfigError(f"cut.write: there is no nvenc encoder for {spec.codec}; use encoder: software")
    try:
        context = video_encoder(encoder)
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        context.options = {"g": "25", **_options(encoder, spec)}
        frame = VideoFrame(256, 256, "yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        for plane, value in zip(frame.planes, (16, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        packets = [*context.encode(frame), *context.encode(None)]
    except (av.FFmpegError, ValueError, MediaError) as error:
        raise ConfigError(
            f"cut.write: {encoder} cannot encode on this machine with preset {spec.speed!r} ({error}); "
            f"{'use encoder: software' if spec.encoder == 'nvenc' else 'use another preset or codec'}"
        ) from error
    if not packets:
        raise ConfigError(f"cut.write: {encoder} gave nothing for a test picture on this machine")


def encoding_base(spec: WriteSpec, base: Fraction) -> Fraction:
    """The time base of an encoded clip: the source's, or where it is resampled one that holds both exactly."""
    if not spec.fps:
        return base
    rate = _rate(spec.fps)
    both = Fraction(1, lcm(base.denominator, rate.numerator))
    return both if both.denominator < MAX_TIMESCALE else Fraction(1, rate.numerator)


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


class Recoder:
    """Encodes the frames of one span into an mp4, one after the other.

    start, the pts of frames, end: ticks of `base`, the source's. `pts`: of frames written, ticks of the mp4's own base (`base`)
    after the clip's start. in_order: without B-frames. num_seen, last_seen: how many frames were given, and the last one's pts.
    rate: frames a second of the mp4, on average or (resamples) exactly.
    """

    def __init__(
        self, out: Mp4, start: int, *, base: Fraction, spec: WriteSpec, facts: VideoFacts, in_order: bool = False
    ) -> None:
        rate = _rate(spec.fps) if spec.fps else facts.fps
        self.codec, self.base = spec.codec, out.base
        self._encoding = encoding_of(spec, facts, rate=rate)
        if in_order:
            self._encoding.options["bf"] = "0"
        self._shape = shape_of(facts, short_side=spec.short_side, pix_fmt=self._encoding.pix_fmt)
        self._upright = Upright(self._shape, base)
        self._out, self._start, self.rate, self._scale = out, start, rate, base / out.base
        self.resamples = bool(spec.fps)
        self._resampler = Resampler(start=0, base=out.base, rate=rate) if spec.fps else None
        self._stream: av.VideoStream | None = None
        self._is_full = False
        self.pts: list[int] = []
        self.num_seen = 0
        self.last_seen = NEVER

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the encoded picture."""
        return self._shape.size

    @property
    def pix_fmt(self) -> str:
        """Of the encoded picture, as decoders name it."""
        full = self._is_full and self.codec in ("h264", "hevc") and self._encoding.pix_fmt == "yuv420p"
        return "yuvj420p" if full else self._encoding.pix_fmt

    def add(self, frame: VideoFrame) -> None:
        """Encode a frame; its pts stays as it is. Raises MediaError."""
        pts, base = frame.pts, frame.time_base
        self.num_seen, self.last_seen = self.num_seen + 1, pts or 0
        for ready in self._upright.one(frame):
            self._timed(ready)
        frame.pts, frame.time_base = pts, base

    def finish(self, end: int) -> None:
        """Write what is left; the clip ends at `end`. Raises MediaError."""
        for ready in self._upright.rest():
            self._timed(ready)
        duration = round((end - self._start) * self._scale)
        if self._resampler:
            for frame in self._resampler.until(duration):
                self._encode(frame)
        if self._stream is None:
            raise MediaError("there is no frame to encode")
        with _encoding(self._encoding.encoder):
            packets = self._stream.codec_context.encode(None)
        for packet in packets:
            self._out.put_packet(packet)
        self._out.finish(duration)

    def _timed(self, frame: VideoFrame) -> None:
        at = round(((frame.pts or 0) - self._start) * self._scale)
        if self._resampler is None:
            frame.pts = at
            self._encode(frame)
            return
        for ready in self._resampler.until(at):
            self._encode(ready)
        self._resampler.hold(frame)

    def _encode(self, frame: VideoFrame) -> None:
        self._stream = self._stream or self._open(frame)
        self.pts.append(frame.pts or 0)
        frame.time_base = self._out.base
        frame.pict_type = PictureType.NONE
        with _encoding(self._encoding.encoder):
            packets = self._stream.codec_context.encode(frame)
        for packet in packets:
            self._out.put_packet(packet)

    def _open(self, frame: VideoFrame) -> av.VideoStream:
        stream = self._out.encoded(self._encoding.encoder, self._encoding.options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
        context.framerate, context.thread_count = self.rate, 1
        context.color_range, context.color_trc = frame.color_range, frame.color_trc
        context.color_primaries, context.colorspace = frame.color_primaries, frame.colorspace
        self._is_full = frame.color_range == ColorRange.JPEG
        if self._encoding.encoder in ("libx265", "hevc_nvenc"):
            context.codec_tag = "hvc1"
        return stream


@contextmanager
def _encoding(encoder: str) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{encoder} cannot encode a frame: {error}") from error


class Resampler:
    """Frames at a constant rate: each the one on screen at its time; some twice, some left out.

    The n-th is shown n / rate seconds after `start`. pts in and out: ticks. A frame that is given again is the same object
    with a new pts: use one before taking the next.
    """

    def __init__(self, *, start: int, base: Fraction, rate: Fraction) -> None:
        self._start, self._step, self._number = start, 1 / (rate * base), 0
        self._last: VideoFrame | None = None

    def hold(self, frame: VideoFrame) -> None:
        """From now on this frame is on screen."""
        self._last = frame

    def until(self, end: int) -> Iterator[VideoFrame]:
        """The last frame, as often as it is on screen before `end`."""
        while self._last is not None and self._start + self._number * self._step < end:
            self._last.pts = self._start + round(self._number * self._step)
            self._number += 1
            yield self._last
