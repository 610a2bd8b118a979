"""The benchmarks' videos, made once in build/bench from the real clips: web video with hard cuts, about 16 scenes a minute."""

import multiprocessing
import random
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent.parent
ASSETS = ROOT / "tests" / "assets" / "videos"
FOLDER = ROOT / "build" / "bench"
FPS = 30
Picture = NDArray[np.uint8]


def web_video(seconds: int = 90, size: tuple[int, int] = (1280, 720)) -> Path:
    """H.264 720p30, x264 medium with its own keyframes (scene cuts, at most 250 frames apart)."""
    path = FOLDER / f"web-{size[1]}p-{seconds}s.mp4"
    if not path.exists():
        _make(path, seconds, size, {"preset": "medium", "crf": "23"})
    return path


def keyed_video(seconds: int = 30, size: tuple[int, int] = (1280, 720)) -> Path:
    """The same with a keyframe each second, as platforms serve it."""
    path = FOLDER / f"keyed-{size[1]}p-{seconds}s.mp4"
    if not path.exists():
        options = {"preset": "medium", "crf": "23", "g": str(FPS), "keyint_min": str(FPS), "sc_threshold": "0"}
        _make(path, seconds, size, options)
    return path


def long_video(hours: float = 2.0, size: tuple[int, int] = (640, 360)) -> Path:
    """A long video: a 90 s one, repeated without encoding again."""
    path = FOLDER / f"long-{hours:g}h-{size[1]}p.mp4"
    if path.exists():
        return path
    source = web_video(90, size)
    partial = path.with_suffix(".part.mp4")
    with av.open(str(partial), "w") as out:
        with av.open(str(source)) as one:
            stream = out.add_stream_from_template(one.streams.video[0])
        shift = 0
        for _ in range(round(hours * 3600 / 90)):
            with av.open(str(source)) as one:
                video = one.streams.video[0]
                length = int(video.duration or 0)
                for packet in one.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = (packet.pts or 0) + shift, packet.dts + shift
                    packet.stream = stream
                    out.mux(packet)
                shift += length
    partial.rename(path)
    return path


def _frames(name: str, size: tuple[int, int]) -> list[Picture]:
    with av.open(str(ASSETS / name)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    scale = max(size[0] / pictures[0].shape[1], size[1] / pictures[0].shape[0]) * 1.15
    return [cv2.resize(each, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) for each in pictures]


def _scenes(seconds: int, size: tuple[int, int]) -> Iterator[Picture]:
    """Cuts between parts of the real clips, flipped, cropped and toned apart, 2 to 6 s each."""
    rng = random.Random(7)
    names = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
    cache = {name: _frames(name, size) for name in names}
    left, last = seconds * FPS, ""
    while left > 0:
        name = rng.choice([each for each in names if each != last])
        last, frames = name, cache[name]
        length = min(left, rng.randint(2 * FPS, 6 * FPS), len(frames))
        start = rng.randint(0, len(frames) - length)
        flip, gain = rng.random() < 0.5, rng.uniform(0.7, 1.2)
        y = rng.randint(0, frames[0].shape[0] - size[1])
        x = rng.randint(0, frames[0].shape[1] - size[0])
        for frame in frames[start : start + length]:
            part = frame[y : y + size[1], x : x + size[0]]
            part = cv2.convertScaleAbs(part, alpha=gain)
            yield np.ascontiguousarray(part[:, ::-1]) if flip else part
        left -= length


def _make(path: Path, seconds: int, size: tuple[int, int], options: dict[str, str]) -> None:
    """In a process of its own: a command's peak memory is at least what the process that starts it ever held."""
    child = multiprocessing.get_context("spawn").Process(target=_encode, args=(path, seconds, size, options))
    child.start()
    child.join()
    assert child.exitcode == 0


def _encode(path: Path, seconds: int, size: tuple[int, int], options: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.mp4")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for picture in _scenes(seconds, size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode(None))
    partial.rename(path)
