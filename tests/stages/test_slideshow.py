"""Slide shows told from video: our score on a suite, Open-Sora's test against its own steps, and what must not matter."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from support.camera_suite import Case, Pose, frames_of, texture
from support.motion_clips import real_shots
from support.shots import VIDEOS
from support.still_cases import Known, real_scenes, slide_case
from support.still_suite import Scene, flat, seen

from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipView
from shardpipe.media.sample import sample
from shardpipe.stages._kendall import kendall
from shardpipe.stages._zoom_steps import centre, is_zoom, zoom_steps
from shardpipe.stages.flow import Flow
from shardpipe.stages.slideshow import Slideshow
from shardpipe.testing import check_stage, make_clip, score_clip

STAGE = Slideshow()
ZOOM = Case("zoom", frozenset(), lambda t: Pose(zoom=0.08 * t), texture="bigbuckbunny:30", size=(640, 360), crf=23)
PAN = Case("pan", frozenset(), lambda t: Pose(x=-0.05 * t), texture="fractal", size=(640, 360), crf=23)


def scored(frames: Frames) -> dict[str, Any]:
    return dict(STAGE.process([ClipView("clip", {}, (frames,))])[0])


def score(scene: Scene) -> float | None:
    return scored(seen(scene, STAGE.frames))["slideshow"]


def wrong(cases: list[Known]) -> list[str]:
    """One line for each case on the wrong side of 0.4; null is no slide show, as the rule of the docs has it."""
    scores = [score(case.scene) for case in cases]
    return [
        f"{case.scene.name}: {value}, should be {case.expected}"
        for case, value in zip(cases, scores, strict=True)
        if (value is not None and value >= 0.4) != case.expected
    ]


def test_suite() -> None:
    lines = wrong([slide_case(number) for number in range(1000, 1024)])
    assert len(lines) <= 0.05 * 24, "\n".join(lines)


@pytest.mark.slow
def test_large_suite() -> None:
    lines = wrong([slide_case(number) for number in range(2000, 2200)])
    assert len(lines) <= 0.05 * 200, "\n".join(lines)


def test_real_shots_are_no_slide_shows() -> None:
    assert wrong(real_scenes(real_shots(), step=50)) == []


@pytest.mark.parametrize("name", ["bigbuckbunny", "bikes", "carphone_pristine"])
def test_the_shipped_videos_are_no_slide_shows(name: str) -> None:
    result: Any = score_clip({"type": "slideshow"}, VIDEOS / f"{name}.mp4")
    assert result["slideshow"] is None or result["slideshow"] < 0.4
    assert not (result["slideshow_num_steps"] >= 3 and result["slideshow_zoom_share"] >= 0.4)


@pytest.mark.parametrize("case", [ZOOM, PAN])
def test_fps_and_size_do_not_matter(case: Case) -> None:
    short = replace(case, duration_s=2.0)
    usual = score(flat(short))
    assert usual is not None
    assert usual > 0.8
    for change in ({"fps": 24.0}, {"fps": 60.0}, {"size": (1280, 720), "fps": 24.0}):
        assert score(flat(replace(short, **change))) == pytest.approx(usual, abs=0.1), change


def test_the_published_decision_does_not_depend_on_fps() -> None:
    for fps in (24.0, 30.0, 60.0):
        for case, zoom in ((ZOOM, True), (PAN, False)):
            found = scored(frames_of(replace(case, fps=fps, crf=None), STAGE.frames))
            assert 3 <= found["slideshow_num_steps"] <= 5
            assert (found["slideshow_zoom_share"] >= 0.4) == zoom


def published(pictures: list[np.ndarray], every: int = 10) -> tuple[int, int]:
    """Zooms and judged steps by the published recipe on full-size frames by number, in plain loops."""
    points, before, zooms, judged = None, None, 0, 0
    for picture in pictures[::every]:
        height, width = picture.shape
        rows, columns = int(height * 2 / 3), int(width * 2 / 3)
        top, left = (height - rows) // 2, (width - columns) // 2
        inner = picture[top : top + rows, left : left + columns]
        scale = max(256 / rows, 256 / columns)
        large = cv2.resize(inner, (int(columns * scale), int(rows * scale)))
        top, left = (large.shape[0] - 256) // 2, (large.shape[1] - 256) // 2
        now = np.ascontiguousarray(large[top : top + 256, left : left + 256])
        if points is None:
            points = cv2.goodFeaturesToTrack(now, 100, 0.3, 7, blockSize=7)
        elif judged < 5:
            stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
            found, status, _ = cv2.calcOpticalFlowPyrLK(
                before, now, points, None, winSize=(15, 15), maxLevel=2, criteria=stop
            )
            good, old = found[status == 1], points[status == 1]
            tests = []
            for axis in (0, 1):
                for up in (False, True):
                    pairs = [(n[axis] - o[axis], o[axis]) for n, o in zip(good, old, strict=True)]
                    pairs = [pair for pair in pairs if (pair[0] >= 0) == up]
                    if len(pairs) > 10:
                        tau, p = kendall(*np.array(pairs).T)
                        tests.append(abs(tau) >= 0.5 and p <= 0.1)
            judged += bool(tests)
            zooms += bool(tests) and all(tests)
            points = good.reshape(-1, 1, 2)
        before = now
    return zooms, judged


def test_the_published_decision_from_full_size_frames_is_reproduced() -> None:
    """At 30 fps a step is their ten frames; ours are of 256 pixels, theirs of full size."""
    same = 0
    moves = [lambda t, z=z, x=x: Pose(zoom=z * t, x=x * t) for z in (-0.1, 0.0, 0.06, 0.15) for x in (0.0, 0.06)]
    cases = [replace(ZOOM, move=move, texture=paint) for move in moves for paint in ("fractal", "bikes:10")]
    for case in cases:
        scene = flat(replace(case, crf=None, duration_s=2.0))
        zooms, judged = published(scene.pictures())
        mine = scored(seen(scene, STAGE.frames))
        theirs = judged >= 3 and zooms / judged >= 0.4
        same += theirs == (mine["slideshow_num_steps"] >= 3 and mine["slideshow_zoom_share"] >= 0.4)
    assert same >= 0.9 * len(cases)


def test_the_same_frames_give_the_published_counts() -> None:
    pictures = flat(replace(ZOOM, crf=None, duration_s=2.0, size=(256, 144))).pictures()
    found = zoom_steps(Frames(np.stack(pictures[::10]), np.arange(6) / 3))
    assert (found.zooms, found.judged) == published(pictures)


def test_points_of_a_zoom_a_pan_and_a_still() -> None:
    before = np.random.default_rng(0).uniform(0, 256, (100, 2)).astype(np.float32)
    out = (before - 128) * np.float32(1.05) + 128
    assert is_zoom(before, out) is True
    assert is_zoom(out, before) is True
    assert is_zoom(before, before + np.random.default_rng(1).normal(3, 0.1, (100, 2)).astype(np.float32)) is False
    assert is_zoom(before, before) is True  # as published: nothing speaks against it
    assert is_zoom(before[:10], out[:10]) is None


def test_the_centre_is_a_square_of_the_middle() -> None:
    frame = np.zeros((144, 256), np.uint8)
    frame[24:120, 80:176] = 200
    assert centre(frame).shape == (256, 256)
    assert centre(frame).mean() > 195
    assert centre(np.zeros((1, 1), np.uint8)).shape == (256, 256)


def test_a_real_file_by_the_same_frames_as_flow(tmp_path: Any) -> None:
    big = np.repeat(texture("bikes:10")[..., None], 3, axis=2).astype(np.uint8)
    pictures = [cv2.resize(big[2 * i : 2 * i + 540, 3 * i : 3 * i + 960], (640, 360)) for i in range(75)]
    path = make_clip(tmp_path / "a.mp4", pictures=pictures, fps=25, crf=28)
    result: Any = score_clip({"type": "slideshow"}, path)
    assert result["slideshow"] > 0.8
    assert STAGE.frames == Flow().frames
    assert len(sample(path, [STAGE.frames, Flow().frames])) == 2


@pytest.mark.parametrize("value", [0, 128])
def test_nothing_to_see_is_null(value: int) -> None:
    found = scored(Frames(np.full((27, 144, 256), value, np.uint8), np.arange(27) / 9))
    assert found == {"slideshow": None, "slideshow_zoom_share": None, "slideshow_num_steps": 0}


@pytest.mark.parametrize("size", [(1, 1), (2, 200), (15, 40), (16, 16), (40, 30), (20, 256)])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_tiny_and_short_clips_get_an_answer(size: tuple[int, int], count: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (count, *size), dtype=np.uint8)
    found = scored(Frames(noise, np.arange(count) / 9))
    assert set(found) == set(STAGE.writes)
    assert (count >= 3 and min(size) >= 16) or found["slideshow"] is None


def test_noise_is_no_slide_show_and_other_clips_change_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (27, 144, 256), dtype=np.uint8)
    views = [
        ClipView("noise", {}, (Frames(noise, np.arange(27) / 9),)),
        ClipView("zoom", {}, (frames_of(replace(ZOOM, crf=None), STAGE.frames),)),
    ]
    together = list(STAGE.process(views))
    assert together == [STAGE.process([view])[0] for view in views]
    assert together[0]["slideshow"] < 0.1
    assert together[1]["slideshow"] > 0.9


def test_contract() -> None:
    assert check_stage({"type": "slideshow"})["black"]["slideshow"] is None
