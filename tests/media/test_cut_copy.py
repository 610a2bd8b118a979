"""What is copied is copied bit by bit, and as much as may be is copied."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.cut_checks import Source, check_clip, cutter_of, frames_of, picture_hashes, read_source, span_of
from support.cut_sources import X264, make_source, x264
from support.numbered import Look, make_numbered

from shardpipe.core.cutting import Span, WriteSpec
from shardpipe.core.errors import MediaError
from shardpipe.media.cutter import Cutter
from shardpipe.media.decode import decode
from shardpipe.media.probe import probe


@pytest.fixture(scope="module")
def h264(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return read_source(make_source("h264", tmp_path_factory.mktemp("h264")).path)


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return read_source(make_source("h264_slices_ts", tmp_path_factory.mktemp("ts")).path)


def test_a_scene_that_begins_at_an_idr_is_copied_whole(h264: Source, tmp_path: Path) -> None:
    with cutter_of(h264, WriteSpec(max_trim_s=0), tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 24, 72), "a")
    assert (clip.method, clip.num_encoded, clip.num_frames) == ("copy", 0, 48)
    assert picture_hashes(clip.file) == list(h264.hashes[24:72])


def test_a_start_that_is_near_an_idr_is_given_up(h264: Source, tmp_path: Path) -> None:
    with cutter_of(h264, WriteSpec(max_trim_s=0.5), tmp_path) as cutter:
        near = cutter.cut(span_of(cutter, 20, 72), "near")
        far = cutter.cut(span_of(cutter, 5, 72), "far")
    assert (near.method, frames_of(h264, near)) == ("copy", (24, 72))
    assert near.start_s == pytest.approx(24 / 25)
    assert (far.method, frames_of(h264, far), far.num_encoded) == ("smart", (5, 72), 19)


def test_one_clip_may_be_allowed_to_give_up_less(h264: Source, tmp_path: Path) -> None:
    with cutter_of(h264, WriteSpec(max_trim_s=0.5), tmp_path) as cutter:
        for at_most, method, frames in ((0.16, "copy", (24, 72)), (0.159, "smart", (20, 72)), (0.0, "smart", (20, 72))):
            clip = cutter.cut(span_of(cutter, 20, 72), "a", max_trim_s=at_most)
            assert (clip.method, frames_of(h264, clip)) == (method, frames)
        assert cutter.cut(span_of(cutter, 5, 72), "a", max_trim_s=9.0).num_encoded == 19  # never more than the spec's


@pytest.mark.parametrize("name", ["h264", "ts"])
def test_whole_gops_of_a_smart_clip_are_bit_exact(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source: Source = request.getfixturevalue(name)
    with cutter_of(source, WriteSpec(max_trim_s=0), tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 20, 70), "a")
        check_clip(source, clip)
    assert clip.method == "smart"
    same = np.array(picture_hashes(clip.file)) == np.array(source.hashes[20:70])
    assert same[4:].sum() == 50 - clip.num_encoded
    assert not same[:4].any()


def test_an_open_gop_is_never_copied_from(tmp_path: Path) -> None:
    source = read_source(make_source("h264_open", tmp_path).path)
    with cutter_of(source, WriteSpec(), tmp_path) as cutter:
        assert len(cutter.index.starts) == 1
        clip = cutter.cut(span_of(cutter, 24, 72), "a")
    assert clip.method == "encode"


def test_a_window_of_a_video_gives_the_same_clips(tmp_path: Path) -> None:
    video = make_numbered(tmp_path / "long.mp4", num_frames=900, size=(96, 64), options=x264("keyint=50"))
    facts, spec = probe(video.path), WriteSpec(max_trim_s=0)
    clips = []
    for name, window in (("whole", None), ("window", (20.0, 30.0))):
        with Cutter(video.path, facts, spec, tmp_path, window_s=window) as cutter:
            clips.append(cutter.cut(Span(520 * 512, 700 * 512), name))
            if window:
                assert cutter.frame_pts[0] == 500 * 512
                assert len(cutter.index.at) < 700
    assert clips[0].file.read_bytes() == clips[1].file.read_bytes()


def test_a_span_without_a_frame_is_an_error(h264: Source, tmp_path: Path) -> None:
    with cutter_of(h264, WriteSpec(), tmp_path) as cutter:
        for span in (Span(1, 2), Span(10**9, 10**9 + 5)):
            with pytest.raises(MediaError, match="there is no frame"):
                cutter.cut(span, "a")


def test_changed_parameter_sets_are_not_mixed(tmp_path: Path) -> None:
    small = make_numbered(tmp_path / "a.ts", num_frames=30, size=(192, 108), options=X264)
    large = make_numbered(
        tmp_path / "b.ts", num_frames=30, size=(256, 144), options=X264, start=Fraction(30, 25), look=Look(drift=2)
    )
    both = tmp_path / "both.ts"
    both.write_bytes(small.path.read_bytes() + large.path.read_bytes())
    facts = probe(both)
    with Cutter(both, facts, WriteSpec(), tmp_path) as cutter:
        assert not cutter.index.steady
        clip = cutter.cut(Span(int(cutter.frame_pts[0]), cutter.index.end), "a")
    assert clip.method == "encode"
    assert clip.num_frames == len(picture_hashes(clip.file)) == len(list(decode(both))) > 50


def test_parameter_sets_of_two_sizes_are_not_mixed(tmp_path: Path) -> None:
    """Each has an id of its own, so none ever changes; yet a clip has one size, which is in its row."""
    parts = [
        make_numbered(tmp_path / f"{at}.ts", num_frames=30, size=size, options=x264(f"sps-id={at}"), start=start)
        for at, (size, start) in enumerate((((192, 108), 0), ((256, 144), Fraction(32, 25))))
    ]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.path.read_bytes() for part in parts))
    with Cutter(both, probe(both), WriteSpec(), tmp_path) as cutter:
        assert not cutter.index.steady
        for first, stop in ((30, 60), (59, 60), (20, 40)):
            clip = cutter.cut(span_of(cutter, first, stop), "a")
            with av.open(str(clip.file)) as container:
                sizes = {(frame.width, frame.height) for frame in container.decode(video=0)}
            assert sizes == {(clip.width, clip.height)} == {(192, 108)}
            assert clip.num_frames == stop - first
