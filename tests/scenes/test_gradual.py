"""Dissolves and fades are found whole, and nothing that moves, flashes or dims is taken for one."""

from typing import Any

import numpy as np
import pytest
from support.motion_clips import FPS, camera, dissolve, fade, loop, real, real_shots, texture

from shardpipe.core.detector import Transition
from shardpipe.core.scene import merge_transitions
from shardpipe.scenes.gradual import Gradual

LENGTH = 110  # frames of each shot around a transition
TOLERATED_SHARE = 0.03  # of the other scene, in a frame that is left in a clip


def gradual_in(frames: Any, *, fps: Any = FPS, start_s: Any = 0.0, skip: Any = 0) -> Any:
    run = Gradual().start(fps)
    found = [each for i, frame in enumerate(frames) if i >= skip for each in run.process(start_s + i / fps, frame)]
    return merge_transitions([], [*found, *run.finish()])


def in_frames(transitions: Any, fps: Any = FPS) -> Any:
    return [(round(each.start_s * fps), round(each.end_s * fps)) for each in transitions]


@pytest.fixture(scope="module")
def shots() -> Any:
    moving = [camera(texture(i), LENGTH, pan=30 * (i % 3), zoom=0.05 * (i % 2), shake=float(i % 2)) for i in range(6)]
    return [*(loop(shot, LENGTH) for shot in real_shots()), *moving]


def pairs(num: Any, num_shots: Any, seed: Any) -> Any:
    rng = np.random.default_rng(seed)
    return [tuple(rng.choice(num_shots, 2, replace=False)) for _ in range(num)]


def num_whole(joined: Any) -> Any:
    """Of (frames, mixed range) pairs, how many have a transition found that holds the whole range, and nothing else;
    and how many have a part of theirs in what is left.
    """
    whole = half = 0
    for frames, (start, end) in joined:
        found = in_frames(gradual_in(frames))
        inside = [one for one in found if one[0] < end and one[1] > start]
        slack = max(1, round(TOLERATED_SHARE * (end - start)))
        covers = bool(inside) and min(inside)[0] <= start + slack and max(one[1] for one in inside) >= end - slack
        tight = covers and min(inside)[0] >= start - 15 and max(one[1] for one in inside) <= end + 15
        whole += tight and len(found) == len(inside)
        half += bool(inside) and not covers
    return whole, half


@pytest.mark.parametrize("length_s", [0.3, 0.6, 1.0, 2.0])
def test_dissolves(shots: Any, length_s: Any) -> None:
    joined = [dissolve(shots[i], shots[j], round(length_s * FPS)) for i, j in pairs(10, len(shots), 5)]
    whole, half = num_whole(joined)
    assert whole >= 9
    assert half == 0


@pytest.mark.parametrize("length_s", [0.3, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("color", "hold"), [(0, 8), (0, 0), (255, 4)])
def test_fades_through_black_and_white(shots: Any, length_s: Any, color: Any, hold: Any) -> None:
    num = round(length_s * FPS)
    joined = [fade(shots[i], shots[j], num, hold=hold, color=color) for i, j in pairs(5, len(shots), 6)]
    assert num_whole(joined) == (5, 0)


@pytest.mark.parametrize("length_s", [0.6, 1.0, 2.0])
@pytest.mark.parametrize(("color", "hold"), [(0, 8), (0, 0), (255, 4)])
def test_a_cut_soon_after_a_fade(shots: Any, length_s: Any, color: Any, hold: Any) -> None:
    joined = []
    for i, j in pairs(4, len(shots), 16):
        frames, (start, end) = fade(shots[i], shots[j], round(length_s * FPS), hold=hold, color=color)
        next_shot = shots[(i + 3) % len(shots)]
        joined.append((np.concatenate([frames[: end + 8], next_shot[:60]]), (start, end)))
    assert num_whole(joined) == (4, 0)


@pytest.mark.parametrize("after", [6, 12])
@pytest.mark.parametrize("length_s", [0.4, 0.8, 1.2])
def test_a_cut_soon_after_a_dissolve(shots: Any, length_s: Any, after: Any) -> None:
    joined = []
    for i, j in pairs(5, len(shots), 31):
        frames, (start, end) = dissolve(shots[i], shots[j], round(length_s * FPS))
        next_shot = shots[(i + 3) % len(shots)]
        joined.append((np.concatenate([frames[: end + after], next_shot[:70]]), (start, end)))
    assert num_whole(joined) == (5, 0)


@pytest.mark.slow
@pytest.mark.parametrize("length_s", [0.3, 0.5, 0.8, 1.2, 1.6, 2.0])
def test_many_dissolves(shots: Any, length_s: Any) -> None:
    """Of 60 between hand-held and shaking shots."""
    joined = [dissolve(shots[i], shots[j], round(length_s * FPS)) for i, j in pairs(60, len(shots), 7)]
    whole, half = num_whole(joined)
    assert whole >= 54
    assert half <= 2


def test_a_dissolve_between_hard_cuts(shots: Any) -> None:
    joined, (start, end) = dissolve(shots[7], shots[5], 20)
    frames = np.concatenate([shots[0][:40], joined[40:], shots[6][:40]])
    ((first, last),) = in_frames(gradual_in(frames))
    assert start - 6 <= first <= start
    assert end <= last <= end + 6


def test_a_fade_at_each_end_of_a_video(shots: Any) -> None:
    black = np.zeros_like(shots[0])
    faded, (_, begin) = fade(black[:40], shots[6], 15, hold=0, color=0)
    frames, (end, _) = fade(faded, black[:40], 15, hold=0, color=0)
    found = in_frames(gradual_in(frames))
    assert found[0][0] <= 1
    assert begin <= found[0][1] <= begin + 6
    assert end - 6 <= found[-1][0] <= end
    assert found[-1][1] >= len(frames)
    assert len(found) == 2


def test_black_between_hard_cuts_is_a_scene(shots: Any) -> None:
    frames = np.concatenate([shots[0][:60], np.zeros_like(shots[0][:40]), shots[6][:60]])
    assert gradual_in(frames) == []


def motions() -> Any:
    for i, roughness in enumerate([1.2, 1.6, 2.0, 2.4]):
        picture = texture(100 + i, roughness)
        yield f"pan-{i}", camera(picture, 120, pan=80)
        yield f"whip-{i}", camera(picture, 60, pan=220)
        yield f"slow-{i}", camera(picture, 120, pan=25, tilt=10)
        yield f"zoom-{i}", camera(picture, 100, zoom=0.3)
        yield f"roll-{i}", camera(picture, 100, roll=30)
        yield f"hand-{i}", camera(picture, 120, shake=3, pan=10)
        still = camera(picture, 150, shake=0.7)
        yield f"flash-{i}", flashed(still)
        yield f"waves-{i}", lit(still, 0.75 + 0.35 * np.sin(np.arange(150) / 40))
        yield f"dimmed-{i}", lit(still, np.linspace(1, 0.25, 150))


def flashed(frames: Any) -> Any:
    light = np.zeros(len(frames))
    light[60:65] = 150, 80, 40, 20, 8
    light[110:116] = 255, 255, 160, 90, 45, 20
    return np.clip(frames + light[:, None, None, None], 0, 255).astype(np.uint8)


def lit(frames: Any, gain: Any) -> Any:
    return np.clip(frames * gain[:, None, None, None], 0, 255).astype(np.uint8)


def test_motion_light_and_real_shots_are_no_transitions() -> None:
    wrong = {name: in_frames(gradual_in(frames)) for name, frames in motions()}
    for name in ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"):
        wrong[name] = in_frames(gradual_in(real(name)))
    assert {name: found for name, found in wrong.items() if found} == {}


def test_a_run_that_begins_later_finds_the_same(shots: Any) -> None:
    one, _ = dissolve(shots[7], shots[6], 20)
    two, _ = fade(one, shots[9], 12, hold=10, color=0)
    frames = np.concatenate([loop(shots[0], 250), two])
    whole = gradual_in(frames)
    assert len(whole) == 2
    for skip in (7, 100, 133):
        assert gradual_in(frames, skip=skip) == whole


def test_settled_and_certain(shots: Any) -> None:
    frames, _ = fade(shots[6], shots[7], 12, hold=100, color=0)
    run, certain_s, found = Gradual().start(FPS), -10.0, []
    assert not run.settled
    for i, frame in enumerate(frames):
        new = run.process(i / FPS, frame)
        assert all(each.start_s >= certain_s for each in new)
        certain_s = max(certain_s, run.certain_until(i / FPS))
        found += new
        if 110 < i < 200:
            assert certain_s <= 98 / FPS  # the fade that goes on is not certain yet
    assert run.settled
    assert len([*found, *run.finish()]) == 1


def test_a_run_that_begins_in_black_is_not_settled_before_the_black_ends(shots: Any) -> None:
    frames = np.concatenate([np.zeros((250, 144, 256, 3), np.uint8), loop(shots[6], 150)])
    run = Gradual().start(FPS)
    settled = []
    for i, frame in enumerate(frames):
        run.process(i / FPS, frame)
        settled.append(run.settled)
    assert not any(settled[:260])
    assert settled[-1]


@pytest.mark.parametrize("fps", [10, 60])
def test_frame_rates(shots: Any, fps: Any) -> None:
    step = {10: 0.4, 60: 2.4}[fps]  # the same scenes shown at another rate
    index = np.minimum(np.arange(int(LENGTH * step)) / step, LENGTH - 1).astype(int)
    frames, (start, end) = dissolve(shots[7][index], shots[6][index], fps)
    ((first, last),) = in_frames(gradual_in(frames, fps=fps), fps)
    assert start - 0.25 * fps <= first <= start
    assert end <= last <= end + 0.25 * fps


def test_empty_and_single_frames() -> None:
    run = Gradual().start(25.0)
    assert list(run.finish()) == []
    assert gradual_in(np.zeros((1, 144, 256, 3), np.uint8)) == []
    assert Transition(1.0, 2.0).is_gradual
    assert not Transition(1.0, 1.0).is_gradual
