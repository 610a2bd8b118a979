"""Random clips that are slide shows or not, and static or not: the same number always gives the same clip."""

from dataclasses import dataclass, replace

import numpy as np
from support.camera_suite import Case, Move, Pose, Thing
from support.still_suite import Scene, barred, flat, footage, layers, lit, marked, tripod, waves

SIZES = ((320, 180), (384, 216), (384, 216), (216, 384), (320, 240), (640, 360))
TEXTURES = (
    *("noise3", "noise6", "noise14", "fractal", "fractal", "shapes", "sparse", "checks", "low8", "dark8"),
    *("bigbuckbunny:30", "bikes:10", "bikes:120", "carphone_pristine:20"),
)
SLIDES = ("zoom", "zoom", "pan", "pan", "both", "still", "marked", "faded", "barred")
OTHERS = ("layers", "layers", "thing", "thing", "pan_thing", "shake", "shake_layers", "tripod", "waves")
STILLS = ("plain", "plain", "grain", "grain", "marked", "barred")
MOVERS = ("thing", "small_thing", "small_thing", "slow_zoom", "slow_pan", "fade", "waves", "layers", "shake")


@dataclass(frozen=True)
class Known:
    """A clip, what kind it is of, and whether it is what the stage looks for."""

    kind: str
    scene: Scene
    expected: bool


def slide_case(number: int) -> Known:
    """A slide show for even numbers, another clip for odd ones."""
    rng = np.random.default_rng([303, number])
    expected = number % 2 == 0
    kind = str(rng.choice(SLIDES if expected else OTHERS))
    return Known(kind, (_slide if expected else _other)(rng, number, kind), expected)


def static_case(number: int) -> Known:
    """A still picture for even numbers, a clip with motion for odd ones."""
    rng = np.random.default_rng([304, number])
    expected = number % 2 == 0
    kind = str(rng.choice(STILLS if expected else MOVERS))
    return Known(kind, (_still if expected else _mover)(rng, number, kind), expected)


def real_scenes(shots: list[np.ndarray], length: int = 75, step: int = 25) -> list[Known]:
    """Windows of real shots: no slide shows, not static."""
    return [
        Known("real", footage(f"shot {i} from {start}", shot[start : start + length]), expected=False)
        for i, shot in enumerate(shots)
        for start in range(0, max(1, len(shot) - length + 1), step)
    ]


def _base(rng: np.random.Generator, number: int, name: str, move: Move) -> Case:
    return Case(
        f"{number} {name}",
        frozenset(),
        move,
        texture=str(rng.choice(TEXTURES)),
        duration_s=float(rng.uniform(2, 3.5)),
        fps=float(rng.choice([24, 24, 25, 25, 30, 30, 60])),
        size=SIZES[rng.integers(len(SIZES))],
        noise=float(rng.choice([0, 0, 0, 2, 4])),
        crf=int(rng.choice([18, 23, 23, 28, 32])),
        seed=number,
    )


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _slow(rng: np.random.Generator, kind: str) -> tuple[float, float, float]:
    """Speeds of a slow move: right and down in widths a second, growth."""
    zoom, pan, angle = _between(rng, 0.01, 0.15), _between(rng, 0.01, 0.15), rng.uniform(0, 2 * np.pi)
    zoom *= rng.choice([-1, 1])
    zoom, pan = (0.0 if kind in ("pan", "still") else zoom), (0.0 if kind in ("zoom", "still") else pan)
    return pan * float(np.cos(angle)), pan * float(np.sin(angle)), zoom


def _moving(speeds: tuple[float, float, float], *, ease_s: float = 0.0) -> Move:
    def move(at_s: float) -> Pose:
        run = at_s
        if ease_s:
            part = min(at_s / ease_s, 1.0)
            run = ease_s * part * part * (3 - 2 * part)
        return Pose(*(speed * run for speed in speeds))

    return move


def _slide(rng: np.random.Generator, number: int, kind: str) -> Scene:
    speeds = _slow(rng, kind if kind in ("pan", "zoom", "still") else str(rng.choice(["pan", "zoom", "both"])))
    eased = rng.random() < 0.3
    case = _base(rng, number, f"{kind} {np.round(speeds, 3)}{' eased' if eased else ''}", _moving(speeds))
    if eased:
        case = replace(case, move=_moving(speeds, ease_s=case.duration_s))
    case = replace(case, whole_pixels=bool(rng.random() < 0.2) and max(case.size) >= 640)
    scene = flat(case)
    if kind == "faded":
        return lit(scene, lambda at_s: min(1.0, at_s / 0.8))
    return {"marked": marked, "barred": barred}.get(kind, lambda same: same)(scene)


def _other(rng: np.random.Generator, number: int, kind: str) -> Scene:
    speeds = _slow(rng, str(rng.choice(["pan", "zoom", "both"])))
    case = _base(rng, number, f"{kind} {np.round(speeds, 3)}", _moving(speeds))
    if kind in ("layers", "shake_layers"):
        speeds = tuple(max(abs(each), 0.03) * np.sign(each or 1) for each in speeds)
        nearer = tuple(each * float(rng.uniform(1.4, 3)) for each in speeds)
        hand = _shake(rng, case) if kind == "shake_layers" else (lambda _: Pose())
        back = replace(case, move=_sum(_moving(speeds), hand))
        front = replace(
            back, move=_sum(_moving(nearer), hand), texture=str(rng.choice(["fractal", "shapes", "noise6"]))
        )
        return layers(back, front, cover=float(rng.uniform(0.15, 0.5)))
    if kind in ("thing", "pan_thing"):
        still_camera = kind == "thing"
        move = _moving((0.0, 0.0, 0.0)) if still_camera else case.move
        return flat(replace(case, move=move, things=(_thing(rng, 0.03, 0.3),)))
    if kind == "shake":
        return flat(replace(case, move=_sum(case.move, _shake(rng, case))))
    if kind == "tripod":
        return tripod(case, turn=float(rng.uniform(4, 12)), view=float(rng.uniform(45, 75)))
    return waves(case, height_px=case.size[0] * float(rng.uniform(0.006, 0.02)), length=float(rng.uniform(0.15, 0.5)))


def _still(rng: np.random.Generator, number: int, kind: str) -> Scene:
    case = _base(rng, number, kind, _moving((0.0, 0.0, 0.0)))
    grain = float(rng.uniform(3, 10)) if kind == "grain" else 0.0
    case = replace(case, noise=grain, crf=int(rng.choice([18, 23, 28, 33, 38])))
    scene = flat(case)
    return {"marked": marked, "barred": barred}.get(kind, lambda same: same)(scene)


def _mover(rng: np.random.Generator, number: int, kind: str) -> Scene:
    case = _base(rng, number, kind, _moving((0.0, 0.0, 0.0)))
    zoom, pan = float(rng.choice([-1, 1])) * _between(rng, 0.01, 0.05), _between(rng, 0.01, 0.05)
    shift, length = case.size[0] * float(rng.uniform(0.006, 0.02)), float(rng.uniform(0.15, 0.5))
    area, depth = ((0.004, 0.03) if kind == "small_thing" else (0.05, 0.3)), float(rng.uniform(0.4, 0.9))
    nearer, cover = _moving((_between(rng, 0.02, 0.2), 0.0, 0.0)), float(rng.uniform(0.15, 0.5))
    shake, thing = _shake(rng, case), _thing(rng, *area)
    scenes = {
        "thing": lambda: flat(replace(case, things=(thing,))),
        "small_thing": lambda: flat(replace(case, things=(thing,))),
        "slow_zoom": lambda: flat(replace(case, move=_moving((0, 0, zoom)))),
        "slow_pan": lambda: flat(replace(case, move=_moving((pan, 0, 0)))),
        "fade": lambda: lit(flat(replace(case, noise=0.0)), lambda at_s: 1 - depth * at_s / case.duration_s),
        "waves": lambda: waves(case, height_px=shift, length=length),
        "layers": lambda: layers(case, replace(case, move=nearer, texture="fractal"), cover=cover),
        "shake": lambda: flat(replace(case, move=shake)),
    }
    return scenes[kind]()


def _thing(rng: np.random.Generator, least: float, most: float) -> Thing:
    return Thing(
        area=_between(rng, least, most),
        speed=_between(rng, 0.04, 0.3),
        direction=float(rng.uniform(0, 360)),
        texture=str(rng.choice(["noise3", "noise6", "shapes", "fractal"])),
        shape=str(rng.choice(["ellipse", "box"])),
        swing=bool(rng.random() < 0.4),
    )


def _shake(rng: np.random.Generator, case: Case) -> Move:
    """A hand: sway of several rates between 0.7 and 6 a second, 0.4 % to 1.5 % of the width."""
    size = _between(rng, 0.004, 0.015)
    rates, phases = rng.uniform(0.7, 6, (2, 4)), rng.uniform(0, 2 * np.pi, (2, 4))

    def move(at_s: float) -> Pose:
        right, down = size * np.sqrt(0.5) * np.sin(2 * np.pi * rates * at_s + phases).sum(axis=1)
        return Pose(float(right), float(down))

    return move


def _sum(one: Move, two: Move) -> Move:
    def move(at_s: float) -> Pose:
        a, b = one(at_s), two(at_s)
        return Pose(a.x + b.x, a.y + b.y, a.zoom + b.zoom, a.roll + b.roll)

    return move
