"""Pictures that move, as small bgr frames, and ways to join them: real clips and textures under a moving camera."""

import itertools
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

VIDEOS = Path(__file__).parents[1] / "assets" / "videos"
SIZE = (256, 144)
FPS = 25

Frames = NDArray[np.uint8]

BIKES_CUTS = (30, 76, 137, 187, 242)


@cache
def real(name: str) -> Frames:
    """All frames of a shipped clip, uint8 [T, 144, 256, 3]."""
    with av.open(str(VIDEOS / name)) as container:
        container.streams.video[0].thread_count = 1
        frames = [frame.reformat(*SIZE, "bgr24", interpolation="AREA") for frame in container.decode(video=0)]
        return np.stack([frame.to_ndarray() for frame in frames])


def real_shots() -> list[Frames]:
    """Single shots of the shipped clips."""
    bikes, cuts = real("bikes.mp4"), (0, *BIKES_CUTS)
    shots = [bikes[a:b] for a, b in itertools.pairwise(cuts)]
    return [*shots, real("bigbuckbunny.mp4")[:110], real("carphone_pristine.mp4")]


def loop(frames: Frames, num: int) -> Frames:
    """`num` frames of a shot, to and fro."""
    index = np.arange(num) % (2 * len(frames) - 2)
    return frames[np.where(index < len(frames), index, 2 * len(frames) - 2 - index)]


@cache
def texture(seed: int, roughness: float = 1.6) -> Frames:
    """A picture of 900x600 with the power spectrum of natural ones, f^-roughness in amplitude."""
    rng = np.random.default_rng(seed)
    width, height = 900, 600
    radius = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width) + 1

    def field() -> NDArray[np.float64]:
        spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / radius**roughness
        return np.fft.irfft2(spectrum, s=(height, width))

    base = field()
    planes = []
    for _ in range(3):
        plane = 0.8 * base + 0.4 * field()
        plane = (plane - plane.mean()) / plane.std()
        planes.append(plane * rng.uniform(35, 60) + rng.uniform(80, 170))
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def camera(
    picture: Frames, num: int, *, pan: float = 0, tilt: float = 0, zoom: float = 0, roll: float = 0, shake: float = 0
) -> Frames:
    """A camera over a picture: pixels, e-folds and degrees a second; shake in pixels a frame."""
    rng = np.random.default_rng(num)
    height, width = picture.shape[:2]
    wander = np.cumsum(rng.normal(size=(num, 2)), 0) * shake
    wander -= wander.mean(0)
    frames = []
    for i in range(num):
        at_s = i / FPS - num / FPS / 2
        x, y = width / 2 + pan * at_s + wander[i, 0], height / 2 + tilt * at_s + wander[i, 1]
        matrix = cv2.getRotationMatrix2D((x, y), roll * i / FPS, float(np.exp(zoom * i / FPS)))
        matrix[:, 2] += [SIZE[0] / 2 - x, SIZE[1] / 2 - y]
        frames.append(cv2.warpAffine(picture, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
    return np.stack(frames)


def dissolve(one: Frames, two: Frames, num: int) -> tuple[Frames, tuple[int, int]]:
    """The two joined by `num` mixed frames; and the range of the mixed ones."""
    share = ((np.arange(num) + 1) / (num + 1))[:, None, None, None]
    mixed = ((1 - share) * one[-num:] + share * two[:num]).round().astype(np.uint8)
    return np.concatenate([one[:-num], mixed, two[num:]]), (len(one) - num, len(one))


def fade(one: Frames, two: Frames, num: int, *, hold: int, color: int) -> tuple[Frames, tuple[int, int]]:
    """The two joined by a fade to a colour and one from it; and the range of the frames of neither."""
    share = ((np.arange(num) + 1) / (num + 1))[:, None, None, None]
    out = (one[-num:] * (1 - share) + color * share).round().astype(np.uint8)
    back = (two[:num] * share + color * (1 - share)).round().astype(np.uint8)
    plain = np.full((hold, *one.shape[1:]), color, np.uint8)
    return np.concatenate([one[:-num], out, plain, back, two[num:]]), (len(one) - num, len(one) + hold + num)
