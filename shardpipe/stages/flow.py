"""Flow: how much moves in a clip, by dense optical flow."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from shardpipe.core.columns import Columns, float32, list_of
from shardpipe.core.errors import StageError
from shardpipe.core.frames import FrameRequest, Frames, Rate
from shardpipe.core.stage import ClipView, Result
from shardpipe.core.weights import Weights, WeightsUrl
from shardpipe.stages._dis import PRESETS, dis_speeds, measured_pairs
from shardpipe.stages._engines import EngineStage
from shardpipe.stages._flow_pairs import (
    LEAST_SIDE,
    LONG_SIDE,
    NUMBERED,
    PUBLISHED,
    SOURCES,
    Plan,
    plan_of,
    score,
    weights_at,
)
from shardpipe.stages._motion_vectors import vector_speeds
from shardpipe.stages._one_thread import one_thread

if TYPE_CHECKING:
    from shardpipe.stages._flow_net import FlowNet

Engine = Literal["dis", "unimatch", "raft", "mv"]
Preset = Literal["ultrafast", "fast", "medium", "spread", "opensora", "opensora-1.3", "encoder"]
TAKES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "dis": {preset: {"pairs_per_s": 4.5} for preset in PRESETS},
    "unimatch": {
        "spread": {"pairs_per_s": 2.0, "max_pairs": 8, "weights": PUBLISHED},
        **{preset: {"weights": PUBLISHED} for preset in NUMBERED},
    },
    "raft": {"spread": {"pairs_per_s": 2.0, "max_pairs": 8, "weights": None}},
    "mv": {"encoder": {"pairs_per_s": 4.5}},
}
"""The presets of each engine, its default first, and the other fields that each takes, with their defaults."""

PAIRS_PER_S: Mapping[str, tuple[float, float]] = {
    "dis": (4.0, 30.0),
    "unimatch": (0.1, 5.0),
    "raft": (0.1, 5.0),
    "mv": (4.0, 30.0),
}


class Flow(EngineStage):
    """Tells lively clips from still ones by the mean length of the optical flow between neighbouring frames.

    flow_px_s: mean speed over all pixels and pairs, in pixels a second in a picture whose long side is 256: 0 is a
    still picture; a pan by the whole width of a landscape clip in one second is 256. Noise and codec artefacts give
    up to about 3 with `dis`.
    flow_px_s_p90: the 90th percentile of the same speeds (over all pixels and pairs): the speed of the faster tenth of
    the picture and of the time, large where a small thing moves fast before a still background.

    Speeds are divided by the true time between the two frames of a pair, so they do not depend on fps. Small pictures are
    not enlarged; their speeds are scaled. Pairs more than a second apart (slide shows) are left out. A clip without a pair,
    such as one of a single frame, has no motion to measure: its columns are null.

    Engine `dis` is OpenCV's DIS (Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016), started from
    the displacement of the whole picture where that is large. `pairs_per_s` pairs are measured, each of frames half as far
    apart (0.11 s by default): near enough to be matched in fast moves, far enough for slow moves to stand out from noise.

    Engine `unimatch` is a network (Xu et al., Unifying Flow, Stereo and Depth Estimation, TPAMI 2023; two scales, six
    refinements). It needs shardpipe[models] and its `weights`, by default the published checkpoint, and in practice a GPU: a
    pair of 576x320 takes about 18 CPU-seconds, in fp32 on one thread. It also writes
    flow_times_s: the times of the frames that were measured, in seconds.

    Engine `raft` is another one (Teed and Deng, RAFT, ECCV 2020), torchvision's, with the preset `spread` alone. Its `weights`
    must be given: a checkpoint of torchvision's raft_large or raft_small, whose page lists them (of raft_large C_T_SKHT_V2 is
    the default there). A pair of 576x320 takes about 4 CPU-seconds (small: 1.3). It writes the same columns as `unimatch`.

    Preset `spread` measures `pairs_per_s` pairs of frames 0.1 s apart, at most `max_pairs`, spread over the clip, at a long
    side of 576 (both sides fitted to multiples of 32, of `raft` at least 128, speeds in the picture's own pixels).
    The presets `opensora` and `opensora-1.3` measure the frames that Open-Sora 1.2 and 1.3 do, for both speeds, and also write
    flow: their raw number, in pixels of those frames resized to 576x320 whatever their shape (a portrait one is turned first),
    whatever the time between them. `opensora`: mean of |x| and of |y| over all pixels and pairs of frames 0, 10, 20, 30.
    `opensora-1.3`: mean length of the vectors, over frames 0, 15, ... 135. The two are not comparable.
    Of a shorter clip both take its last frame in place of those that it lacks. Open-Sora then also counts pairs of that frame
    with itself, which lowers its number; here only pairs of two frames count, and `flow_times_s` says which those were.

    Engine `mv` reads the motion vectors that the encoder chose, while the clip is decoded, at next to no cost, of twice
    `pairs_per_s` frames a second. H.264, MPEG-2 and MPEG-4 have them; where the decoder tells none (HEVC, VP9, AV1, clips of
    keyframes alone) the columns are null. Vectors are the encoder's guess: good for telling lively clips from still ones, with
    errors of up to some 20 % of a steady move, more from slow encoders with many reference frames, as FFmpeg does not tell which
    one a block was taken from: the nearest is assumed, and frames 1.5 times as fast as those around them are left out.
    Blocks coded by themselves do not count. A move of less than half a pixel from frame to frame (a slow one at 60 fps) may read
    as nearly none: encoders leave such blocks as they are.

    Thresholds: below 3 is a still picture with noise, above 200 the picture passes by in little more than a second (both ours, of
    `dis`). Nobody has published any for this unit; a quantile of your own data finds others. Open-Sora 1.3's code names 0.3 as the
    least of its own number, and never a greatest.

    Cost: beside decoding, of `dis` 2 to 16 ms of CPU a second of video (ultrafast, medium); of `mv` about 10 ms for each second of
    720p, most of it in the decoder; of the networks that of a pair at most `max_pairs` times (of `opensora` 3 times, of
    `opensora-1.3` 9).

    Example rules: `flow_px_s BETWEEN 3 AND 200`, `flow_px_s_p90 >= 10`; with preset opensora-1.3 `flow >= 0.3`.
    """

    type: Literal["flow"] = "flow"
    engine: Engine = Field(
        default="dis",
        description="`dis`: OpenCV, on the CPU; `unimatch`, `raft`: networks, for a GPU; `mv`: the codec's own vectors",
    )
    preset: Preset = Field(
        default="ultrafast",
        description=(
            "of `dis`: ultrafast, fast, medium; of `unimatch`: spread (its default), opensora, opensora-1.3; of `raft`: spread;"
            " of `mv`: encoder"
        ),
    )
    pairs_per_s: float | None = Field(
        default=4.5,
        description="4 to 30 with `dis` and `mv`; 0.1 to 5 with `spread`, whose default is 2",
    )
    max_pairs: int | None = Field(
        default=None, ge=1, le=32, description="of `spread` alone: pairs of a long clip; its default is 8"
    )
    weights: WeightsUrl | None = Field(
        default=None,
        description=(
            "a file or url; of `unimatch`: by default the checkpoint that its authors publish; of `raft`: one of torchvision's"
        ),
    )

    _net: "FlowNet | None" = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _engine_defaults(cls, given: Any) -> Any:  # noqa: ANN401  whatever the config holds
        """What is not given, or null, is as the engine and preset have it."""
        engine = given.get("engine", "dis") if isinstance(given, dict) else None
        if not (isinstance(engine, str) and engine in TAKES):
            return given
        presets = TAKES[engine]
        preset = given.get("preset")
        preset = next(iter(presets)) if preset is None else preset
        defaults = presets.get(preset, {}) if isinstance(preset, str) else {}
        chosen = {
            name: defaults.get(name) for name in ("pairs_per_s", "max_pairs", "weights") if given.get(name) is None
        }
        return {**given, "preset": preset, **chosen}

    @field_validator("preset")
    @classmethod
    def _preset_of_engine(cls, preset: Preset, info: ValidationInfo) -> Preset:
        presets = TAKES[info.data["engine"]] if "engine" in info.data else {preset: {}}
        if preset not in presets:
            raise ValueError(f"engine {info.data['engine']} has the presets {', '.join(presets)}")
        return preset

    @field_validator("pairs_per_s", "max_pairs", "weights")
    @classmethod
    def _taken(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401  a field's own type
        engine, preset = info.data.get("engine"), info.data.get("preset")
        if value is None or engine is None or preset is None:
            return value
        if info.field_name not in TAKES[engine][preset]:
            raise ValueError(f"engine {engine} with preset {preset} takes no {info.field_name}")
        least, most = PAIRS_PER_S[engine]
        if info.field_name == "pairs_per_s" and not least <= value <= most:
            raise ValueError(f"engine {engine} takes {least:g} to {most:g}")
        return value

    @model_validator(mode="after")
    def _raft_is_given_its_weights(self) -> "Flow":
        if self.engine == "raft" and self.weights is None:
            raise ValueError(f"engine raft needs weights: a checkpoint of torchvision's, see {SOURCES['raft']}")
        return self

    @property
    def frames(self) -> FrameRequest:
        """`dis`: gray frames at twice `pairs_per_s`, long side 256; at least eight, where the clip has them. Of a network: colour
        frames, of pairs spread over the clip, long side 576; or of the Open-Sora presets by number, in full size. `mv`: the
        motion vectors of the frames of `dis`.
        """
        if self._by_network:
            return self._plan.frames
        sampling = Rate(2 * (self.pairs_per_s or 0), min_frames=8)
        if self.engine == "mv":
            return FrameRequest(sampling, pixels="mv")
        return FrameRequest(sampling, long_side=LONG_SIDE, pixels="gray")

    @property
    def writes(self) -> Columns:
        """Two speeds in pixels a second; of a network also what it measured, and of the Open-Sora presets their own number."""
        speeds = {"flow_px_s": float32, "flow_px_s_p90": float32}
        if not self._by_network:
            return speeds
        return speeds | {"flow_times_s": list_of(float32)} | ({"flow": float32} if self.preset in NUMBERED else {})

    @property
    def loads(self) -> Sequence[Weights]:
        """The network's weights."""
        return () if self.weights is None else (weights_at(self.engine, self.weights),)

    def setup(self, device: str) -> None:
        """Loads the network, where the engine has one."""
        if self._by_network:
            from shardpipe.stages._flow_net import FlowNet  # noqa: PLC0415  torch is an extra

            (weights,) = self.loads
            self._net = FlowNet.load(self.engine, weights, device)

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """One result a clip."""
        if self._by_network:
            if self._net is None:
                raise StageError("flow: process was called before setup")
            return score(self._plan, self._net.flows, [view.frames for view in batch])
        with one_thread():
            return [self._score(view.frames) for view in batch]

    @property
    def _by_network(self) -> bool:
        return self.engine in LEAST_SIDE

    @property
    def _plan(self) -> Plan:
        return plan_of(self.engine, self.preset, pairs_per_s=self.pairs_per_s, max_pairs=self.max_pairs)

    def _score(self, frames: Frames) -> Result:
        if self.engine == "mv":
            speeds = vector_speeds(frames, long_side=LONG_SIDE)
        else:
            pairs = measured_pairs(frames.times_s, pairs_per_s=self.pairs_per_s or 0)
            speeds = dis_speeds(frames, pairs, preset=PRESETS[self.preset])
        if not speeds.size:
            return {"flow_px_s": None, "flow_px_s_p90": None}
        return {"flow_px_s": float(speeds.mean()), "flow_px_s_p90": float(np.percentile(speeds, 90))}
