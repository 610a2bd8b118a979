"""Cached frames in place of decoded ones: which serve a request, and what it then gets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shardpipe.core.errors import MediaError
from shardpipe.core.frames import Fractions, FrameRequest, Numbers, Pairs, Rate, Uniform
from shardpipe.core.stills import may_serve, num_stills, still_ext
from shardpipe.media.sample import sample
from shardpipe.media.stills import StillFacts, Stills, picks
from shardpipe.testing import make_clip

NINE = StillFacts(
    times_s=np.floor((np.arange(9) + 0.5) / 9 * 100) / 25,
    num_asked=9,
    size=(455, 256),
    clip_size=(1280, 720),
    duration_s=4.0,
    num_frames=100,
)
THREE_FRAMES = replace(NINE, times_s=np.array([0.0, 0.04, 0.08]), duration_s=0.12, num_frames=3)


def chosen(request: FrameRequest, facts: StillFacts = NINE) -> list[int] | None:
    found = picks(request, facts)
    return None if found is None else found.tolist()


@pytest.mark.parametrize(
    ("num", "expected"),
    [(9, list(range(9))), (3, [1, 4, 7]), (1, [4]), (2, None), (4, None), (8, None), (18, None), (27, None)],
)
def test_without_tolerance_only_the_very_frames(num: int, expected: list[int] | None) -> None:
    assert chosen(FrameRequest(Uniform(num), short_side=224)) == expected
    assert may_serve(9, FrameRequest(Uniform(num))) == (expected is not None)


def test_other_samplings_need_a_tolerance() -> None:
    assert chosen(FrameRequest(Rate(2), short_side=224)) is None
    assert chosen(FrameRequest(Fractions((0.5,)), short_side=224)) is None
    assert chosen(FrameRequest(Fractions((0.1, 0.5, 0.9)), short_side=224, tolerance_s=0.25)) == [0, 4, 8]
    assert chosen(FrameRequest(Rate(2), short_side=224, tolerance_s=0.25)) == list(range(8))


def test_within_the_tolerance_each() -> None:
    far = FrameRequest(Fractions((0.0,)), short_side=224, tolerance_s=0.1)
    assert chosen(far) is None  # the first still is at 0.2 s
    assert chosen(replace(far, tolerance_s=0.2)) == [0]


def test_as_many_as_are_wanted() -> None:
    crowded = FrameRequest(Uniform(30), tolerance_s=1.0, short_side=64)
    assert chosen(crowded) is None
    assert chosen(crowded, THREE_FRAMES) == [0, 1, 2]  # the clip has no more
    assert chosen(crowded, replace(THREE_FRAMES, num_frames=4)) is None


def test_never_enlarged_but_where_the_clip_is_no_larger() -> None:
    loose: Any = {"sampling": Uniform(9), "tolerance_s": 0.5}
    for fits in ({"short_side": 256}, {"short_side": 64}, {"long_side": 455}):
        assert chosen(FrameRequest(**loose, **fits)) is not None
    for large in ({"short_side": 257}, {"long_side": 456}, {}):
        assert chosen(FrameRequest(**loose, **large)) is None
    small = replace(NINE, size=(320, 180), clip_size=(320, 180))
    assert chosen(FrameRequest(Uniform(9)), small) is not None
    assert chosen(FrameRequest(Uniform(9), short_side=224), small) is not None


def test_vectors_are_not_in_pictures() -> None:
    assert chosen(FrameRequest(Uniform(9), pixels="mv")) is None


def test_pairs_and_numbers_are_decoded() -> None:
    for sampling in (Pairs(per_s=1, gap_s=0.1, max_pairs=8), Numbers((0, 10))):
        assert chosen(FrameRequest(sampling, short_side=64, tolerance_s=9.0)) is None


def test_a_short_clip_gets_the_frames_on_screen() -> None:
    assert chosen(FrameRequest(Uniform(9), short_side=224), THREE_FRAMES) == [0, 1, 2]
    assert chosen(FrameRequest(Uniform(3), short_side=224), THREE_FRAMES) == [0, 1, 2]
    assert chosen(FrameRequest(Uniform(1), short_side=224), THREE_FRAMES) == [1]
    hair = replace(THREE_FRAMES, times_s=np.array([0.0, 0.0601, 0.08]))
    assert chosen(FrameRequest(Uniform(1), short_side=224), hair) is None  # which of two is on screen is not sure


def webp(picture: Any, quality: int = 95) -> bytes:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def stills_of(clip: Path, *requests: FrameRequest) -> Stills:
    (frames,) = sample(clip, [FrameRequest(Uniform(9), short_side=256)])
    height, width = frames.data.shape[1:3]
    facts = replace(NINE, times_s=frames.times_s, size=(width, height), clip_size=(640, 360), duration_s=2.0)
    data = {i: webp(picture) for i, picture in enumerate(frames.data)}
    return Stills(facts, data, {request: picks(request, facts) for request in requests})  # type: ignore[misc]


@pytest.mark.parametrize("pixels", ["rgb", "gray"])
@pytest.mark.parametrize("size", [{"short_side": 256}, {"short_side": 112}, {"long_side": 100}])
def test_they_look_like_the_decoded_frames(tmp_path: Path, pixels: Any, size: dict[str, Any]) -> None:
    clip = make_clip(tmp_path / "v.mp4", size=(640, 360))
    request = FrameRequest(Uniform(3), pixels=pixels, **size)
    (decoded,) = sample(clip, [request])
    cached = stills_of(clip, request).frames(request, lambda shape: np.empty(shape, np.uint8))
    assert cached.times_s.tolist() == decoded.times_s.tolist()
    assert cached.data.shape == decoded.data.shape
    assert np.abs(cached.data.astype(int) - decoded.data).mean() < 2


def test_a_still_of_another_size_or_kind_is_an_error(tmp_path: Path) -> None:
    request = FrameRequest(Uniform(1), short_side=64)
    stills = stills_of(make_clip(tmp_path / "v.mp4", size=(640, 360)), request)
    for wrong in (b"no picture", webp(np.zeros((10, 10, 3), np.uint8))):
        with pytest.raises(MediaError, match="cached frame 4 is no picture of 455x256"):
            replace(stills, data={4: wrong}).frames(request, lambda shape: np.empty(shape, np.uint8))


def test_how_many_stills_members_make() -> None:
    assert num_stills([]) == 0
    assert num_stills(["json", *(still_ext(i) for i in range(5)), "f06.webp"]) == 5
    assert num_stills(still_ext(i) for i in range(64)) == 64
