"""The stage `frames`: stills that any reader opens, of the exact size, with their times."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.numbered import make_numbered, read_number

from shardpipe.core.frames import FrameRequest, Frames, Uniform
from shardpipe.core.stage import ClipError, ClipView
from shardpipe.media.sample import sample
from shardpipe.stages.frames import FramesStage
from shardpipe.testing import make_clip, score_clip


def pictures(result: Any) -> list[Any]:
    found = [result[f"frames_{i:02d}"] for i in range(64) if result.get(f"frames_{i:02d}")]
    decoded = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in found]
    return [cv2.cvtColor(each, cv2.COLOR_BGR2RGB) for each in decoded]  # type: ignore[arg-type]


def test_stills_are_the_frames_of_the_clip(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=50, size=(640, 360))
    stage = FramesStage(num_frames=5, short_side=180)
    result: Any = score_clip(stage, made.path)
    (frames,) = sample(made.path, [FrameRequest(Uniform(5), short_side=180)])
    assert result["frames_times_s"] == frames.times_s.tolist()
    assert (result["frames_asked"], result["frames_width"], result["frames_height"]) == (5, 320, 180)
    stills = pictures(result)
    assert [read_number(each[..., 1]) for each in stills] == [5, 15, 25, 35, 45]
    for still, picture in zip(stills, frames.data, strict=True):
        assert still.shape == picture.shape
        assert np.abs(still.astype(int) - picture).mean() < 4


def test_quality_is_worth_its_bytes(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "v.mp4", size=(320, 180))
    low, high = (score_clip(FramesStage(num_frames=1, quality=q), clip) for q in (30, 95))
    assert len(low["frames_00"]) < len(high["frames_00"])  # type: ignore[index]


@pytest.mark.parametrize("size", [(333, 187), (1, 1), (2, 400), (500, 3)])
def test_any_size_comes_back_as_it_was(size: tuple[int, int]) -> None:
    width, height = size
    frames = Frames(np.full((2, height, width, 3), 90, np.uint8), np.array([0.0, 0.5]))
    result: Any = FramesStage(num_frames=2).process([ClipView("clip", {}, (frames,))])[0]
    assert [each.shape for each in pictures(result)] == [(height, width, 3)] * 2


def test_a_short_clip_has_fewer_and_says_so(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "v.mp4", duration_s=0.12)
    result: Any = score_clip(FramesStage(num_frames=8), clip)
    assert result["frames_times_s"] == pytest.approx([0.0, 0.04, 0.08])
    assert result["frames_asked"] == 8
    assert len(pictures(result)) == 3
    assert result["frames_03"] is None


def test_what_no_webp_can_hold_is_an_error_of_the_clip() -> None:
    frames = Frames(np.zeros((1, 1, 16384, 3), np.uint8), np.zeros(1))
    (result,) = FramesStage().process([ClipView("clip", {}, (frames,))])
    assert isinstance(result, ClipError)
    assert "16383" in result.message


def test_they_are_plain_webp(tmp_path: Path) -> None:
    result: Any = score_clip(FramesStage(num_frames=1), make_clip(tmp_path / "v.mp4"))
    head = io.BytesIO(result["frames_00"]).read(12)
    assert (head[:4], head[8:]) == (b"RIFF", b"WEBP")
