"""Camera motion by point tracks: labels from tracks that are known, and the network's place in the stage."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.camera_cases import case
from support.camera_suite import Case, Move, Pose, frames_of
from support.cotracker_plain import random_state, write_checkpoint
from support.oracle_tracker import Oracle

from shardpipe.core.errors import ConfigError, StageError
from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipError, ClipView
from shardpipe.stages import _point_tracks
from shardpipe.stages.camera_motion import CameraMotion
from shardpipe.testing import check_stage


def stage() -> CameraMotion:
    return CameraMotion(engine="cotracker", weights="weights.pth")


def described(shown: Case) -> dict[str, Any]:
    gray = frames_of(replace(shown, crf=None), stage().frames)
    made = stage()
    made._net = Oracle(shown, gray.times_s)  # type: ignore[assignment]
    frames = Frames(np.repeat(gray.data[..., None], 3, axis=3), gray.times_s)
    (result,) = made.process([ClipView("clip", {}, (frames,))])
    assert not isinstance(result, ClipError)
    return dict(result)


def shot(move: Move, **changes: Any) -> Case:
    return Case("shot", frozenset(), move, **{"duration_s": 2.0, "texture": "fractal", **changes})


def test_suite() -> None:
    wrong = [
        f"{each.name}: {found}"
        for each in map(case, range(1000, 1040))
        if (found := described(each)["cmotion"]) is None or set(found) != each.expected
    ]
    assert len(wrong) <= 0.05 * 40, "\n".join(wrong)


def test_numbers_are_those_of_the_other_engine() -> None:
    found = described(shot(lambda t: Pose(x=-0.1 * t, y=0.05 * t)))
    assert found["cmotion_pan"] == pytest.approx(0.1, rel=0.05)
    assert found["cmotion_tilt"] == pytest.approx(0.05 * 480 / 270, rel=0.05)
    found = described(shot(lambda t: Pose(zoom=0.2 * t, roll=6 * t)))
    assert found["cmotion_zoom"] == pytest.approx(0.2, rel=0.05)
    assert found["cmotion_roll"] == pytest.approx(6, rel=0.05)


def test_a_long_clip_is_tracked_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pan of 4 seconds at 9 frames a second, in stretches of 12 that share a frame."""
    monkeypatch.setattr(_point_tracks, "STRETCH", 12)
    seen: list[int] = []

    class Pan:
        def __call__(self, pictures: Any, points: Any, frames: Any) -> Any:
            seen.append(len(pictures))
            moved = np.arange(len(pictures))[:, None] - frames
            at = np.repeat(points[None], len(pictures), 0)
            at[..., 0] -= 4.0 * moved
            return at.astype(np.float32), np.ones(at.shape[:2], bool)

    made = stage()
    made._net = Pan()  # type: ignore[assignment]
    noise = np.random.default_rng(0).integers(0, 256, (36, 90, 160, 3), dtype=np.uint8)
    (result,) = made.process([ClipView("clip", {}, (Frames(noise, np.arange(36) / 9),))])
    assert seen == [10, 10, 9, 10]
    assert not isinstance(result, ClipError)
    assert result["cmotion"] == ["pan_right"]
    assert result["cmotion_pan"] == pytest.approx(4.0 * 9 / 160, rel=0.01)


@pytest.mark.slow
def test_the_real_network_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shardpipe.models.cotracker import network
    from shardpipe.stages import _track_net

    monkeypatch.setattr(_track_net, "SIZE", (48, 64))  # as it is, a second of clip takes 15 seconds
    monkeypatch.setattr(_point_tracks, "GRID", 3)
    monkeypatch.setattr(network, "UPDATES", 1)
    made = CameraMotion(engine="cotracker", weights=str(write_checkpoint(tmp_path / "weights.pth")))
    check_stage(made)
    (weights,) = made.loads
    assert (weights.role, weights.licence) == ("tracker", "unknown")


def test_the_network_gets_points_and_gives_tracks_in_the_pictures_pixels(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from shardpipe.models.cotracker.checkpoint import network_of
    from shardpipe.stages._track_net import TrackNet

    state = {
        name: tensor * 0 for name, tensor in random_state().items()
    }  # it changes nothing: points stay where they are
    net = TrackNet(network_of(state, "cpu", "here"), "cpu")
    points = np.array([[0.0, 0.0], [99.0, 59.0], [50.0, 20.0]], np.float32)
    at, seen = net(np.zeros((2, 60, 100, 3), np.uint8), points, np.array([0, 1, 0]))
    np.testing.assert_allclose(at, np.repeat(points[None], 2, 0), atol=1e-3)
    # a sigmoid of 0 is less than the authors' 0.9, but a point is seen where it was set down
    assert seen.tolist() == [[True, False, True], [False, True, False]]


def test_a_track_that_is_nan_is_the_clips_error() -> None:
    made = stage()
    made._net = lambda pictures, points, _: (  # type: ignore[assignment]
        np.full((len(pictures), len(points), 2), np.nan, np.float32),
        np.ones((len(pictures), len(points)), bool),
    )
    frames = Frames(np.zeros((9, 36, 64, 3), np.uint8), np.arange(9) / 9)
    (result,) = made.process([ClipView("clip", {}, (frames,))])
    assert isinstance(result, ClipError)
    assert "NaN" in result.message


def test_fields_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"engine cotracker needs weights: hf://facebook/cotracker3/scaled_offline\.pth"
    ):
        CameraMotion(engine="cotracker")
    with pytest.raises(ValueError, match="engine corners takes no weights"):
        CameraMotion(weights="weights.pth")
    with pytest.raises(StageError, match="before setup"):
        stage().process([ClipView("clip", {}, (Frames(np.zeros((3, 8, 8, 3), np.uint8), np.arange(3.0)),))])


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="no offline checkpoint of CoTracker3"):
        CameraMotion(engine="cotracker", weights=str(tmp_path / "other.pth")).setup("cpu")
