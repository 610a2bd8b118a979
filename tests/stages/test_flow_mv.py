"""Engine `mv` of flow: the unit of `dis`, within 25 % on pans, in much the same order on real clips."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.camera_suite import VIDEOS
from support.motion_clips import BIKES_CUTS
from support.numbered import make_numbered
from support.pans import pan

from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipView
from shardpipe.media.sample import sample
from shardpipe.stages.flow import Flow
from shardpipe.testing import check_stage, make_clip, score_clip

MV, DIS = Flow(engine="mv"), Flow()


def score(stage: Flow, frames: Frames) -> Any:
    return stage.process([ClipView("clip", {}, (frames,))])[0]


@pytest.mark.parametrize("texture", ["noise3", "shapes", "bikes:10"])
@pytest.mark.parametrize("speed", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("preset", ["veryfast", "medium"])
def test_pans(texture: str, speed: float, preset: str) -> None:
    clip = pan((-speed, 0.0), texture=texture, size=(640, 368), fps=30, num_frames=60, options={"preset": preset})
    result: Any = score_clip(MV, clip)
    assert result["flow_px_s"] == pytest.approx(speed * 256, rel=0.25)


def test_still_pictures_have_none(tmp_path: Path) -> None:
    result: Any = score_clip(MV, make_clip(tmp_path / "still.mp4", motion="still"))
    assert result["flow_px_s"] < 1
    assert result["flow_px_s_p90"] < 1


def test_real_clips_stand_in_much_the_same_order() -> None:
    """Seconds of single shots: across a cut, `dis` measures what is not there."""
    cuts = {"bigbuckbunny": (110,), "bikes": BIKES_CUTS, "carphone_pristine": ()}
    found = []
    for name, frames in cuts.items():
        both = sample(VIDEOS / f"{name}.mp4", [MV.frames, DIS.frames])
        for start in np.arange(0.0, both[0].times_s[-1] - 0.7, 0.5):
            if any(start < cut / 25 < start + 1 for cut in frames):
                continue
            results = [score(stage, _second(each, start)) for stage, each in zip((MV, DIS), both, strict=True)]
            found.append([each["flow_px_s"] for each in results])
    ranks = np.argsort(np.argsort(np.array(found), axis=0), axis=0)
    assert len(ranks) >= 18
    assert np.corrcoef(ranks.T)[0, 1] > 0.85


def _second(frames: Frames, start: float) -> Frames:
    inside = (frames.times_s >= start) & (frames.times_s < start + 1)
    return Frames(frames.data[inside], frames.times_s[inside])


def test_no_vectors_no_number(tmp_path: Path) -> None:
    nothing = {"flow_px_s": None, "flow_px_s_p90": None}
    hevc = make_numbered(tmp_path / "hevc.mp4", num_frames=20, size=(160, 96), codec="libx265")
    assert score_clip(MV, hevc.path) == nothing
    intra = make_numbered(tmp_path / "intra.mp4", num_frames=20, options={"g": "1"})
    assert score_clip(MV, intra.path) == nothing
    assert score_clip(MV, make_clip(tmp_path / "one.mp4", duration_s=0.04)) == nothing


def test_a_frame_that_refers_further_back_does_not_count() -> None:
    """Frame 4 of 10 seems five times as fast as all others."""
    vectors = np.full((10, 4, 4, 2), 0.1, np.float32)
    vectors[4] *= 5
    vectors[0] = np.nan
    frames = Frames(vectors.view(np.uint8), np.arange(10) / 10)
    assert score(MV, frames)["flow_px_s"] == pytest.approx(0.1 * 2**0.5 * 256)


def test_stray_vectors_of_a_cut_do_not_count() -> None:
    vectors = np.full((4, 4, 4, 2), np.nan, np.float32)
    vectors[1:3] = 0.1
    vectors[3, 0, 0] = 0.12
    frames = Frames(vectors.view(np.uint8), np.arange(4) / 10)
    assert score(MV, frames)["flow_px_s"] == pytest.approx(0.1 * 2**0.5 * 256)


def test_the_contract() -> None:
    results = check_stage(MV)
    assert results["landscape"]["flow_px_s"] == pytest.approx(256 / 5)  # type: ignore[index]
    assert results["black"] == {"flow_px_s": 0.0, "flow_px_s_p90": 0.0}
    assert results["one_frame"] == {"flow_px_s": None, "flow_px_s_p90": None}


def test_a_preset_is_not_for_it() -> None:
    with pytest.raises(ValueError, match="engine mv has the presets encoder"):
        Flow(engine="mv", preset="fast")
