"""Flow speeds are true, and do not depend on fps, on the clip's size or on OpenCV's threads."""

from typing import Any

import cv2
import numpy as np
import pytest
from support.camera_suite import Case, Pose, Thing, frames_of, texture

from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipView
from shardpipe.stages._dis import measured_pairs
from shardpipe.stages.flow import Flow

FLOW = Flow()


def speeds(frames: Frames, flow: Flow = FLOW) -> tuple[float, float]:
    result = flow.process([ClipView("clip", {}, (frames,))])[0]
    return result["flow_px_s"], result["flow_px_s_p90"]


def pan(speed: float, **changes: Any) -> Case:
    return Case("pan", frozenset(), lambda t: Pose(x=-speed * t), **{"duration_s": 2.0, **changes})


@pytest.mark.parametrize("paint", ["noise0", "noise3", "noise12", "shapes"])
@pytest.mark.parametrize("speed", [0.05, 0.3, 0.7])
def test_a_pan_has_its_own_speed_at_any_fps(paint: str, speed: float) -> None:
    for fps in (24, 30, 60):
        mean, p90 = speeds(frames_of(pan(speed, fps=fps, texture=paint), FLOW.frames))
        assert mean == pytest.approx(speed * 256, rel=0.08)
        assert p90 >= mean * 0.98


@pytest.mark.parametrize("size", [(480, 270), (160, 90), (270, 480)])
def test_speed_is_in_pixels_at_256_whatever_the_size(size: tuple[int, int]) -> None:
    mean, _ = speeds(frames_of(pan(0.2, size=size, texture="noise2"), FLOW.frames))
    assert mean == pytest.approx(0.2 * 256 * size[0] / max(size), rel=0.08)


def test_the_percentile_sees_a_small_fast_thing() -> None:
    case = Case("thing", frozenset(), lambda _: Pose(), things=(Thing(area=0.15, speed=0.3),), duration_s=2.0)
    mean, p90 = speeds(frames_of(case, FLOW.frames))
    assert p90 > 2 * mean
    assert p90 == pytest.approx(0.3 * 256, rel=0.2)


def test_still_pictures_have_no_flow() -> None:
    assert speeds(frames_of(pan(0.0), FLOW.frames)) == (0.0, 0.0)


def test_every_preset_agrees() -> None:
    frames = frames_of(pan(0.2), FLOW.frames)
    for preset in ("ultrafast", "fast", "medium"):
        assert speeds(frames, Flow(preset=preset))[0] == pytest.approx(51.2, rel=0.05)


def test_no_pair_no_number() -> None:
    one = Frames(np.zeros((1, 144, 256), np.uint8), np.zeros(1))
    assert speeds(one) == (None, None)
    slides = Frames(np.zeros((3, 144, 256), np.uint8), np.array([0.0, 4.0, 8.0]))
    assert speeds(slides) == (None, None)


@pytest.mark.parametrize("size", [(1, 1), (3, 256), (2, 4), (11, 11), (24, 256), (256, 24)])
def test_tiny_pictures_are_measured(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    mean, p90 = speeds(Frames(noise, np.array([0.0, 0.1, 0.2])))
    assert np.isfinite([mean, p90]).all()


@pytest.mark.parametrize(
    ("fps", "duration_s"), [(4, 3.0), (5, 4.0), (8, 2.0), (12, 1.0), (24, 0.9), (30, 7.3), (60, 0.4)]
)
def test_at_least_four_pairs_a_second(fps: float, duration_s: float) -> None:
    case = pan(0.1, fps=fps, duration_s=duration_s)
    times_s = frames_of(case, FLOW.frames).times_s
    pairs = measured_pairs(times_s, pairs_per_s=FLOW.pairs_per_s)
    assert len(pairs) >= min(4 * duration_s, fps * duration_s - 1) - 1e-9


def test_other_clips_and_threads_change_nothing() -> None:
    frames = [frames_of(pan(speed, texture="fractal"), FLOW.frames) for speed in (0.1, 0.4)]
    views = [ClipView(str(i), {}, (each,)) for i, each in enumerate(frames)]
    before = cv2.getNumThreads()
    together = FLOW.process(views)
    assert cv2.getNumThreads() == before
    assert together == [FLOW.process([view])[0] for view in views]
    cv2.setNumThreads(1)
    try:
        assert together == FLOW.process(views)
    finally:
        cv2.setNumThreads(before)


def test_noise_alone_is_slow() -> None:
    assert texture("noise3").std() > 40
    assert speeds(frames_of(pan(0.0, noise=6.0), FLOW.frames))[0] < 5
