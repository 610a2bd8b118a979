"""Random cases of the camera suite: the same number always gives the same case."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from support.camera_suite import Case, Move, Pose, Thing

TEXTURES = (
    *("noise0", "noise1", "noise2", "noise3", "noise6", "noise14", "fractal", "shapes", "sparse", "checks"),
    *("low3", "low8", "dark3", "dark8", "bigbuckbunny:30", "bikes:10", "bikes:120", "carphone_pristine:20"),
)
THING_TEXTURES = ("noise3", "noise6", "shapes", "fractal", "bikes:60")
WAYS = {  # of the content: right, down, growth, turn
    "pan_right": (-1, 0, 0, 0),
    "pan_left": (1, 0, 0, 0),
    "tilt_up": (0, 1, 0, 0),
    "tilt_down": (0, -1, 0, 0),
    "zoom_in": (0, 0, 1, 0),
    "zoom_out": (0, 0, -1, 0),
    "roll": (0, 0, 0, 1),
}
KINDS = ("single", "single", "single", "combined", "static", "thing", "thing", "shake", "pan_thing", "pan_shake")
SIZES = ((480, 270), (480, 270), (320, 240), (270, 480), (640, 360), (360, 360))
MOST_COVERED = 0.4

Shift = Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class Motion:
    """Speeds of the content, when they hold, and a shake on top."""

    labels: tuple[str, ...] = ("static",)
    speeds: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    profile: str = "linear"
    shake: Shift | None = None


def case(number: int) -> Case:
    """Case `number` of the suite."""
    rng = np.random.default_rng([77, number])
    duration_s, fps = float(rng.uniform(2, 6)), float(rng.choice([24, 25, 30, 60]))
    kind, paint = str(rng.choice(KINDS)), str(rng.choice(TEXTURES))
    motion = _motion(rng, kind, fps=fps, duration_s=duration_s)
    things = (_thing(rng, duration_s, small=kind == "pan_thing"),) if "thing" in kind else ()
    faint = paint.startswith(("low", "dark"))
    noise = float(rng.choice([0, 0, 1.5, 1.5 if faint else 3, 1.5 if faint else 6]))
    return Case(
        f"{number} {kind} {'+'.join(motion.labels)} {motion.speeds} {motion.profile} {paint}",
        frozenset(motion.labels),
        _move(motion, duration_s),
        texture=paint,
        duration_s=duration_s,
        fps=fps,
        size=SIZES[rng.integers(len(SIZES))],
        noise=noise,
        things=things,
        crf=int(rng.choice([20, 26, 32])) if rng.random() < 0.15 else None,
        seed=number,
        whole_pixels=bool(rng.random() < 0.2),
        tags=frozenset([kind, paint]),
    )


def _motion(rng: np.random.Generator, kind: str, *, fps: float, duration_s: float) -> Motion:
    shake = _shake(rng, fps, duration_s) if "shake" in kind else None
    if kind in ("static", "thing"):
        return Motion()
    if kind == "shake":
        return Motion(labels=("shake",), shake=shake)
    if kind == "combined":
        names = [
            rng.choice(pair) for pair in (("pan_right", "pan_left"), ("tilt_up", "tilt_down"), ("zoom_in", "zoom_out"))
        ]
        one, two = (str([*names, "roll"][i]) for i in rng.choice(4, 2, replace=False))
        base = _between(rng, 0.03, 0.3)
        return Motion((one, two), _sum(_paced(rng, one, base), _paced(rng, two, base)))
    name = str(rng.choice(list(WAYS)[:4] if kind == "pan_shake" else list(WAYS)))
    profile = (
        str(rng.choice(["linear", "ease", "part", "late"], p=[0.5, 0.2, 0.15, 0.15])) if shake is None else "linear"
    )
    slowest = 0.015 if profile in ("linear", "ease") and shake is None else 0.05
    speed = _between(rng, slowest, 0.6 if shake is None else 0.4)
    if name.startswith("zoom"):
        speed = _between(rng, 0.03, 0.35)
    if name == "roll":
        speed = _between(rng, 2.5, 40)
    labels = (name,) if shake is None else (name, "shake")
    return Motion(labels, _times(WAYS[name], speed), profile, shake)


def _paced(rng: np.random.Generator, name: str, base: float) -> tuple[float, ...]:
    """Speeds of a move that is as lively as a pan of `base` widths a second."""
    if name == "roll":
        return _times(WAYS[name], float(np.clip(base * rng.uniform(60, 120), 3, 40)))
    if name.startswith("zoom"):
        return _times(WAYS[name], float(np.clip(base * rng.uniform(0.7, 1.5), 0.03, 0.35)))
    return _times(WAYS[name], base * rng.uniform(0.5, 1))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _times(way: tuple[int, ...], speed: float) -> tuple[float, ...]:
    return tuple(round(each * speed, 4) for each in way)


def _sum(one: tuple[float, ...], two: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(one, two, strict=True))


def _thing(rng: np.random.Generator, duration_s: float, *, small: bool) -> Thing:
    fields: dict[str, Any] = {
        "area": float(rng.uniform(0.08, 0.25 if small else MOST_COVERED)),
        "speed": float(rng.uniform(0.05, 0.5)),
        "direction": float(rng.uniform(0, 360)),
        "texture": str(rng.choice(THING_TEXTURES)),
        "shape": str(rng.choice(["ellipse", "box"])),
        "swing": bool(rng.random() < 0.4),
        "grow": float(rng.choice([0, 0, 0.2])),
    }
    thing = Thing(**fields)
    return replace(thing, grow=0.0) if thing.area * np.exp(thing.grow * duration_s) > MOST_COVERED else thing


def _shake(rng: np.random.Generator, fps: float, duration_s: float) -> Shift:
    size = float(rng.uniform(0.005, 0.02))
    if rng.random() < 0.5:
        jitter = rng.standard_normal((int(duration_s * fps) + 4, 2)) * size
        return lambda time_s: tuple(jitter[round(time_s * fps)])
    rates, phases = rng.uniform(2.5, 8, (3, 2)), rng.uniform(0, 2 * np.pi, (3, 2))
    return lambda time_s: tuple(size * np.sqrt(2 / 3) * np.sin(2 * np.pi * rates * time_s + phases).sum(axis=0))


def _move(motion: Motion, duration_s: float) -> Move:
    def run(time_s: float) -> float:
        """Seconds at full speed until `time_s`."""
        if motion.profile == "ease":
            part = time_s / duration_s
            return duration_s * part * part * (3 - 2 * part)
        if motion.profile == "part":
            return float(np.clip(time_s - 0.3 * duration_s, 0, 0.4 * duration_s))
        return max(time_s - 0.5 * duration_s, 0.0) if motion.profile == "late" else time_s

    def pose(time_s: float) -> Pose:
        x, y, zoom, roll = (speed * run(time_s) for speed in motion.speeds)
        right, down = motion.shake(time_s) if motion.shake else (0.0, 0.0)
        return Pose(x + right, y + down, zoom, roll)

    return pose
