"""Flow by a network, less the network: which frames and pairs, and from their flows the scores. All numpy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import FrameRequest, Frames, Numbers, Pairs
from shardpipe.core.stage import ClipError, Result
from shardpipe.core.weights import Weights, is_copy_of

LONG_SIDE = 256
"""Speeds are in pixels of a picture whose long side is this."""

MAX_GAP_S = 1.0
GAP_S = 0.1
NET_SIDE = 576
NET_SIZE = (320, 576)
"""(height, width) that UniMatch's published weights were trained on last, and to which Open-Sora resizes."""

MULTIPLE = 32
LEAST_SIDE: Mapping[str, int] = {"unimatch": 32, "raft": 128}
"""Smallest side of a picture that each network takes."""

NUMBERED: Mapping[str, tuple[int, ...]] = {
    "opensora": tuple(range(0, 31, 10)),
    "opensora-1.3": tuple(range(0, 136, 15)),
}
"""Frames of Open-Sora's tools/scoring/optical_flow/inference.py: of its tag v1.2.0, and of v1.3."""

PUBLISHED = (
    "https://s3.eu-central-1.amazonaws.com/avg-projects/unimatch/pretrained/"
    "gmflow-scale2-regrefine6-mixdata-train320x576-4e7b215d.pth"
)
NUM_BYTES = 4 * 7_360_688
"""Of its tensors: the published file holds little more."""

LICENCE = "not specified (the code is MIT)"
"""What the authors say of their weights."""

SOURCES: Mapping[str, str] = {
    "unimatch": "https://github.com/autonomousvision/unimatch/blob/master/MODEL_ZOO.md",
    "raft": "https://docs.pytorch.org/vision/stable/models/raft.html",
}
"""Where a person finds checkpoints of each network."""

Pair = tuple[int, int]
Flow = NDArray[np.float32]


@dataclass(frozen=True)
class Job:
    """What to measure of one clip. pictures: uint8 [T, H, W, 3] rgb. pairs: places of first and second frame in it. size:
    (height, width) that the network sees, of the picture lying on its long side.
    """

    pictures: NDArray[np.uint8]
    pairs: Sequence[Pair]
    size: tuple[int, int]


Flows = Callable[[Sequence[Job]], Iterator[tuple[int, Flow]]]
"""Each job's number and the flows of its pairs, in any order: float32 [pairs, 2, height, width] of the job's size, x then y, in
pixels of that size, of the picture lying on its long side.
"""


@dataclass(frozen=True)
class Plan:
    """What a preset measures: its frames, and the one that `flow` is of, where it has one; the network's least side."""

    preset: str
    frames: FrameRequest
    least_side: int


def plan_of(engine: str, preset: str, *, pairs_per_s: float | None, max_pairs: int | None) -> Plan:
    """The plan of an engine's preset; `spread` has both numbers."""
    least_side = LEAST_SIDE[engine]
    if preset in NUMBERED:
        return Plan(preset, FrameRequest(Numbers(NUMBERED[preset])), least_side)
    assert pairs_per_s is not None
    assert max_pairs is not None
    return Plan(preset, FrameRequest(Pairs(pairs_per_s, GAP_S, max_pairs), long_side=NET_SIDE), least_side)


def weights_at(engine: str, url: str) -> Weights:
    """The weights at `url`; licence and size are known of UniMatch's published ones."""
    facts: dict[str, Any] = {"licence": LICENCE, "num_bytes": NUM_BYTES} if is_copy_of(url, PUBLISHED) else {}
    return Weights("flow", url, source=SOURCES[engine], **facts)


def score(plan: Plan, flows: Flows, clips: Sequence[Frames]) -> Sequence[Result]:
    """One result a clip."""
    jobs = [_job(plan, frames) for frames in clips]
    results: dict[int, Result] = {}
    for i, measured in flows(jobs):
        results[i] = _scores(plan, jobs[i], clips[i].times_s, measured)
    names = ["flow_px_s", "flow_px_s_p90", "flow_times_s", *(["flow"] if plan.preset in NUMBERED else [])]
    nothing: Mapping[str, Any] = dict.fromkeys(names)
    return [results.get(i, nothing) for i in range(len(clips))]


def _job(plan: Plan, frames: Frames) -> Job:
    """The pairs to measure; of `spread` none whose frames are more than a second apart."""
    height, width = sorted(frames.data.shape[1:3])
    if plan.preset in NUMBERED:
        return Job(frames.data, [(i, i + 1) for i in range(len(frames) - 1)], NET_SIZE)
    pairs = [(i, i + 1) for i in range(0, len(frames) - 1, 2) if _gap(frames.times_s, (i, i + 1)) <= MAX_GAP_S]
    return Job(frames.data, pairs, (_fitted(height, plan.least_side), _fitted(width, plan.least_side)))


def _gap(times_s: NDArray[np.float64], pair: Pair) -> float:
    return float(times_s[pair[1]] - times_s[pair[0]])


def _fitted(side: int, least: int) -> int:
    """The nearest multiple of 32, at least `least`."""
    return max(least, round(side / MULTIPLE) * MULTIPLE)


def _scores(plan: Plan, job: Job, times_s: NDArray[np.float64], flows: Flow) -> Result:
    if not np.isfinite(flows).all():
        return ClipError("the network gave a flow that is NaN or infinite")
    speeds = speeds_px_s(flows, job, times_s)
    frames = sorted({frame for pair in job.pairs for frame in pair})
    scores: dict[str, Any] = {
        "flow_px_s": float(speeds.mean(dtype=np.float64)) if speeds.size else None,
        "flow_px_s_p90": float(np.percentile(speeds, 90)) if speeds.size else None,
        "flow_times_s": times_s[frames].tolist(),
    }
    if plan.preset in NUMBERED:
        scores["flow"] = opensora_flow(flows, by_length=plan.preset == "opensora-1.3")
    return scores


def speeds_px_s(flows: Flow, job: Job, times_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """Speeds float32 [pairs, y, x] in pixels a second at a long side of 256, of the pairs that are at most a second apart."""
    height, width = sorted(job.pictures.shape[1:3])
    to_256 = LONG_SIDE / width
    gaps_s = [_gap(times_s, pair) for pair in job.pairs]
    speeds = [
        np.hypot(flow[0] * (width / job.size[1]), flow[1] * (height / job.size[0])) * (to_256 / gap_s)
        for flow, gap_s in zip(flows, gaps_s, strict=True)
        if gap_s <= MAX_GAP_S
    ]
    return np.array(speeds, np.float32)


def opensora_flow(flows: Flow, *, by_length: bool) -> float:
    """Open-Sora's raw number from flows [pairs, 2, 320, 576]: the mean of |x| and |y| (1.2), or of the vectors' lengths (1.3)."""
    sizes = np.hypot(flows[:, 0], flows[:, 1]) if by_length else np.abs(flows)
    return float(sizes.mean(dtype=np.float64))
