"""Composes the quickstart's raw videos from the real clips in tests/assets/videos and from rendered material.

street.mp4          bikes (hard cuts), a text card, a pan over a picture
bunny.mp4           an animated scene, a fade to black and back, a still picture, a talking head (with audio)
more/street.mp4     same file name in another folder: a zoom, the talking head letterboxed, a black stretch
bunny_again.mkv     a near-duplicate of the first scene of bunny.mp4, smaller and compressed harder
broken.mp4          the first half of street.mp4, without its index
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

ASSETS = Path(__file__).resolve().parent.parent / "tests" / "assets" / "videos"
FPS = 25
SIZE = (640, 360)
Picture = NDArray[np.uint8]


def real(name: str, *, start_s: float = 0.0, end_s: float = 60.0, bars: int = 0) -> Iterator[Picture]:
    """A real clip at FPS and SIZE, cropped to fill; `bars` rows of black above and below."""
    with av.open(str(ASSETS / name)) as container:
        step, due = 1 / FPS, start_s
        for frame in container.decode(video=0):
            while frame.time is not None and due <= frame.time and due < end_s:
                yield fit(frame.to_ndarray(format="rgb24"), bars)
                due += step


def fit(picture: Picture, bars: int = 0) -> Picture:
    """Scale and crop a picture to SIZE."""
    width, height = SIZE[0], SIZE[1] - 2 * bars
    scale = max(width / picture.shape[1], height / picture.shape[0])
    scaled = cv2.resize(
        picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    y, x = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return np.pad(scaled[y : y + height, x : x + width], ((bars, bars), (0, 0), (0, 0)))


def picture_of(name: str, at_s: float) -> Picture:
    """One frame of a real clip, at its own size."""
    with av.open(str(ASSETS / name)) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= at_s:
                return frame.to_ndarray(format="rgb24")
    raise ValueError(f"{name} is shorter than {at_s} s")


def text_card(seconds: float) -> Iterator[Picture]:
    """White text on blue, nothing moves."""
    card = np.full((SIZE[1], SIZE[0], 3), (20, 40, 110), np.uint8)
    for i, line in enumerate(("SHARDPIPE", "a demo in four parts", "part one: the street")):
        cv2.putText(card, line, (60, 120 + 70 * i), cv2.FONT_HERSHEY_SIMPLEX, 1.3, (255, 255, 255), 2, cv2.LINE_AA)
    return (card for _ in range(round(seconds * FPS)))


def camera_move(picture: Picture, seconds: float, *, zoom: bool) -> Iterator[Picture]:
    """A pan to the right, or a zoom in, over a picture."""
    num = round(seconds * FPS)
    base = cv2.resize(picture, (SIZE[0] * 2, SIZE[1] * 2), interpolation=cv2.INTER_CUBIC)
    for i in range(num):
        share = i / (num - 1)
        width = SIZE[0] * (2.0 - 0.8 * share) if zoom else float(SIZE[0]) * 1.2
        height = width * SIZE[1] / SIZE[0]
        left = (base.shape[1] - width) * (0.5 if zoom else share)
        top = (base.shape[0] - height) / 2
        points = np.array([[left, top], [left + width, top], [left, top + height]], np.float32)
        target = np.array([[0, 0], [SIZE[0], 0], [0, SIZE[1]]], np.float32)
        yield cv2.warpAffine(base, cv2.getAffineTransform(points, target), SIZE, flags=cv2.INTER_LINEAR)


def still(picture: Picture, seconds: float) -> Iterator[Picture]:
    """The same picture for some time."""
    fitted = fit(picture)
    return (fitted for _ in range(round(seconds * FPS)))


def faded(frames: Iterable[Picture], *, in_s: float = 0.0, out_s: float = 0.0) -> Iterator[Picture]:
    """Frames that come up from black, or go down to it."""
    listed = list(frames)
    for i, frame in enumerate(listed):
        up = min(1.0, (i + 1) / (in_s * FPS)) if in_s else 1.0
        down = min(1.0, (len(listed) - i) / (out_s * FPS)) if out_s else 1.0
        yield (frame * min(up, down)).astype(np.uint8)


def write(
    path: Path, parts: Iterable[Iterable[Picture]], *, crf: int = 23, scale: float = 1.0, tone: bool = False
) -> None:
    """Encode parts one after the other, H.264 with a keyframe at scene cuts, as web video is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = (round(side * scale) // 2 * 2 for side in SIZE)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="mono") if tone else None
        num = 0
        for picture in (picture for part in parts for picture in part):
            resized = picture if scale == 1.0 else cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(resized), format="rgb24")))
            num += 1
        container.mux(stream.encode(None))
        if audio is not None:
            times = np.arange(int(num / FPS * 44100), dtype=np.float32) / 44100
            sound = av.AudioFrame.from_ndarray((0.1 * np.sin(2 * np.pi * 440 * times))[None, :], "fltp", "mono")
            sound.sample_rate = 44100
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))


def make(folder: Path) -> None:
    """Make all demo videos in `folder`."""
    landscape = picture_of("bigbuckbunny.mp4", 2.0)
    write(folder / "street.mp4", [real("bikes.mp4"), text_card(3.0), camera_move(landscape, 5.0, zoom=False)])
    bunny = list(real("bigbuckbunny.mp4"))
    face = list(real("carphone_pristine.mp4"))
    parts = [faded(bunny, out_s=1.0), faded(real("bikes.mp4", end_s=3.0), in_s=1.0), still(landscape, 3.0), face]
    write(folder / "bunny.mp4", parts, tone=True)
    boxed = real("carphone_pristine.mp4", bars=50)
    black = still(np.zeros((*SIZE[::-1], 3), np.uint8), 2.0)
    write(folder / "more" / "street.mp4", [camera_move(landscape, 4.0, zoom=True), boxed, black])
    write(folder / "bunny_again.mkv", [bunny, face], crf=32, scale=0.75)
    whole = (folder / "street.mp4").read_bytes()
    (folder / "broken.mp4").write_bytes(whole[: len(whole) // 2])


if __name__ == "__main__":
    make(Path(sys.argv[1]))
