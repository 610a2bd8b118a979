"""The other tracks of numbered videos: beeps in step with the frames, and further video streams."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np


@dataclass(frozen=True)
class Beeps:
    """An audio track of silence with a 1 kHz tone of `tone_s` starting with every `every`-th frame."""

    every: int = 10
    tone_s: float = 0.02
    rate: int = 48000
    codec: str = "aac"
    layout: str = "mono"


def filler(stream: Any, num_frames: int) -> Iterator[tuple[float, list[av.Packet]]]:
    rate = float(stream.codec_context.framerate)
    for index in range(num_frames):
        frame = av.VideoFrame.from_ndarray(np.full((72, 64), 16 + index % 200, np.uint8), format="yuv420p")
        frame.pts = index
        yield index / rate, stream.encode(frame)
    yield num_frames / rate, stream.encode(None)


def beep_packets(
    stream: Any, beeps: Beeps, times: list[Fraction], fps: Fraction
) -> Iterator[tuple[float, list[av.Packet]]]:
    rate = beeps.rate
    first = times[0]
    total = int((times[-1] - first + 1 / fps) * rate)
    wave = np.zeros(total, np.float32)
    tone = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(int(beeps.tone_s * rate)) / rate).astype(np.float32)
    for time in times[:: beeps.every]:
        at = int((time - first) * rate)
        wave[at : at + len(tone)] = tone[: total - at]
    channels = 2 if beeps.layout == "stereo" else 1
    for at in range(0, total, 1024):
        chunk = np.repeat(wave[None, at : at + 1024], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk), format="fltp", layout=beeps.layout)
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = at + round(first * rate)
        yield float(first) + at / rate, stream.encode(frame)
    yield float(times[-1]) + 1, stream.encode(None)
