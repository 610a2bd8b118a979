"""Synthetic videos with a number drawn into every frame: coarse luma blocks that survive any codec, size and range.

The upper quarter of the picture holds 8 x 2 blocks, black or white: 12 bits of the frame's number (highest first) and
4 check bits. The rest is a soft texture that drifts, and changes wholly where a new scene starts.

    video = make_numbered(tmp_path / "a.mp4", num_frames=100, fps=Fraction(25), options={"g": "48"})
    numbers_pyav(video.path) == list(range(100))
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from support.numbered_tracks import Beeps, beep_packets, filler

COLUMNS, ROWS, NUMBER_BITS = 8, 2, 12
UNREADABLE = -1
TEXTURES = 64  # scenes that look different


@dataclass(frozen=True)
class Numbered:
    """A video on disk: `times_s[i]` is when the frame with number i is shown, by the source's own clock."""

    path: Path
    times_s: tuple[Fraction, ...]
    scenes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Look:
    """What is drawn beside the number. `scenes`: frames at which the texture changes wholly."""

    scenes: tuple[int, ...] = ()
    drift: float = 1.5  # pixels a frame
    alpha: bool = False
    noise: float = 0.0
    textures: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False, compare=False)


def check_bits(number: int) -> int:
    """4 bits that tell a misread number: the sum of its 3 nibbles with weights."""
    return (number + 3 * (number >> 4) + 7 * (number >> 8) + 5) & 15


def paint(number: int, size: tuple[int, int], look: Look | None = None) -> NDArray[np.uint8]:
    """Planes of frame `number`, uint8 [3, height, width], YUV 4:4:4 in video range; `size` is (width, height)."""
    look = look or Look()
    width, height = size
    scene = sum(start <= number for start in look.scenes)
    texture = look.textures.get(scene)
    if texture is None:
        texture = look.textures[scene] = _texture(scene, width, height)
    shift = round(number * look.drift) % texture.shape[2]
    planes = np.roll(texture, shift, axis=2)[:, :height, :width].copy()
    if look.noise:
        rng = np.random.default_rng(number)
        noisy = planes[0] + rng.normal(0, look.noise, planes[0].shape)
        planes[0] = np.clip(noisy, 16, 235).astype(np.uint8)
    strip = max(ROWS, height // 4)
    code = number << 4 | check_bits(number)
    for bit in range(COLUMNS * ROWS):
        row, column = divmod(bit, COLUMNS)
        y0, y1 = strip * row // ROWS, strip * (row + 1) // ROWS
        x0, x1 = width * column // COLUMNS, width * (column + 1) // COLUMNS
        planes[0, y0:y1, x0:x1] = 225 if code >> (15 - bit) & 1 else 30
        planes[1:, y0:y1, x0:x1] = 128
    return planes


def _texture(scene: int, width: int, height: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(1000 + scene % TEXTURES)
    small = rng.integers(40, 200, (3, max(2, height // 12), max(2, width // 12))).astype(np.uint8)
    small[1:] = np.clip(128 + (small[1:].astype(int) - 120) // 4 + rng.integers(-40, 41, (2, 1, 1)), 16, 240)
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in small]
    return np.stack(planes)


def read_number(luma: NDArray[Any], *, turn: int = 0) -> int:
    """The number drawn in a picture [H, W] (any integer depth or range); -1 where a block is unclear or checks fail.

    `turn`: degrees clockwise that the picture was turned when it was displayed (it is turned back first).
    """
    if turn:
        luma = np.rot90(luma, turn // 90)
    height, width = luma.shape
    strip = height / 4
    means = []
    for bit in range(COLUMNS * ROWS):
        row, column = divmod(bit, COLUMNS)
        y0, y1 = strip * (row + 0.25) / ROWS, strip * (row + 0.75) / ROWS
        x0, x1 = width * (column + 0.25) / COLUMNS, width * (column + 0.75) / COLUMNS
        cell = luma[int(y0) : max(int(y0) + 1, int(y1)), int(x0) : max(int(x0) + 1, int(x1))]
        means.append(float(cell.mean()))
    low, high = min(means), max(means)
    if high - low < 0.2 * max(high, 1):
        return UNREADABLE
    levels = [(mean - low) / (high - low) for mean in means]
    if any(0.35 < level < 0.65 for level in levels):
        return UNREADABLE
    code = int("".join("1" if level > 0.5 else "0" for level in levels), 2)
    number = code >> 4
    return number if check_bits(number) == code & 15 else UNREADABLE


def luma_of(frame: av.VideoFrame) -> NDArray[Any]:
    """The luma of a decoded frame, [H, W], as coded (rotation not applied): of YUV its plane, without any conversion."""
    if not frame.format.name.startswith(("yuv", "gray")):
        return frame.to_ndarray(format="gray")
    plane, deep = frame.planes[0], frame.format.components[0].bits > 8
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows.view("<u2")[:, : plane.width] if deep else rows[:, : plane.width]


def number_of(frame: av.VideoFrame) -> int:
    """The number drawn in a decoded frame."""
    return read_number(luma_of(frame))


def numbers_pyav(source: Any, *, turn: int = 0) -> list[int]:
    """The numbers of a file's frames, as PyAV decodes them in order."""
    with av.open(source if hasattr(source, "read") else str(source)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return [read_number(luma_of(frame), turn=turn) for frame in container.decode(stream)]


def numbers_cv2(path: Path, *, turn: int = 0) -> list[int]:
    """The numbers of a file's frames, as OpenCV decodes them (it applies rotation: give `turn`)."""
    capture = cv2.VideoCapture(str(path))
    numbers = []
    while True:
        ok, bgr = capture.read()
        if not ok:
            break
        numbers.append(read_number(bgr.mean(axis=2), turn=turn))
    capture.release()
    return numbers


def numbers_decord(path: Path, *, turn: int = 0) -> list[int]:
    """The numbers of a file's frames, as decord decodes them."""
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    return [read_number(reader[i].asnumpy().mean(axis=2), turn=turn) for i in range(len(reader))]


def vfr_times(num_frames: int, *, seed: int = 0, fps: int = 25) -> list[Fraction]:
    """Times of a video of variable frame rate, whole milliseconds: steps of 0.4 to 3 frame durations."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(int(400 / fps), int(3000 / fps), num_frames)
    return [Fraction(int(ms), 1000) for ms in np.concatenate([[0], np.cumsum(steps)[:-1]])]


def make_numbered(
    path: Path,
    *,
    num_frames: int = 100,
    fps: Fraction | int = 25,
    times_s: Sequence[Fraction] | None = None,
    size: tuple[int, int] = (320, 180),
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    scenes: Sequence[int] = (),
    key_frames: Sequence[int] = (),
    look: Look | None = None,
    time_base: Fraction | None = None,
    start: Fraction | int = 0,
    rotation: int = 0,
    sar: Fraction | int = 1,
    interlaced: bool = False,
    color: Mapping[str, int] | None = None,
    container_options: Mapping[str, str] | None = None,
    container_format: str | None = None,
    audio: Beeps | None = None,
    more_videos: int = 0,
    numbers: Sequence[int] | None = None,
) -> Numbered:
    """Write a numbered video; the container follows the path's suffix.

    `times_s` gives each frame's time (variable frame rate); else they are spaced by `fps`, from `start` seconds.
    `key_frames` forces keyframes (IDR for x264) at these frames; `scenes` are places where the picture changes wholly.
    `rotation` is clockwise as displayed (mp4, mov); `color` sets color_range, color_trc, color_primaries, colorspace.
    `more_videos` further video streams follow, smaller, without numbers.
    """
    fps = Fraction(fps)
    times = list(times_s) if times_s is not None else [Fraction(i) / fps for i in range(num_frames)]
    times = [time + Fraction(start) for time in times]
    base = time_base or (Fraction(1, 90000) if times_s is not None else 1 / fps)
    options = dict(options or {})
    if codec == "libx264":
        options = {"preset": "veryfast", "threads": "1", **options}
    if codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "0")  # it prints its banner else
        options = {"preset": "10", "crf": "20", "svtav1-params": "lp=1", **options}
    if codec == "libvpx-vp9":
        options = {"deadline": "realtime", "cpu-used": "8", **options}
    if codec == "libx265":
        options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1", **options}
    look = look or Look(scenes=tuple(scenes), alpha="a" in pix_fmt.removeprefix("gray"))
    with av.open(str(path), "w", format=container_format, options=dict(container_options or {})) as out:
        stream: Any = out.add_stream(codec, rate=fps, options=options, time_base=base)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.sample_aspect_ratio = Fraction(sar)
        stream.codec_context.thread_count = 1
        for name, value in (color or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(-rotation)
        if interlaced:
            stream.codec_context.flags |= 1 << 18 | 1 << 29  # interlaced DCT and motion estimation
            stream.codec_context.field_order = 2
        others = [out.add_stream("mpeg4", rate=fps, width=64, height=48) for _ in range(more_videos)]
        sound: Any = None
        if audio:
            sound = out.add_stream(audio.codec, rate=audio.rate, options={"strict": "experimental"})
            sound.layout = audio.layout
        tracks: list[Iterator[tuple[float, list[av.Packet]]]] = [
            _picture(
                stream,
                times,
                base=base,
                size=size,
                look=look,
                pix_fmt=pix_fmt,
                key_frames=set(key_frames),
                numbers=numbers,
            )
        ]
        tracks += [filler(other, len(times)) for other in others]
        if audio:
            tracks.append(beep_packets(sound, audio, times, fps))
        _mux(out, tracks)
    return Numbered(Path(path), tuple(times), tuple(scenes))


def _mux(out: Any, tracks: list[Iterator[tuple[float, list[av.Packet]]]]) -> None:
    heads: list[tuple[float, list[av.Packet]] | None] = [next(track, None) for track in tracks]
    while any(heads):
        index = min((i for i, head in enumerate(heads) if head), key=lambda i: heads[i][0])  # type: ignore[index]
        for packet in heads[index][1]:  # type: ignore[index]
            out.mux(packet)
        heads[index] = next(tracks[index], None)


def _picture(
    stream: Any,
    times: list[Fraction],
    *,
    base: Fraction,
    size: tuple[int, int],
    look: Look,
    pix_fmt: str,
    key_frames: set[int],
    numbers: Sequence[int] | None,
) -> Iterator[tuple[float, list[av.Packet]]]:
    for index, time in enumerate(times):
        number = numbers[index] if numbers is not None else index
        frame = numbered_frame(number, size, look, pix_fmt, full_range=stream.codec_context.color_range == 2)
        frame.pts = round(time / base)
        frame.time_base = base
        if index in key_frames:
            frame.pict_type = av.video.frame.PictureType.I
        yield float(time), stream.encode(frame)
    yield float(times[-1]) + 1e-3, stream.encode(None)


def numbered_frame(
    number: int, size: tuple[int, int], look: Look | None = None, pix_fmt: str = "yuv420p", *, full_range: bool = False
) -> av.VideoFrame:
    """One frame with its number drawn, in any pixel format; with alpha, a gradient from clear to opaque."""
    planes = paint(number, size, look)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv444p")
    if look is not None and look.alpha:
        rgba = np.dstack(
            [
                frame.to_ndarray(format="rgb24"),
                np.full(size[::-1], 255, np.uint8),
            ]
        )
        rgba[size[1] // 2 :, :, 3] = np.linspace(0, 255, size[0]).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgba), format="rgba")
    return frame.reformat(format=pix_fmt, dst_color_range=2 if full_range else None)
