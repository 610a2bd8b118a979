"""Camera motion on rendered clips whose answer is known."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from support.camera_cases import case
from support.camera_suite import Case, Move, Pose, Thing, frames_of, mp4_of, render

from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipView
from shardpipe.media.sample import sample
from shardpipe.stages._camera_path import travel
from shardpipe.stages.camera_motion import CameraMotion
from shardpipe.stages.flow import Flow

STAGE = CameraMotion()


def described(frames: Frames) -> dict[str, Any]:
    result = STAGE.process([ClipView("clip", {}, (frames,))])[0]
    assert set(result) == set(STAGE.writes)
    return dict(result)


def shot(move: Move, **changes: Any) -> Frames:
    return frames_of(
        Case("shot", frozenset(), move, **{"duration_s": 2.0, "texture": "fractal", **changes}), STAGE.frames
    )


def wrong(numbers: range) -> list[str]:
    """One line for each case that is not labelled exactly as expected."""
    lines, kinds = [], Counter[str]()
    for number in numbers:
        each = case(number)
        found = described(frames_of(each, STAGE.frames))["cmotion"]
        if found is None or set(found) != each.expected:
            lines.append(f"{each.name}: {found}")
            kinds.update(each.tags)
    return [*lines, str(kinds)] if lines else []


def test_suite() -> None:
    lines = wrong(range(1000, 1050))
    assert len(lines) <= 0.05 * 50, "\n".join(lines)


@pytest.mark.slow
def test_large_suite() -> None:
    lines = wrong(range(2000, 2400))
    assert len(lines) <= 1 + 0.04 * 400, "\n".join(lines)


@pytest.mark.parametrize("texture", ["fractal", "noise40"])
@pytest.mark.parametrize(
    ("name", "move"),
    [
        ("pan_right", lambda t: Pose(x=-0.1 * t)),
        ("pan_left", lambda t: Pose(x=0.1 * t)),
        ("tilt_up", lambda t: Pose(y=0.1 * t)),
        ("tilt_down", lambda t: Pose(y=-0.1 * t)),
        ("zoom_in", lambda t: Pose(zoom=0.1 * t)),
        ("zoom_out", lambda t: Pose(zoom=-0.1 * t)),
        ("roll", lambda t: Pose(roll=10 * t)),
        ("static", lambda _: Pose()),
    ],
)
def test_directions(name: str, move: Move, texture: str) -> None:
    """Of soft shades, which have no corners, too."""
    assert described(shot(move, texture=texture, crf=23))["cmotion"] == [name]


def test_numbers_are_speeds_at_any_fps() -> None:
    for fps in (12, 24, 25, 30, 60):
        found = described(shot(lambda t: Pose(x=-0.1 * t, y=0.05 * t), fps=fps))
        assert found["cmotion_pan"] == pytest.approx(0.1, rel=0.05)
        assert found["cmotion_tilt"] == pytest.approx(0.05 * 480 / 270, rel=0.05)
        found = described(shot(lambda t: Pose(zoom=0.2 * t, roll=6 * t), fps=fps))
        assert found["cmotion_zoom"] == pytest.approx(0.2, rel=0.05)
        assert found["cmotion_roll"] == pytest.approx(6, rel=0.05)


@pytest.mark.parametrize("fps", [24, 30])
def test_a_real_mp4_through_the_shared_decode(fps: int) -> None:
    pan = Case("pan", frozenset(), lambda t: Pose(x=-0.15 * t), texture="bikes:10", fps=fps, size=(640, 272))
    clip = mp4_of([render(pan, number) for number in range(2 * fps)], fps=fps, crf=23)
    shown, for_flow = sample(clip, [STAGE.frames, Flow().frames])
    assert np.shares_memory(shown.data, for_flow.data) or np.array_equal(shown.data, for_flow.data)
    found = described(shown)
    assert found["cmotion"] == ["pan_right"]
    assert found["cmotion_pan"] == pytest.approx(0.15, rel=0.05)
    assert Flow().process([ClipView("clip", {}, (for_flow,))])[0]["flow_px_s"] == pytest.approx(0.15 * 256, rel=0.15)


def test_there_and_back_are_two_labels() -> None:
    found = described(shot(lambda t: Pose(x=-0.2 * min(t, 3.0 - t)), duration_s=3.0))
    assert found["cmotion"] == ["pan_left", "pan_right"]


def test_a_picture_that_repeats_itself_is_not_where_it_was() -> None:
    """A checkerboard looks as at the start each time it has moved by two squares."""
    move: Move = lambda t: Pose(x=0.11 * t, y=-0.11 * t)  # noqa: E731
    found = described(shot(move, texture="board", duration_s=4.5, fps=50))
    assert found["cmotion"] == ["pan_left", "tilt_down"]
    assert found["cmotion_pan"] == pytest.approx(-0.11, rel=0.05)


def test_shake_before_a_picture_that_repeats_itself() -> None:
    jitter = np.random.default_rng(1).standard_normal((200, 2)) * 0.01
    found = described(shot(lambda t: Pose(*jitter[round(30 * t)]), texture="board", duration_s=4.0))
    assert found["cmotion"] == ["shake"]


def test_black_bars_do_not_hold_a_pan() -> None:
    frames = shot(lambda t: Pose(x=-0.05 * t), texture="bigbuckbunny:30")
    frames.data[:, :20] = 0
    frames.data[:, -20:] = 0
    assert described(frames)["cmotion"] == ["pan_right"]


def test_still_background_behind_a_rich_thing() -> None:
    thing = Thing(area=0.35, speed=0.3, texture="noise3")
    assert described(shot(lambda _: Pose(), texture="bigbuckbunny:30", things=(thing,), noise=3.0))["cmotion"] == [
        "static"
    ]


@pytest.mark.parametrize("ground", ["plain", "noise40"])
@pytest.mark.parametrize("area", [0.05, 0.2])
def test_a_thing_before_a_ground_without_corners(ground: str, area: float) -> None:
    thing = Thing(area=area, speed=0.3, direction=20)
    assert described(shot(lambda _: Pose(), texture=ground, things=(thing,)))["cmotion"] == ["static"]


@pytest.mark.parametrize("size", [0.0, 0.012])
def test_shake_of_soft_shades(size: float) -> None:
    jitter = np.random.default_rng(5).standard_normal((200, 2)) * size

    def move(time_s: float) -> Pose:
        right, down = jitter[round(30 * time_s)]
        return Pose(x=-0.1 * time_s + right, y=down)

    found = described(shot(move, texture="noise40", duration_s=3.0, crf=23))["cmotion"]
    assert found == (["pan_right", "shake"] if size else ["pan_right"])


@pytest.mark.parametrize("value", [0, 16, 128])
def test_nothing_to_see_is_null(value: int) -> None:
    found = described(Frames(np.full((18, 144, 256), value, np.uint8), np.arange(18) / 9))
    assert all(each is None for each in found.values())


def test_unrelated_pictures_are_null() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (18, 144, 256), dtype=np.uint8)
    assert described(Frames(noise, np.arange(18) / 9))["cmotion"] is None


@pytest.mark.parametrize("size", [(1, 1), (2, 200), (9, 9), (40, 30)])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_tiny_and_short_clips_get_an_answer(size: tuple[int, int], count: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (count, *size), dtype=np.uint8)
    assert "cmotion" in described(Frames(noise, np.arange(count) / 9))


def test_other_clips_change_nothing() -> None:
    views = [ClipView(str(n), {}, (frames_of(case(n), STAGE.frames),)) for n in (3, 4, 5)]
    assert list(STAGE.process(views)) == [STAGE.process([view])[0] for view in views]


def test_travel_counts_both_ways_and_forgives_trembling() -> None:
    line = np.array([0.0, 1.0, 0.9, 2.0, 3.0, 2.9, 1.0, 1.1])
    found = travel(line, 0.5)
    assert (found.up, found.down) == pytest.approx((3.0, 2.0))
