"""What stands still, told from what moves little, slowly, or only in a part of the picture."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.camera_suite import Case, Pose, Thing
from support.motion_clips import real_shots
from support.shots import VIDEOS
from support.still_cases import Known, real_scenes, static_case
from support.still_suite import barred, flat, frozen, lit, seen, still

from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipView
from shardpipe.stages.quality import frozen_share
from shardpipe.stages.static import Static
from shardpipe.testing import check_stage, score_clip

STAGE = Static()
BASE = Case("still", frozenset(), still(), texture="bigbuckbunny:30", size=(480, 270), crf=23)
PAN = replace(BASE, move=lambda t: Pose(x=-0.1 * t))


def scored(frames: Frames, **row: Any) -> dict[str, Any]:
    return dict(STAGE.process([ClipView("clip", row, (frames,))])[0])


def of(scene: Any) -> dict[str, Any]:
    return scored(seen(scene, STAGE.frames), duration_s=scene.duration_s)


def wrong(cases: list[Known]) -> list[str]:
    """One line for each case on the wrong side of a share of 0.9."""
    found = [of(case.scene) for case in cases]
    return [
        f"{case.scene.name}: {values}, should be {case.expected}"
        for case, values in zip(cases, found, strict=True)
        if (values["static_share"] >= 0.9) != case.expected
    ]


def test_suite() -> None:
    lines = wrong([static_case(number) for number in range(1000, 1024)])
    assert len(lines) <= 0.05 * 24, "\n".join(lines)


@pytest.mark.slow
def test_large_suite() -> None:
    lines = wrong([static_case(number) for number in range(2000, 2200)])
    assert len(lines) <= 0.05 * 200, "\n".join(lines)


def test_real_shots_are_not_static() -> None:
    assert wrong(real_scenes(real_shots(), step=50)) == []


@pytest.mark.parametrize("name", ["bigbuckbunny", "bikes", "carphone_pristine"])
def test_the_shipped_videos_are_not_static(name: str) -> None:
    result: Any = score_clip({"type": "static"}, VIDEOS / f"{name}.mp4")
    assert result["static_share"] < 0.5
    assert result["static_area"] < 0.9


def test_a_freeze_in_the_middle_has_its_length() -> None:
    found = of(frozen(flat(replace(PAN, duration_s=4.0)), 1.2, 3.0))
    assert found["static_run_s"] == pytest.approx(1.8, abs=0.3)
    assert found["static_share"] == pytest.approx(1.8 / 4, abs=0.1)
    assert found["static_area"] < 0.2


def test_a_slow_fade_changes_everywhere() -> None:
    found = of(lit(flat(replace(BASE, duration_s=4.0)), lambda t: 1 - 0.2 * t))
    assert found["static_share"] == 0.0
    assert found["static_area"] < 0.3


def test_grain_stands_still_where_quality_sees_motion() -> None:
    frames = seen(flat(replace(BASE, noise=9.0, crf=18)), STAGE.frames)
    assert scored(frames, duration_s=3.0)["static_share"] == pytest.approx(1.0)
    assert frozen_share(frames, duration_s=3.0) == 0.0


def test_a_small_thing_moves_in_a_small_part() -> None:
    thing = Thing(area=0.01, speed=0.1, texture="shapes")
    found = of(flat(replace(BASE, things=(thing,))))
    assert found["static_share"] < 0.1
    assert 0.85 < found["static_area"] < 1.0


def test_black_bars_are_no_part_of_the_picture() -> None:
    assert of(barred(flat(replace(PAN, texture="fractal"))))["static_area"] < 0.1


@pytest.mark.parametrize("fps", [24.0, 60.0])
def test_fps_does_not_matter(fps: float) -> None:
    halves = frozen(flat(replace(PAN, fps=fps)), 1.0, 3.0)
    assert of(halves)["static_share"] == pytest.approx(of(replace(halves, fps=30.0))["static_share"], abs=0.1)


@pytest.mark.parametrize("size", [(640, 360), (1280, 720)])
def test_size_does_not_matter(size: tuple[int, int]) -> None:
    assert of(flat(replace(BASE, size=size, noise=6.0, duration_s=1.2)))["static_share"] == pytest.approx(1.0)
    assert of(flat(replace(PAN, size=size, duration_s=1.2)))["static_share"] == 0.0


def test_pictures_that_stand_for_long() -> None:
    two = np.stack([np.zeros((144, 256), np.uint8), np.full((144, 256), 255, np.uint8)])
    slides = scored(Frames(two, np.array([0.0, 4.0])), duration_s=8.0)
    assert (slides["static_share"], slides["static_run_s"]) == (1.0, 4.0)
    assert scored(Frames(two, np.array([0.0, 0.1])), duration_s=0.2)["static_share"] == 0.0
    assert scored(Frames(two[:1], np.zeros(1)), duration_s=0.3) == dict.fromkeys(STAGE.writes)
    assert scored(Frames(two[:1], np.zeros(1)), duration_s=30.0)["static_run_s"] == 30.0


@pytest.mark.parametrize("size", [(1, 1), (2, 200), (9, 9), (40, 30)])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_tiny_and_short_clips_get_an_answer(size: tuple[int, int], count: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (count, *size), dtype=np.uint8)
    found = scored(Frames(noise, np.arange(count) / 9))
    assert (found["static_share"] is None) == (count == 1)


def test_contract() -> None:
    results = check_stage({"type": "static"})
    assert results["black"]["static_share"] == 1.0
    assert results["landscape"]["static_share"] == 0.0
