"""Motion vectors as speeds: right in size and direction, of the frame on screen, and beside pixels from one decode."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.decoded import count_decoded
from support.numbered import make_numbered
from support.pans import pan

from shardpipe.core.frames import FrameRequest, Frames, Rate, Uniform
from shardpipe.media.sample import sample

VIDEOS = Path(__file__).parents[1] / "assets/videos"
EVERY = FrameRequest(Rate(1000), pixels="mv")
SPARSE = FrameRequest(Rate(5), pixels="mv")


def middle(frames: Frames) -> tuple[float, float]:
    """The median speed of all cells that have one."""
    vectors = frames.vectors.reshape(-1, 2)
    right, down = np.median(vectors[np.isfinite(vectors[:, 0])], axis=0)
    return float(right), float(down)


ENCODERS: dict[str, dict[str, Any]] = {
    "h264": {"options": {"preset": "medium"}},
    "h264 without b": {"options": {"preset": "veryfast", "bf": "0"}},
    "h264 with open gops": {"options": {"x264-params": "open-gop=1:keyint=12:b-pyramid=normal"}},
    "h264 many references": {"options": {"preset": "slower"}},
    "mpeg4": {"codec": "mpeg4", "options": {"b": "2M", "bf": "2"}},
    "mpeg2": {"codec": "mpeg2video", "options": {"b": "3M", "bf": "2"}},
}


@pytest.mark.parametrize("kind", sorted(ENCODERS))
@pytest.mark.parametrize("speed", [(0.2, 0.0), (-0.3, 0.15)])
def test_a_pan_has_its_speed_and_direction(kind: str, speed: tuple[float, float]) -> None:
    every, sparse = sample(pan(speed, **ENCODERS[kind]), [EVERY, SPARSE])
    assert every.vectors.shape == (40, 17, 30, 2)
    assert every.vectors.dtype == np.float32
    assert np.isnan(every.vectors[0]).all()  # a keyframe
    for found in (every, sparse):
        assert middle(found) == pytest.approx(speed, abs=0.02)
    places = np.searchsorted(every.times_s, sparse.times_s)
    assert np.array_equal(every.data[places], sparse.data)  # what is passed over in decoding changes nothing


def test_as_displayed() -> None:
    """Turned clockwise, what moves right moves down; a wide pixel makes the picture wider, and no faster in widths."""
    turned = sample(pan((0.2, 0.1), rotation=90), [EVERY])[0]
    assert turned.vectors.shape == (40, 30, 17, 2)
    assert middle(turned) == pytest.approx((-0.1, 0.2), abs=0.02)
    back = sample(pan((0.2, 0.1), rotation=180), [EVERY])[0]
    assert middle(back) == pytest.approx((-0.2, -0.1), abs=0.02)
    wide = sample(pan((0.2, 0.1), sar=Fraction(2)), [EVERY])[0]
    assert middle(wide) == pytest.approx((0.2, 0.05), abs=0.02)


def test_a_frame_rate_that_varies_changes_no_speed(tmp_path: Path) -> None:
    slow, fast = (sample(pan((0.2, 0.0), fps=fps, num_frames=fps), [EVERY])[0] for fps in (15, 50))
    assert middle(slow) == pytest.approx(middle(fast), abs=0.02)


def test_one_decode_for_pixels_and_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [FrameRequest(Rate(9), long_side=256, pixels="gray"), FrameRequest(Uniform(3), short_side=64)]
    alone = sample(VIDEOS / "bikes.mp4", wanted)
    vectors = sample(VIDEOS / "bikes.mp4", [SPARSE])[0]
    seen = count_decoded(monkeypatch)
    gray, rgb, beside = sample(VIDEOS / "bikes.mp4", [*wanted, SPARSE])
    assert len(seen) <= 250
    assert np.array_equal(gray.data, alone[0].data)
    assert np.array_equal(rgb.data, alone[1].data)
    assert np.array_equal(beside.data, vectors.data)


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "libsvtav1"])
def test_decoders_that_tell_no_vectors_give_none(tmp_path: Path, codec: str) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=10, size=(160, 96), codec=codec)
    assert np.isnan(sample(made.path, [EVERY])[0].vectors).all()


def test_frames_whose_times_are_counted_have_none(tmp_path: Path) -> None:
    """AVI with B-frames: which frame is which is not known."""
    made = make_numbered(tmp_path / "v.avi", num_frames=20, codec="mpeg4", options={"bf": "2"})
    assert np.isnan(sample(made.path, [EVERY])[0].vectors).all()


def test_what_a_request_for_vectors_cannot_ask() -> None:
    for wrong in ({"long_side": 256}, {"short_side": 64}, {"tolerance_s": 0.5}):
        with pytest.raises(ValueError, match="no size and no tolerance"):
            FrameRequest(Rate(4), pixels="mv", **wrong)  # type: ignore[arg-type]
