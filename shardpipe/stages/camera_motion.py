"""Camera motion: what the camera did in a clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import degrees, radians
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from shardpipe.core.columns import Columns, float32, list_of, string
from shardpipe.core.errors import StageError
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.core.weights import Weights, WeightsUrl, is_copy_of
from shardpipe.stages._active import without_bars
from shardpipe.stages._camera_path import (
    CameraPath,
    Travel,
    along_first_axes,
    camera_path,
    shakiness,
    smoothed,
    travel,
)
from shardpipe.stages._engines import EngineStage
from shardpipe.stages._global_motion import GlobalMotion, at_rest, global_motion
from shardpipe.stages._lone_thing import is_lone_thing
from shardpipe.stages._motion_frames import MOTION_FRAMES
from shardpipe.stages._one_thread import one_thread
from shardpipe.stages._point_tracks import TRACK_FRAMES, NotFiniteError, grayed, tracked_motion
from shardpipe.stages._similarity import Similarity
from shardpipe.stages._smooth_motion import smooth_steps

if TYPE_CHECKING:
    from shardpipe.stages._track_net import TrackNet

PUBLISHED = "hf://facebook/cotracker3/scaled_offline.pth"
PUBLISHED_AT = "https://huggingface.co/facebook/cotracker3"
LICENCE = "CC-BY-NC-4.0"
NUM_BYTES = 4 * 25_452_300
"""Of its tensors: the published file holds little more."""

MIN_FRAMES = 3
MIN_KNOWN = 0.5
WAY_BACK = 0.3
SHAKE = 0.003
SMOOTH_SHAKE = 0.008  # soft shades say less exactly where they are
SHAKE_OF_SPEED_S = 0.008
SHAKE_TRAVEL = 3.0
SHAKE_TURNS = 1.5
SHIFTS = frozenset(("pan_left", "pan_right", "tilt_up", "tilt_down", "shake"))


@dataclass(frozen=True)
class Kind:
    """A kind of move: its names as the content goes up and down the path's column, and how far it must go.

    It must travel `per_s` for each second of the clip, but `least` at least and `enough` suffices; turns back of under
    `still` do not count. beside: least ratios to the pan, tilt, zoom and roll of the clip, in mean displacement.
    """

    up: str
    down: str
    per_s: float
    least: float
    enough: float
    still: float
    beside: tuple[float, float, float, float]


KINDS = (
    Kind("pan_left", "pan_right", 0.005, 0.008, 0.04, 0.006, (0.0, 0.15, 0.25, 0.25)),
    Kind("tilt_up", "tilt_down", 0.005, 0.008, 0.04, 0.008, (0.15, 0.0, 0.25, 0.25)),
    Kind("zoom_in", "zoom_out", 0.008, 0.012, 0.06, 0.008, (0.08, 0.08, 0.0, 0.1)),
    Kind("roll", "roll", radians(0.6), radians(1.2), radians(5), radians(0.8), (0.08, 0.08, 0.1, 0.0)),
)


class CameraMotion(EngineStage):
    """Names what the camera did, from the motion of the whole picture; things that move before it do not count.

    cmotion: some of pan_left, pan_right, tilt_up, tilt_down, zoom_in, zoom_out, roll and shake, in this order, or
    `static` alone. The names are the camera's: pan_right is a camera that turns right, so the content moves left;
    tilt_up moves it down; zoom_in makes it grow; roll turns it either way; shake is quick irregular motion. A move
    counts from about 0.5 % of the width, 0.8 % of size or 0.6 degrees a second on average over the clip; a pan and a
    move back are two labels.
    cmotion_pan, cmotion_tilt: net camera speed in widths a second to the right, and heights a second upwards.
    cmotion_zoom: net growth of the content, natural logarithm a second: 0.1 is 10 % closer each second.
    cmotion_roll: net turn of the content, degrees a second, clockwise positive.
    cmotion_shake: root mean square of the quick motion, in widths: 0 steady, from about 0.003 labelled.

    All are null where the motion cannot be told: in fewer than three frames, or where in over half of the time no
    motion is shared by enough of the picture, as in a plain wall, black, or water. Speeds are per second of the clip's
    time and do not depend on fps. Black bars are left out. A thing that alone moves before a plain ground is no camera,
    up to about a quarter of the picture. A pattern that repeats itself (a chessboard) and moves by half of its period or
    more in a ninth of a second looks as if it moved the other way.

    Engine `corners` follows corners of the picture (Lucas and Kanade's way, on OpenCV), on the CPU. Engine `cotracker` takes
    the tracks of a grid of points by CoTracker3 (Karaev et al. 2024; the offline model) and gives the same labels and
    numbers, of points laid anew about each second. It needs shardpipe[models] and its `weights`, which have no default, as their
    licence forbids commercial use: hf://facebook/cotracker3/scaled_offline.pth.

    Open-Sora writes its labels into captions and drops nothing by them. The limits of the labels are ours: they pass a suite of
    synthetic moves, stills, and things that move before a still camera (`tests/stages/test_camera_motion.py`).

    Cost: `corners` 6 to 10 ms of CPU for each second of clip; `cotracker` about 15 CPU-seconds, in fp32 on one thread: in practice
    it wants a GPU.

    Example rules: `NOT list_contains(cmotion, 'shake')`, `cmotion <> ['static']`, `abs(cmotion_pan) < 0.3 OR cmotion_pan IS NULL`.
    """

    type: Literal["camera_motion"] = "camera_motion"
    engine: Literal["corners", "cotracker"] = Field(
        default="corners", description="`corners`: OpenCV, on the CPU; `cotracker`: a network, for a GPU"
    )
    weights: WeightsUrl | None = Field(
        default=None, description="of `cotracker` alone, and needed there: a file or url"
    )

    _net: "TrackNet | None" = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _weights_of_engine(self) -> "CameraMotion":
        if self.engine == "cotracker" and self.weights is None:
            raise ValueError(f"engine cotracker needs weights: {PUBLISHED} (licence {LICENCE}), or a path to that file")
        if self.engine == "corners" and self.weights is not None:
            raise ValueError("engine corners takes no weights")
        return self

    @property
    def frames(self) -> FrameRequest:
        """`corners`: nine gray frames a second, long side 256; at least eight, where the clip has them. `cotracker`: as many in
        colour, long side 512.
        """
        return TRACK_FRAMES if self.engine == "cotracker" else MOTION_FRAMES

    @property
    def loads(self) -> Sequence[Weights]:
        """The network's weights."""
        if self.weights is None:
            return ()
        facts: dict[str, Any] = (
            {"licence": LICENCE, "num_bytes": NUM_BYTES} if is_copy_of(self.weights, PUBLISHED) else {}
        )
        return (Weights("tracker", self.weights, source=PUBLISHED_AT, **facts),)

    def setup(self, device: str) -> None:
        """Loads the network, where the engine has one."""
        if self.engine == "cotracker":
            from shardpipe.stages._track_net import TrackNet  # noqa: PLC0415  torch is an extra

            (weights,) = self.loads
            self._net = TrackNet.load(weights, device)

    @property
    def writes(self) -> Columns:
        """The labels and the numbers behind them."""
        numbers = dict.fromkeys(("pan", "tilt", "zoom", "roll", "shake"), float32)
        return {"cmotion": list_of(string), **{f"cmotion_{name}": kind for name, kind in numbers.items()}}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """One result a clip."""
        with one_thread():
            return [self._describe(view.frames) for view in batch]

    def _describe(self, frames: Frames) -> Result:
        if len(frames) < MIN_FRAMES:
            return dict.fromkeys(self.writes)
        gray = frames if self.engine == "corners" else grayed(frames)
        inside = without_bars(gray.data)
        try:
            motion = global_motion(inside) if self.engine == "corners" else self._tracked(frames, gray)
        except NotFiniteError as error:
            return ClipError(str(error))
        path = camera_path(motion.steps, frames.times_s, motion.size)
        shake = shakiness(path)
        found = found_along(motion.steps, path, shake)
        if found != [] and (
            at_rest(motion.pictures) or (SHIFTS.issuperset(found or ()) and is_lone_thing(motion, inside))
        ):
            return dict.fromkeys(self.writes, 0.0) | {"cmotion": ["static"]}
        if found is None:
            steps, size = smooth_steps(inside)
            path = camera_path(steps, frames.times_s, size)
            shake = shakiness(path)
            found = found_along(steps, path, shake, shake_from=SMOOTH_SHAKE)
        if found is None:
            return dict.fromkeys(self.writes)
        right, down, growth, turn = (float(net) for net in path.at[-1] / path.known_s)
        return {
            "cmotion": found or ["static"],
            "cmotion_pan": -right,
            "cmotion_tilt": down,
            "cmotion_zoom": growth,
            "cmotion_roll": degrees(turn),
            "cmotion_shake": shake,
        }

    def _tracked(self, frames: Frames, gray: Frames) -> GlobalMotion:
        if self._net is None:
            raise StageError("camera_motion: process was called before setup")
        return tracked_motion(frames, gray, self._net)


def found_along(
    steps: Sequence[Similarity | None], path: CameraPath, shake: float, *, shake_from: float = SHAKE
) -> list[str] | None:
    """The labels along the axes that need the fewest of them; None where too little is known. `shake`: the path's shakiness."""
    if path.known_s < MIN_KNOWN * path.length_s:
        return None
    found = labels(path, shake, shake_from)
    if {"zoom_in", "zoom_out", "roll"} & set(found):
        return min([found, *(labels(each, shake, shake_from) for each in along_first_axes(steps, path))], key=len)
    return found


def labels(path: CameraPath, shake: float, shake_from: float) -> list[str]:
    """The names of a path's moves, without `static`; `shake` is its shakiness, which counts from `shake_from` on."""
    line = smoothed(path)
    steps = np.diff(line, axis=0) * path.arms
    shakes = shake > shake_from + SHAKE_OF_SPEED_S * float(np.linalg.norm(steps, axis=1).sum()) / path.length_s
    blur = shake / path.arms if shakes else np.zeros(4)
    needs = [_need(kind, path.known_s, float(blurred)) for kind, blurred in zip(KINDS, blur, strict=True)]
    travels = [travel(line[:, i], max(kind.still, SHAKE_TURNS * float(blur[i]))) for i, kind in enumerate(KINDS)]
    sizes = np.array([each.most for each in travels]) * path.arms
    counted = sizes * [each.most >= need for each, need in zip(travels, needs, strict=True)]
    found: list[str] = []
    for i, kind in enumerate(KINDS):
        if sizes[i] >= (counted * kind.beside).max():
            found += [name for name in _names(kind, travels[i], needs[i]) if name not in found]
    return [*found, "shake"] if shakes else found


def _need(kind: Kind, seconds: float, blur: float) -> float:
    """How far a move must go to count in a clip of so many seconds; shake moves the smoothed line a little as well."""
    return max(min(max(kind.per_s * seconds, kind.least), kind.enough), SHAKE_TRAVEL * blur)


def _names(kind: Kind, moved: Travel, need: float) -> list[str]:
    """Its names for the ways it went far enough; a way back must be a good part of the way there."""
    ways = ((kind.up, moved.up), (kind.down, moved.down))
    return [name for name, far in ways if far >= need and far > WAY_BACK * moved.most]
