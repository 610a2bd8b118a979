"""Rendered clips for `slideshow` and `static`: one still picture under a camera, and what only looks like it: layers that
part, things that move, a camera on a tripod, a shaking hand, waves.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from support.camera_suite import Case, Move, Pose, compressed, render, sample_times, texture

from shardpipe.core.frames import FrameRequest, Frames

Picture = NDArray[np.uint8]
Draw = Callable[[int, float], Picture]  # frame number, seconds


@dataclass(frozen=True)
class Scene:
    """A clip: what it shows, as uint8 [H, W] of `size` (width, height) at each frame."""

    name: str
    draw: Draw
    duration_s: float = 3.0
    fps: float = 30.0
    size: tuple[int, int] = (480, 270)
    crf: int | None = 23

    def pictures(self) -> list[Picture]:
        """All frames, before a codec."""
        return [self.draw(number, number / self.fps) for number in range(round(self.duration_s * self.fps))]


def seen(scene: Scene, request: FrameRequest) -> Frames:
    """What a stage with `request` (a Rate, gray, a long side) gets of the scene's clip."""
    pictures = scene.pictures()
    if scene.crf is not None:
        pictures = compressed(pictures, fps=scene.fps, crf=scene.crf)
    times_s = sample_times(request, scene.fps, scene.duration_s)
    assert request.long_side
    scale = min(1.0, request.long_side / max(scene.size))
    size = (round(scene.size[0] * scale), round(scene.size[1] * scale))
    numbers = np.round(times_s * scene.fps).astype(int)
    return Frames(np.stack([cv2.resize(pictures[n], size, interpolation=cv2.INTER_AREA) for n in numbers]), times_s)


def flat(case: Case) -> Scene:
    """A case of the camera suite: a camera over one picture, and things before it."""
    return Scene(case.name, lambda number, _: render(case, number), case.duration_s, case.fps, case.size, case.crf)


def layers(back: Case, front: Case, *, cover: float) -> Scene:
    """Two flat cases, the front one in blobs that move with it and hide a share `cover` of the back one: parallax."""
    blobs = replace(front, texture="noise40", things=(), noise=0.0)
    level = float(np.quantile(texture("noise40"), 1 - cover))

    def draw(number: int, _: float) -> Picture:
        mask = np.clip((render(blobs, number).astype(np.float32) - level) / 4 + 0.5, 0, 1)
        mixed = render(back, number) * (1 - mask) + render(front, number) * mask
        return np.asarray(np.round(mixed), np.uint8)

    return Scene(back.name, draw, back.duration_s, back.fps, back.size, back.crf)


def tripod(case: Case, *, turn: float, view: float) -> Scene:
    """A camera that turns `turn` degrees a second to the right before a far picture, its view `view` degrees wide."""
    width, height = case.size
    focal = width / 2 / np.tan(np.deg2rad(view) / 2)
    lens = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    paint = texture(case.texture)
    there = np.array([[1, 0, width / 2 - paint.shape[1] / 2], [0, 1, height / 2 - paint.shape[0] / 2], [0, 0, 1.0]])

    def draw(number: int, at_s: float) -> Picture:
        angle = np.deg2rad(turn) * (at_s - case.duration_s / 2)
        cos, sin = np.cos(angle), np.sin(angle)
        turned = lens @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]) @ np.linalg.inv(lens)
        shown = cv2.warpPerspective(paint, turned @ there, case.size, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(np.clip(np.round(shown), 0, 255), np.uint8)

    return Scene(case.name, draw, case.duration_s, case.fps, case.size, case.crf)


def waves(case: Case, *, height_px: float, length: float) -> Scene:
    """A flat case seen through moving waves, `length` widths long, that shift the picture by up to `height_px` pixels."""
    y, x = np.mgrid[: case.size[1], : case.size[0]].astype(np.float32)
    around = 2 * np.pi / (length * case.size[0])

    def draw(number: int, at_s: float) -> Picture:
        across = height_px * np.sin(around * y + 4.1 * at_s) + height_px / 2 * np.sin(around * x * 0.7 + 2.3 * at_s)
        down = height_px * np.sin(around * x - 3.3 * at_s)
        shown = cv2.remap(
            render(case, number),
            x + across.astype(np.float32),
            y + down.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return np.asarray(shown, np.uint8)

    return Scene(case.name, draw, case.duration_s, case.fps, case.size, case.crf)


def lit(scene: Scene, light: Callable[[float], float]) -> Scene:
    """The scene under a light that changes: `light` of the seconds, 0 black to 1 as it is."""

    def draw(number: int, at_s: float) -> Picture:
        return np.asarray(np.round(scene.draw(number, at_s) * light(at_s)), np.uint8)

    return replace(scene, draw=draw)


def marked(scene: Scene) -> Scene:
    """The scene under a small logo that stays where it is."""
    width, height = scene.size

    def draw(number: int, at_s: float) -> Picture:
        picture = scene.draw(number, at_s).copy()
        cv2.putText(picture, "LOGO", (int(width * 0.8), int(height * 0.12)), 0, height / 450, 240, 2, cv2.LINE_AA)
        return picture

    return replace(scene, draw=draw)


def barred(scene: Scene, share: float = 0.12) -> Scene:
    """The scene between black bars above and below."""
    bar = round(scene.size[1] * share)

    def draw(number: int, at_s: float) -> Picture:
        picture = scene.draw(number, at_s).copy()
        picture[:bar], picture[-bar:] = 0, 0
        return picture

    return replace(scene, draw=draw)


def frozen(scene: Scene, start_s: float, end_s: float) -> Scene:
    """The scene, which stands still between two times and then goes on."""

    def draw(number: int, at_s: float) -> Picture:
        held = min(max(at_s, start_s), end_s) - start_s
        then = at_s - held
        return scene.draw(round(then * scene.fps), then)

    return replace(scene, draw=draw)


def footage(name: str, pictures: NDArray[np.uint8], *, fps: float = 25.0) -> Scene:
    """Real frames in bgr, uint8 [T, H, W, 3]."""
    gray = [cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in pictures]
    size = (gray[0].shape[1], gray[0].shape[0])
    return Scene(name, lambda number, _: np.asarray(gray[number], np.uint8), len(gray) / fps, fps, size, crf=None)


def still() -> Move:
    """No move."""
    return lambda _: Pose()
