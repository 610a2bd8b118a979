"""Flow: how much moves in a clip, by dense optical flow."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shardpipe.core.columns import Columns, float32
from shardpipe.core.frames import FrameRequest, Frames, Rate
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.stages._one_thread import one_thread
from shardpipe.stages._shift import Gray, phase_shift, thumb

Preset = Literal["ultrafast", "fast", "medium"]
PRESETS: dict[Preset, int] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
LONG_SIDE = 256
MAX_GAP_S = 1.0
MIN_SIDE = 48
STEP = 4  # the two faster presets find one vector for each 4x4 pixels; the rest is interpolated


class Flow(Stage):
    """Tells lively clips from still ones by the mean length of the optical flow between neighbouring frames.

    flow_px_s: mean speed over all pixels and pairs, in pixels a second in a picture whose long side is 256: 0 is a
    still picture; a pan by the whole width of a landscape clip in one second is 256. Noise and codec artefacts give
    up to about 3.
    flow_px_s_p90: the 90th percentile of the same speeds (over all pixels and pairs): the speed of the faster tenth of
    the picture and of the time, large where a small thing moves fast before a still background.

    `pairs_per_s` pairs are measured, each of frames half as far apart (0.11 s by default): near enough to be matched
    in fast moves, far enough for slow moves to stand out from noise. Speeds are divided by the true time between the
    two frames, so they do not depend on fps. Pictures smaller than 256 are not enlarged; their speeds are scaled.
    Pairs more than a second apart (slide shows) are left out. A clip without a pair, such as one of a single frame,
    has no motion to measure: both columns are null.

    Flow is OpenCV's DIS (Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016), started from
    the displacement of the whole picture where that is large.
    """

    type: Literal["flow"] = "flow"
    engine: Literal["dis"] = "dis"
    preset: Preset = "ultrafast"
    pairs_per_s: float = Field(default=4.5, ge=4.0, le=30.0)

    @property
    def frames(self) -> FrameRequest:
        """Gray frames at twice `pairs_per_s`, long side 256; at least eight, where the clip has them."""
        return FrameRequest(Rate(2 * self.pairs_per_s, min_frames=8), long_side=LONG_SIDE, pixels="gray")

    @property
    def writes(self) -> Columns:
        """Two speeds in pixels a second."""
        return {"flow_px_s": float32, "flow_px_s_p90": float32}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """One result a clip."""
        with one_thread():
            return [self._score(view.frames) for view in batch]

    def _score(self, frames: Frames) -> Result:
        pairs = measured_pairs(frames.times_s, pairs_per_s=self.pairs_per_s)
        speeds = dis_speeds(frames, pairs, preset=PRESETS[self.preset])
        if not speeds.size:
            return {"flow_px_s": None, "flow_px_s_p90": None}
        return {"flow_px_s": float(speeds.mean()), "flow_px_s_p90": float(np.percentile(speeds, 90))}


def measured_pairs(times_s: NDArray[np.float64], *, pairs_per_s: float) -> list[int]:
    """First frames of the neighbours to measure: every second pair, or every pair where frames are too few for that
    (a source of under 8 fps); none that are more than `MAX_GAP_S` apart.
    """
    if len(times_s) <= 1:
        return []
    frames_per_s = (len(times_s) - 1) / max(float(times_s[-1] - times_s[0]), 1e-9)
    stride = max(1, int(frames_per_s / (0.9 * pairs_per_s)))
    gaps_s = np.diff(times_s)
    return [i for i in range(0, len(gaps_s), stride) if 0 < gaps_s[i] <= MAX_GAP_S]


def dis_speeds(frames: Frames, pairs: Sequence[int], *, preset: int) -> NDArray[np.float32]:
    """Speeds float32 [pairs, y, x] of every fourth pixel each way, in pixels a second at a long side of 256, between
    frames `i` and `i + 1` for each `i` of `pairs`.
    """
    to_256 = LONG_SIDE / max(frames.data.shape[1:])
    engine = cv2.DISOpticalFlow.create(preset)
    gaps_s = np.diff(frames.times_s)
    speeds = [_pair_flow(engine, frames.data[i], frames.data[i + 1]) * (to_256 / gaps_s[i]) for i in pairs]
    return np.array(speeds, np.float32)


def _pair_flow(engine: cv2.DISOpticalFlow, first: Gray, second: Gray) -> NDArray[np.float32]:
    """Flow lengths in pixels, float32, of every fourth pixel each way."""
    height, width = first.shape
    first, second = _at_least(first), _at_least(second)
    flow = engine.calc(first, second, _start(first, second))  # type: ignore[arg-type]  # the stub knows no None
    return np.hypot(flow[:height:STEP, :width:STEP, 0], flow[:height:STEP, :width:STEP, 1])


def _at_least(frame: Gray) -> Gray:
    """`frame`, its last row and column repeated up to `MIN_SIDE`: DIS refuses pictures of under 12
    pixels, and reads past the end of some that are under 32 high (seen as a crash at 256x28, OpenCV 5.0).
    """
    below, right = (max(0, MIN_SIDE - side) for side in frame.shape)
    if not (below or right):
        return frame
    return np.pad(frame, ((0, below), (0, right)), mode="edge")


def _start(first: Gray, second: Gray) -> NDArray[np.float32] | None:
    """A uniform flow to start from where the whole picture moved far, else None: alone, DIS loses moves of more than
    about a twentieth of the picture.
    """
    small = thumb(first)
    shift = np.array(phase_shift(small, thumb(second)), np.float32) * np.float32(first.shape[1] / small.shape[1])
    if not shift.any():
        return None
    flow = np.empty((*first.shape, 2), np.float32)
    flow[..., 0], flow[..., 1] = shift
    return flow
