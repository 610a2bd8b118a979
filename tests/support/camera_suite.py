"""Rendered clips whose camera motion is known: moves, textures, speeds, frame rates, objects, noise and compression.

A clip is rendered as a camera over a flat picture. A move is a function of time; the frames are those that a
FrameRequest would get of a clip of the case's fps, so nothing but the compressed cases needs a codec.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import FrameRequest, Frames, Rate

VIDEOS = Path(__file__).parents[1] / "assets" / "videos"


@dataclass(frozen=True)
class Pose:
    """Where the camera looks: x and y of the content in widths (right, down), log of the zoom, degrees of roll."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 0.0
    roll: float = 0.0


Move = Callable[[float], Pose]


@dataclass(frozen=True)
class Thing:
    """An object in front of the camera, in front of the background, with a texture of its own."""

    area: float  # share of the frame
    speed: float  # widths a second
    direction: float = 0.0  # degrees
    texture: str = "noise3"
    shape: str = "ellipse"
    swing: bool = False  # to and fro instead of once across
    grow: float = 0.0  # log size a second


@dataclass(frozen=True)
class Case:
    """One clip and the labels it must get."""

    name: str
    expected: frozenset[str]
    move: Move
    texture: str = "noise3"
    duration_s: float = 3.0
    fps: float = 30.0
    size: tuple[int, int] = (480, 270)
    noise: float = 0.0
    things: tuple[Thing, ...] = ()
    crf: int | None = None
    seed: int = 0
    whole_pixels: bool = False
    tags: frozenset[str] = field(default_factory=frozenset)


def sample_times(request: FrameRequest, fps: float, duration_s: float) -> NDArray[np.float64]:
    """The times of the frames that `request` (a Rate) gets of a clip of constant fps."""
    rate = request.sampling
    assert isinstance(rate, Rate)
    count = max(1, round(duration_s * fps))
    wanted = max(rate.min_frames, int(np.ceil(duration_s * rate.per_s - 1e-9)))
    at = np.arange(wanted) * min(1 / rate.per_s, duration_s / wanted)
    return np.unique(np.minimum(np.floor(at * fps + 1e-6), count - 1)) / fps


def frames_of(case: Case, request: FrameRequest) -> Frames:
    """What a stage with `request` sees of the case's clip: gray, long side as asked."""
    times_s = sample_times(request, case.fps, case.duration_s)
    numbers = np.round(times_s * case.fps).astype(int)
    if case.crf is None:
        shown = [render(case, number) for number in numbers]
    else:
        coded = compressed([render(case, n) for n in range(int(numbers[-1]) + 1)], fps=case.fps, crf=case.crf)
        shown = [coded[number] for number in numbers]
    assert request.long_side
    width, height = case.size
    scale = min(1.0, request.long_side / max(width, height))
    size = (round(width * scale), round(height * scale))
    return Frames(np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in shown]), times_s)


def render(case: Case, number: int) -> NDArray[np.uint8]:
    """Frame `number` of the clip, uint8 [H, W]."""
    width, height = case.size
    time_s = number / case.fps
    frame = _view(texture(case.texture), case.size, _matrix(case, case.move(time_s)))
    for thing in case.things:
        mask, paint = _thing(thing, case.size, time_s, case.duration_s)
        frame = frame * (1 - mask) + paint * mask
    if case.noise:
        noise = np.random.default_rng((case.seed, number)).standard_normal((height, width), np.float32)
        frame = frame + noise * case.noise
    return np.clip(np.round(frame), 0, 255).astype(np.uint8)


def compressed(frames: Sequence[NDArray[np.uint8]], *, fps: float, crf: int) -> list[NDArray[np.uint8]]:
    """The frames after x264 and back."""
    with av.open(io.BytesIO(mp4_of(frames, fps=fps, crf=crf))) as back:
        return [frame.to_ndarray(format="gray") for frame in back.decode(video=0)]


def mp4_of(frames: Sequence[NDArray[np.uint8]], *, fps: float, crf: int) -> bytes:
    """An H.264 mp4 of gray frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=round(fps), options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        out.mux(stream.encode())
    return buffer.getvalue()


def _matrix(case: Case, pose: Pose) -> NDArray[np.float64]:
    """From the texture's centre to the frame: rotation and zoom about the frame's centre, then the shift."""
    width, height = case.size
    angle, scale = np.deg2rad(pose.roll), np.exp(pose.zoom)
    x, y = pose.x * width, pose.y * width
    if case.whole_pixels:
        x, y = round(x), round(y)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    picture = texture(case.texture)
    there = np.array([picture.shape[1] / 2, picture.shape[0] / 2])
    turn = np.array([[cos, -sin], [sin, cos]])
    # the content first moves (x, y), then turns and grows about the frame's centre: a pan of a zoomed camera
    offset = np.array([width / 2, height / 2]) + turn @ (np.array([x, y]) - there)
    return np.column_stack([turn, offset])


def _view(picture: NDArray[np.float32], size: tuple[int, int], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """What the frame shows of a picture that continues as its own mirror image."""
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _thing(
    thing: Thing, size: tuple[int, int], time_s: float, duration_s: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mask 0 to 1 and paint, float32 [H, W]."""
    width, height = size
    along = thing.speed * (time_s - duration_s / 2)
    if thing.swing:
        along = thing.speed * duration_s / 6 * np.sin(2 * np.pi * time_s / duration_s * 1.5)
    angle = np.deg2rad(thing.direction)
    x = width / 2 + along * width * np.cos(angle)
    y = height / 2 + along * width * np.sin(angle)
    grown = float(np.exp(thing.grow * (time_s - duration_s / 2)))
    half_w = np.sqrt(thing.area * width * height / np.pi) * 1.1 * grown
    half_h = thing.area * width * height / np.pi / half_w * grown**2
    mask = np.zeros((height, width), np.float32)
    if thing.shape == "ellipse":
        cv2.ellipse(mask, ((x, y), (2 * half_w, 2 * half_h), 0.0), 1.0, -1, cv2.LINE_AA)
    else:
        side_w, side_h = half_w * 0.886, half_h * 0.886
        corners = [
            (x - side_w, y - side_h),
            (x + side_w, y - side_h),
            (x + side_w, y + side_h),
            (x - side_w, y + side_h),
        ]
        cv2.fillPoly(mask, [np.round(np.array(corners) * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    picture = texture(thing.texture)
    paint = _view(picture, size, np.array([[grown, 0, x - grown * 700.0], [0, grown, y - grown * 400.0]]))
    return mask, paint


@cache
def texture(name: str) -> NDArray[np.float32]:
    """A picture, float32 [H, W], 0 to 255, by name: noise3 (3 px blur), shapes, low8 (faint), bikes:10 ..."""
    rng = np.random.default_rng(len(name) * 7 + sum(map(ord, name)))
    shape = (1080, 1440)
    for kind, (mean, deviation) in {"noise": (128, 50), "low": (128, 5), "dark": (22, 7)}.items():
        if name.startswith(kind):
            return _spread(_noise(rng, shape, float(name.removeprefix(kind))), mean, deviation)
    drawn = {
        "fractal": _fractal,
        "shapes": _shapes,
        "sparse": _sparse,
        "checks": _checks,
        "board": _board,
        "plain": _plain,
    }
    if name in drawn:
        return drawn[name](rng, shape)
    video, number = name.split(":")
    return _still(VIDEOS / f"{video}.mp4", int(number))


def _noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> NDArray[np.float32]:
    white = rng.standard_normal(shape, np.float32)
    blurred = cv2.GaussianBlur(white, (0, 0), sigma) if sigma else white
    return blurred / blurred.std()


def _spread(field: NDArray[np.float32], mean: float, deviation: float) -> NDArray[np.float32]:
    return np.clip(field / field.std() * deviation + mean, 0, 255).astype(np.float32)


def _fractal(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Noise of all scales, as in nature."""
    field = np.zeros(shape, np.float32)
    for sigma in (1, 2, 4, 8, 16, 32):
        field += _noise(rng, shape, sigma) * sigma**0.8
    return _spread(field, 120, 45)


def _shapes(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Many discs and boxes before a softly shaded ground."""
    return _draw_shapes(rng, np.full(shape, 110, np.float32) + _noise(rng, shape, 60) * 8, 160)


def _sparse(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A few discs and boxes before a plain ground."""
    return _draw_shapes(rng, np.full(shape, 110, np.float32), 36)


def _draw_shapes(rng: np.random.Generator, picture: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    for _ in range(count):
        x, y, r = rng.uniform(0, picture.shape[1]), rng.uniform(0, picture.shape[0]), rng.uniform(15, 80)
        value = float(rng.uniform(10, 245))
        if rng.random() < 0.5:
            cv2.circle(picture, (int(x), int(y)), int(r), value, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(picture, (int(x - r), int(y - r * 0.6)), (int(x + r), int(y + r * 0.6)), value, -1)
    return picture


def _checks(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A checkerboard of random grays, each square 40 px."""
    squares = rng.uniform(20, 235, (shape[0] // 40, shape[1] // 40)).astype(np.float32)
    return cv2.resize(squares, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)


def _board(_: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A regular checkerboard, each square 36 px."""
    rows, columns = np.indices(shape) // 36
    return ((rows + columns) % 2 * 150 + 50).astype(np.float32)


def _plain(_: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """One grey."""
    return np.full(shape, 110, np.float32)


def _still(path: Path, number: int) -> NDArray[np.float32]:
    """A frame of a real video, enlarged to 1440 wide."""
    with av.open(str(path)) as video:
        for index, frame in enumerate(video.decode(video=0)):
            if index == number:
                gray = frame.to_ndarray(format="gray")
                height = round(gray.shape[0] * 1440 / gray.shape[1])
                return cv2.resize(gray, (1440, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    raise ValueError(f"{path} has no frame {number}")
