"""A clip's audio: the packets that sound during its span, copied where mp4 can hold them, else encoded to AAC.

Audio starts with the packet that sounds at the span's first frame, and the one or few before it that decoders need to
get that one right. What lies before the first frame is hidden by the track's edit list, so sound and picture are in
sync to the sample in players that honour it (all usual ones), and within those few packets elsewhere.
"""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from shardpipe.core.errors import MediaError
from shardpipe.media.source import media_errors
from shardpipe.media.timeline import with_data

COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
"""Codecs that are kept as they are."""

LEAD_PACKETS = {"aac": 1, "mp3": 3, "opus": 4, "ac3": 1, "eac3": 1, "vorbis": 2, "wmav1": 1, "wmav2": 1, "dts": 1}
"""Packets before the first one that its decoder needs to get the sound right; hidden as well."""

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
BIT_RATE = 128_000
FRAME = 1024
SEEK_BACK_S = (1.0, 10.0, 60.0)


class SpanSound:
    """The audio of one span (seconds on the source's clock) of an opened container; all its packets are read at once.
    `packets`: each with its time. Raises MediaError.
    """

    def __init__(self, container: InputContainer, stream: AudioStream, start: Fraction, end: Fraction) -> None:
        self._container, self._stream, self._start = container, stream, start
        self.packets: list[tuple[Packet[AudioStream], Fraction]] = []
        led = LEAD_PACKETS.get(stream.codec_context.codec.canonical_name, 0)
        lead: deque[tuple[Packet[AudioStream], Fraction]] = deque(maxlen=led)
        for packet, at in self._from_before():
            if at >= end:
                break
            if at + (packet.duration or 0) * packet.time_base > start:
                self.packets += [*lead, (packet, at - start)]
                lead.clear()
            elif not self.packets:
                lead.append((packet, at - start))

    def begin(self, container: OutputContainer) -> "Iterator[tuple[float, Packet[AudioStream]]]":
        """See `remux.Sound`."""
        context = self._stream.codec_context
        if context.codec.canonical_name in COPIED:
            return self._copied(container.add_stream_from_template(self._stream, opaque=True))
        encoder = container.add_stream("aac", rate=context.sample_rate if context.sample_rate in RATES else 48000)
        encoder.codec_context.layout = LAYOUTS.get(context.layout.nb_channels, "stereo")
        encoder.codec_context.bit_rate = BIT_RATE
        return self._encoded(encoder)

    def _copied(self, out: AudioStream) -> "Iterator[tuple[float, Packet[AudioStream]]]":
        sample = Fraction(1, self._stream.codec_context.sample_rate)
        for packet, at in self.packets:
            copy = cast("Packet[AudioStream]", Packet(bytes(packet)))
            base = min(packet.time_base, sample)  # AVI counts whole packets, and clips start between them
            copy.pts = copy.dts = round(at / base)
            copy.time_base, copy.is_keyframe = base, True
            copy.duration = round((packet.duration or 0) * packet.time_base / base)
            copy.stream = out
            yield float(at), copy

    def _encoded(self, out: AudioStream) -> "Iterator[tuple[float, Packet[AudioStream]]]":
        rate = out.codec_context.sample_rate
        resampler = AudioResampler("fltp", out.codec_context.layout, rate, frame_size=FRAME)
        number: int | None = None
        for decoded, at in [*self._decoded(), (None, Fraction(0))]:
            number = round(at * rate) if number is None else number
            for frame in resampler.resample(decoded):
                frame.pts, frame.time_base = number, Fraction(1, rate)
                number += frame.samples
                yield from _packets(out, frame)
        yield from _packets(out, None)

    def _decoded(self) -> Iterator[tuple[AudioFrame, Fraction]]:
        """Frames, each with the time of the packet that it came out with: the first packets may give none."""
        context = self._stream.codec_context
        context.flush_buffers()
        with media_errors("the audio cannot be decoded"):
            for packet, at in self.packets:
                for frame in context.decode(packet):
                    frame.pts = None
                    yield frame, at

    def _from_before(self) -> "Iterator[tuple[Packet[AudioStream], Fraction]]":
        base = self._stream.time_base
        if not base:
            raise MediaError("the audio stream has no time base")
        for back_s in SEEK_BACK_S:
            self._seek(round((self._start - Fraction(back_s)) / base))
            packets = self._timed()
            first = next(packets, None)
            if first is None or first[1] <= self._start or back_s == SEEK_BACK_S[-1]:
                if first is not None:
                    yield first
                yield from packets
                return

    def _seek(self, target: int) -> None:
        try:
            self._container.seek(target, stream=self._stream, backward=True)
        except av.FFmpegError:  # some demuxers refuse to seek before the first packet
            with media_errors("cannot seek for audio"):
                self._container.seek(max(target, self._stream.start_time or 0), stream=self._stream, backward=True)

    def _timed(self) -> "Iterator[tuple[Packet[AudioStream], Fraction]]":
        last: int | None = None
        for packet in with_data(self._container.demux(self._stream)):
            at = packet.pts if packet.pts is not None else packet.dts
            if at is not None and (last is None or at > last):  # else its time is damaged
                last = at
                yield packet, at * packet.time_base


def _packets(out: AudioStream, frame: AudioFrame | None) -> "Iterator[tuple[float, Packet[AudioStream]]]":
    for packet in out.encode(frame):
        yield float((packet.pts or 0) * packet.time_base), packet


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream that can be decoded; None if there is none."""
    for stream in container.streams.audio:
        context: object = stream.codec_context
        if context is not None and isinstance(context, av.AudioCodecContext) and context.sample_rate:
            return stream
    return None
